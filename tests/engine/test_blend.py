"""Weights are MONAI's, and sums exist only for the rows in flight."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data.utils import compute_importance_map

from gigafcn.engine.blend import Blend, gaussian_weights
from gigafcn.geometry import Box
from gigafcn.plan.windows import Windows, blend_windows


class Collected:
    """Puts together what a tile hands on, and how."""

    def __init__(self, tile: Box, classes: int) -> None:
        self.scores = np.full((classes, *tile.shape), np.nan)
        self.tile = tile
        self.boxes: list[Box] = []

    def put(self, box: Box, logits: torch.Tensor) -> None:
        self.boxes.append(box)
        self.scores[(slice(None), *box.relative_to(self.tile))] = logits[0].numpy()


def windows(weights: str, cell: tuple[int, int] = (16, 24)) -> Windows:
    return blend_windows((90, 100), (16, 24), cell=cell, overlap=0.4, weights=weights, batch=2)


@pytest.mark.parametrize("size", [(64, 64), (33, 90), (1, 7), (512, 512)])
def test_gaussian_weights_are_monais_bit_for_bit(size: tuple[int, int]) -> None:
    found = blend_windows((600, 600), size, cell=size, overlap=0.25, weights="gaussian", batch=1)
    weights = gaussian_weights(found, torch.device("cpu"), torch.float32)[0, 0]
    expected = compute_importance_map(size, mode="gaussian", sigma_scale=0.125)
    assert torch.equal(weights, expected)


def output_of(found: Windows, row: int, column: int) -> torch.Tensor:
    """What a model says of a window: no two px of no two windows say the same."""
    generator = torch.Generator().manual_seed(1000 * row + column)
    return torch.randn((2, *found.cell), generator=generator, dtype=torch.float64)


def blended(found: Windows, tile: Box) -> Collected:
    """Sum the windows of a tile, batch by batch."""
    collected = Collected(tile, 2)
    blend = Blend(found, tile, collected)
    for row in found.touching(0, tile.y):
        for columns in found.batches(tile.x):
            blend.add(row, columns, torch.stack([output_of(found, row, c) for c in columns]))
        blend.end_row(row)
    return collected


def by_hand(found: Windows) -> np.ndarray:
    """The same over the whole map, as the definition says it."""
    sums, totals = np.zeros((2, 90, 100)), np.zeros((90, 100))
    weights = np.ones(found.size)
    if found.weights == "gaussian":
        weights = gaussian_weights(found, torch.device("cpu"), torch.float64)[0, 0].numpy()
    for row in range(found.count[0]):
        for column in range(found.count[1]):
            place = Box.of(found.place(0, row), found.place(1, column))
            at = place.relative_to(Box(0, 0, 0, 0))
            sums[(slice(None), *at)] += output_of(found, row, column).numpy() * weights
            totals[at] += weights
    return sums / totals


@pytest.mark.parametrize("weights", ["constant", "gaussian"])
@pytest.mark.parametrize(
    "tile", [Box(0, 0, 90, 100), Box(0, 0, 31, 40), Box(31, 40, 62, 80), Box(62, 99, 90, 100)]
)
def test_a_tile_is_the_weighted_mean_of_its_windows(weights: str, tile: Box) -> None:
    found = windows(weights)
    expected = by_hand(found)[(slice(None), *tile.relative_to(Box(0, 0, 0, 0)))]
    # The same sums in the same order.
    np.testing.assert_array_equal(blended(found, tile).scores, expected)


def test_rows_are_handed_on_once_and_as_soon_as_no_window_reaches_them() -> None:
    found = windows("constant")
    boxes = blended(found, Box(0, 0, 90, 100)).boxes
    assert [b.y0 for b in boxes] == [0, *(b.y1 for b in boxes[:-1])]
    # int(16 * 0.6) rows at a time; the last row of windows was shifted back inside.
    assert [b.y.size for b in boxes] == [9, 9, 9, 9, 9, 9, 9, 9, 2, 16]
