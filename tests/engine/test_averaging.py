"""Means over blocks do not depend on how scores arrive: not a bit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from gigafcn.engine.averaging import Averaging
from gigafcn.geometry import Box

if TYPE_CHECKING:
    from numpy.typing import NDArray

SIDES = st.integers(1, 40)


def gathered(
    scores: torch.Tensor, factor: tuple[int, int], rows: list[int], columns: list[int]
) -> NDArray[np.float32]:
    """Means of scores (1, c, y, x) that arrive in boxes cut at some rows and columns."""
    height, width = scores.shape[2:]
    part = Box(7, 5, 7 + height, 5 + width)  # of a larger map
    averaging = Averaging(factor, part, part)
    shape = (scores.shape[1], -(-height // factor[0]), -(-width // factor[1]))
    means = np.full(shape, np.nan, np.float32)
    for y0, y1 in zip([0, *rows], [*rows, height], strict=True):
        for x0, x1 in zip([0, *columns], [*columns, width], strict=True):
            box = Box(y0 + 7, x0 + 5, y1 + 7, x1 + 5)
            for place, found in averaging.add(box, scores[:, :, y0:y1, x0:x1]):
                where = (slice(None), slice(*place.y), slice(*place.x))
                assert np.isnan(means[where]).all()  # each once
                means[where] = found[0].numpy()
    return means


@given(SIDES, SIDES, st.integers(1, 9), st.integers(1, 9), st.data())
def test_cuts_change_nothing_and_means_are_means(
    height: int, width: int, down: int, across: int, data: st.DataObject
) -> None:
    def cuts(size: int) -> list[int]:
        found = data.draw(st.sets(st.integers(1, max(1, size - 1)), max_size=6))
        return sorted(cut for cut in found if cut < size)

    seed = height * 1009 + width
    scores = torch.from_numpy(np.random.default_rng(seed).random((1, 2, height, width), np.float32))
    whole = gathered(scores, (down, across), [], [])
    np.testing.assert_array_equal(
        gathered(scores, (down, across), cuts(height), cuts(width)), whole
    )
    rows, columns = np.arange(0, height, down), np.arange(0, width, across)
    exact = scores[0].numpy().astype(np.float64)
    sums = np.add.reduceat(np.add.reduceat(exact, rows, axis=1), columns, axis=2)
    high = np.minimum(rows + down, height) - rows
    wide = np.minimum(columns + across, width) - columns
    # 81 terms at most are added in float32, each sum rounding by half of 2**-23 of itself.
    np.testing.assert_allclose(whole, sums / (high[:, None] * wide), rtol=81 * 2.0**-24)
