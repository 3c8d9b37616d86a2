"""Tiles partition the map, on whole periods and chunks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gigafcn.errors import UsageError
from gigafcn.geometry import Box
from gigafcn.plan.tiles import count_tiles, rounded_tile, tile_height, tile_units, tiles

SIDES = st.integers(1, 60)
PERIODS = st.tuples(st.integers(1, 12), st.integers(1, 12))


@given(st.integers(0, 50), st.integers(0, 50), SIDES, SIDES, st.tuples(SIDES, SIDES))
def test_every_pixel_of_the_box_is_in_exactly_one_tile(
    y: int, x: int, height: int, width: int, tile: tuple[int, int]
) -> None:
    box = Box(y, x, y + height, x + width)
    owners = np.zeros((y + height, x + width), int)
    found = list(tiles(box, tile))
    for part in found:
        assert box.contains(part)
        owners[part.y0 : part.y1, part.x0 : part.x1] += 1
    assert (owners[y:, x:] == 1).all()
    assert owners.sum() == box.area
    assert len(found) == count_tiles(box.shape, tile)


@given(st.one_of(SIDES, st.tuples(SIDES, SIDES)), PERIODS, st.integers(1, 256))
def test_a_requested_tile_grows_to_whole_periods_and_chunks_and_no_more(
    asked: Any, period: tuple[int, int], side: int
) -> None:
    chunk = (side, 3 * side)
    sides = (asked, asked) if isinstance(asked, int) else asked
    units = tile_units(period, chunk)
    for asked_side, found, unit, p, c in zip(
        sides, rounded_tile(asked, period, chunk), units, period, chunk, strict=True
    ):
        assert found % p == found % c == 0
        assert asked_side <= found < asked_side + unit


@pytest.mark.parametrize("asked", [0, -5, (512, 0), (1, 2, 3)])
def test_a_tile_that_is_none_is_refused(asked: Any) -> None:
    with pytest.raises(UsageError, match="one or two positive numbers of px"):
        rounded_tile(asked, (1, 1), (256, 256))


@given(st.integers(1, 5000), st.integers(1, 5000), st.integers(1, 9), st.integers(1, 16))
def test_planned_tiles_are_whole_units_and_enough_for_the_workers(
    height: int, width: int, columns: int, workers: int
) -> None:
    unit = 256
    wide = -(-width // columns // unit) * unit or unit
    tall = tile_height((height, width), wide, unit, workers)
    assert tall % unit == 0
    assert tall >= unit
    rows = -(-height // unit)
    assert count_tiles((height, width), (tall, wide)) >= min(workers, rows)
