"""Numpy arrays as slides."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from gigafcn.errors import SlideError
from gigafcn.geometry import Box
from gigafcn.slide import open_slide

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("dtype", ["uint8", ">u2", "float32"])
def test_boxes_equal_the_array(dtype: str, make_pixels: Any, reads_like: Any) -> None:
    pixels = make_pixels(90, 61, 4, dtype=np.dtype(dtype).newbyteorder("=").str).astype(dtype)
    reads_like(open_slide(pixels), pixels.astype(pixels.dtype.newbyteorder("=")))


def test_two_dimensions_are_one_channel(make_pixels: Any, reads_like: Any) -> None:
    pixels = make_pixels(30, 20)
    reads_like(open_slide(pixels), pixels[..., np.newaxis])


def test_what_is_read_may_be_changed(make_pixels: Any) -> None:
    pixels = make_pixels(30, 20, 3)
    before = pixels.copy()
    open_slide(pixels).read(Box(0, 0, 30, 20))[...] = 0
    np.testing.assert_array_equal(pixels, before)


def test_a_memory_map_is_read(tmp_path: Path, make_pixels: Any, reads_like: Any) -> None:
    np.save(tmp_path / "a.npy", make_pixels(30, 20, 3))
    pixels = np.load(tmp_path / "a.npy", mmap_mode="r")
    reads_like(open_slide(pixels), np.asarray(pixels))


@pytest.mark.parametrize(
    ("shape", "reason"),
    [
        ((3, 500, 600), "np.moveaxis"),
        ((5,), "a slide is"),
        ((1, 2, 3, 4), "a slide is"),
        ((0, 5), "a slide is"),
    ],
)
def test_shapes_that_are_no_image_are_refused(shape: tuple[int, ...], reason: str) -> None:
    with pytest.raises(SlideError, match=reason):
        open_slide(np.zeros(shape, np.uint8))


@pytest.mark.parametrize("dtype", ["bool", "complex64", "U3"])
def test_values_that_are_no_numbers_are_refused(dtype: str) -> None:
    with pytest.raises(SlideError, match="integers and floats"):
        open_slide(np.zeros((4, 4), dtype))


def test_the_fingerprint_follows_values_shape_and_type(make_pixels: Any) -> None:
    pixels = make_pixels(30, 20, 3)
    changed = pixels.copy()
    changed[29, 19, 2] ^= 1
    others = [changed, pixels.reshape(20, 30, 3), pixels.view(np.int8)]
    first = open_slide(pixels).fingerprint()
    assert open_slide(np.asfortranarray(pixels)).fingerprint() == first
    assert all(open_slide(other).fingerprint() != first for other in others)
