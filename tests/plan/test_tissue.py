"""Boxes of chunks hold all tissue, each of it once, and little else."""

from __future__ import annotations

import numpy as np
import pytest

from gigafcn.geometry import Box
from gigafcn.plan.tissue import Tissue, tissue_boxes


def islands(seed: int, share: float) -> np.ndarray[tuple[int, int], np.dtype[np.bool_]]:
    """Random islands of a few chunks."""
    random = np.random.default_rng(seed)
    cells = random.random((23, 31)) < share
    return cells | np.roll(cells, 1, 0) | np.roll(cells, 1, 1)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("margin", [0.0, 0.5, 3.0])
def test_boxes_hold_all_tissue_and_no_chunk_twice(seed: int, margin: float) -> None:
    cells = islands(seed, 0.03)
    count = np.zeros(cells.shape, int)
    for box in tissue_boxes(cells, (margin, margin)):
        count[box.y0 : box.y1, box.x0 : box.x1] += 1
    assert (count[cells] == 1).all()
    assert count.max() == 1


def test_without_a_halo_hardly_anything_else_is_computed() -> None:
    cells = islands(1, 0.03)
    area = sum(box.area for box in tissue_boxes(cells))
    assert area <= 1.05 * cells.sum()


def test_a_wide_halo_keeps_neighbours_together() -> None:
    cells = np.zeros((9, 9), bool)
    cells[4, 2] = cells[4, 6] = True
    assert len(tissue_boxes(cells, (0.2, 0.2))) == 2
    assert tissue_boxes(cells, (20.0, 20.0)) == [Box(4, 2, 5, 7)]


def test_no_tissue_needs_no_box() -> None:
    assert tissue_boxes(np.zeros((5, 5), bool)) == []


def test_tissue_survives_json() -> None:
    tissue = Tissue.of(islands(2, 0.1), (0.5, 0.25))
    again = Tissue.from_json(tissue.to_json())
    assert again == tissue
    np.testing.assert_array_equal(again.cells(), islands(2, 0.1))
