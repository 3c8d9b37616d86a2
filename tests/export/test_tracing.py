"""Outlines run along pixel edges: what they hold is the mask, no more and no less."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import shapely

from gigafcn.export.merging import Joiner
from gigafcn.export.tracing import Polygons, outlines
from gigafcn.geometry import Box
from tests.export.maps import parts_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

DENSITIES = (0.1, 0.5, 0.6, 0.9, 1.0)


def random_masks(density: float) -> list[NDArray[np.bool_]]:
    masks = []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        shape = (int(rng.integers(1, 30)), int(rng.integers(1, 30)))
        masks.append(rng.random(shape) < density)
    return masks


def joined(mask: NDArray[np.bool_], side: int) -> Polygons:
    joiner = Joiner((mask.shape[0], mask.shape[1]))
    found = []
    for y in range(0, mask.shape[0], side):
        for x in range(0, mask.shape[1], side):
            box = Box(y, x, y + side, x + side).clip((mask.shape[0], mask.shape[1]))
            found.append(joiner.add(box, mask[box.relative_to(Box(0, 0, 0, 0))]))
    return np.concatenate(found)


def written(polygons: Polygons) -> list[str]:
    """Polygons in a form that does not depend on order, start or direction."""
    return sorted(str(text) for text in shapely.to_wkt(shapely.normalize(polygons)))


@pytest.mark.parametrize("density", DENSITIES)
def test_there_is_one_valid_polygon_per_connected_part_with_its_area(density: float) -> None:
    for mask in random_masks(density):
        parts = parts_of(mask)
        polygons = outlines(mask)
        assert shapely.is_valid(polygons).all()
        assert (shapely.get_type_id(polygons) == shapely.GeometryType.POLYGON).all()
        areas = sorted(np.bincount(parts.ravel())[1:].tolist())
        assert sorted(shapely.area(polygons).tolist()) == areas


@pytest.mark.parametrize("density", DENSITIES)
def test_the_polygons_hold_the_centres_of_the_mask_and_no_others(density: float) -> None:
    for mask in random_masks(density):
        y, x = np.mgrid[: mask.shape[0], : mask.shape[1]]
        whole = shapely.union_all(outlines(mask))
        assert (shapely.contains_xy(whole, x + 0.5, y + 0.5) == mask).all()


def test_an_outline_that_touches_itself_at_a_corner_becomes_shell_and_hole() -> None:
    mask = np.array([[1, 1, 1], [1, 0, 1], [1, 1, 0]], bool)
    (polygon,) = outlines(mask)
    assert [shapely.Polygon(hole).bounds for hole in polygon.interiors] == [(1, 1, 2, 2)]
    assert polygon.is_valid


def test_an_empty_mask_has_no_outline() -> None:
    assert len(outlines(np.zeros((5, 5), bool))) == 0


@pytest.mark.parametrize("side", [1, 3, 7, 16])
@pytest.mark.parametrize("density", DENSITIES)
def test_pieces_joined_across_borders_are_the_outlines_of_the_whole(
    density: float, side: int
) -> None:
    for mask in random_masks(density):
        assert written(joined(mask, side)) == written(outlines(mask))


def test_a_polygon_is_handed_out_as_soon_as_nothing_more_can_join_it() -> None:
    mask = np.zeros((9, 6), bool)
    mask[1, 1] = mask[2:4, 4] = mask[8, 0] = True
    joiner = Joiner((9, 6))
    counts = [len(joiner.add(Box(y, 0, y + 3, 6), mask[y : y + 3])) for y in (0, 3, 6)]
    assert counts == [1, 1, 1]
