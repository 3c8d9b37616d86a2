"""Cut the map into tiles: whole shards, owned by one task each."""

from __future__ import annotations

from math import lcm
from typing import TYPE_CHECKING

from gigafcn.errors import UsageError
from gigafcn.geometry import Box

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

Pair = tuple[int, int]

MAX_TILE_AREA = 16384 * 16384
"""Map px that a crash may cost at most."""

TILES_PER_WORKER = 4
"""Tiles each worker should get at least, so that all finish at about the same time."""


def rounded_tile(tile: int | Sequence[int], period: Pair, chunk: Pair) -> Pair:
    """A requested tile in map px, rounded up to whole output periods and chunks (in map px).

    Raises
    ------
    UsageError
        If the request is not one or two positive numbers.

    Examples
    --------
    >>> rounded_tile(1000, (1, 1), (256, 256))
    (1024, 1024)
    """
    sides = (tile, tile) if isinstance(tile, int) else tuple(tile)
    if len(sides) != 2 or min(sides) < 1:
        raise UsageError(f"tile must be one or two positive numbers of px (y, x), got {tile}")
    units = tile_units(period, chunk)
    return -(-sides[0] // units[0]) * units[0], -(-sides[1] // units[1]) * units[1]


def tile_units(period: Pair, chunk: Pair) -> Pair:
    """Smallest tile (y, x) in map px: whole output periods and whole chunks."""
    return lcm(chunk[0], period[0]), lcm(chunk[1], period[1])


def tiles(box: Box, tile: Pair) -> Iterator[Box]:
    """Tiles of a map box, row by row; the last of a row or column may be smaller."""
    for y in range(box.y0, box.y1, tile[0]):
        for x in range(box.x0, box.x1, tile[1]):
            yield Box(y, x, min(y + tile[0], box.y1), min(x + tile[1], box.x1))


def count_tiles(shape: Pair, tile: Pair) -> int:
    """How many tiles cover a map."""
    return -(-shape[0] // tile[0]) * -(-shape[1] // tile[1])


def tile_height(shape: Pair, width: int, unit: int, workers: int) -> int:
    """Height of tiles ``width`` px wide: tall, but enough of them to feed the workers."""
    columns = -(-shape[1] // width)
    whole = -(-shape[0] // unit) * unit
    height = min(whole, max(unit, MAX_TILE_AREA // width // unit * unit))
    if workers > 1:
        rows = -(-workers * TILES_PER_WORKER // columns)
        height = min(height, max(unit, whole // rows // unit * unit))
    return height
