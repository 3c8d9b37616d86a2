"""What the tests of the slide room share: pixels, boxes, and the check that matters most."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from gigafcn.geometry import Box

if TYPE_CHECKING:
    from gigafcn.slide import Slide

Array = np.ndarray[Any, np.dtype[Any]]
MakePixels = Callable[..., Array]
ReadsLike = Callable[..., None]


@pytest.fixture
def make_pixels() -> MakePixels:
    """Random pixels of a shape and type."""

    def make(*shape: int, dtype: str = "uint8", seed: int = 0) -> Array:
        random = np.random.default_rng(seed)
        if np.dtype(dtype).kind == "f":
            return random.normal(size=shape).astype(dtype)
        return random.integers(0, np.iinfo(dtype).max, shape, dtype=dtype, endpoint=True)

    return make


@pytest.fixture
def reads_like() -> ReadsLike:
    """Check that random boxes, the corners and the whole equal an array (y, x, c)."""

    def check(slide: Slide, expected: Array, level: int = 0, boxes: int = 20) -> None:
        height, width = expected.shape[:2]
        assert slide.levels[level].shape == (height, width)
        assert slide.channels == expected.shape[2]
        assert slide.dtype == expected.dtype
        random = np.random.default_rng(1)
        todo = [Box(0, 0, height, width), Box(height - 1, width - 1, height, width)]
        for _ in range(boxes):
            y0, y1 = sorted(int(v) for v in random.integers(0, height + 1, 2))
            x0, x1 = sorted(int(v) for v in random.integers(0, width + 1, 2))
            todo.append(Box(y0, x0, y1, x1))
        for box in todo:
            pixels = slide.read(box, level)
            assert pixels.dtype == expected.dtype
            np.testing.assert_array_equal(pixels, expected[box.y0 : box.y1, box.x0 : box.x1])

    return check
