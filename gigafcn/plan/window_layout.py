"""Choose the tile of blend and patch within the memory budget.

A tile is computed one row of windows at a time: what it takes grows with its width, not with its
height.  Every cut between tiles computes the windows across it twice, so tiles are as wide as the
memory allows and, unless asked for otherwise, at least two windows high.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from math import ceil
from typing import TYPE_CHECKING

from gigafcn.geometry import Box
from gigafcn.plan.planning import (
    LEAST_CHUNK,
    Layout,
    fitting_layout,
    saved_chunk,
    saved_shard,
    shard_units,
    tile_time,
)
from gigafcn.plan.projection import BASE_BYTES, ROWS_HELD, STRIPS_HELD, decoded_bytes
from gigafcn.plan.saving import stored_shape
from gigafcn.plan.tiles import TILES_PER_WORKER, rounded_tile, tile_units, tiles

if TYPE_CHECKING:
    from gigafcn.plan.saving import Saving
    from gigafcn.plan.windows import Windows

Pair = tuple[int, int]

WINDOWS_HIGH = 2
"""Windows that a planned tile of blend is at least high."""


@dataclass(frozen=True, slots=True)
class WindowDemand:
    """What planning needs to know of a run of blend or patch."""

    windows: Windows
    box: Box
    """Part of the map to compute, in map px."""

    classes: int
    """Of the model."""

    saving: Saving
    item: int
    """Bytes of one value while computing."""

    channels: int
    """That the model sees."""

    stored_bytes: int
    """Bytes of one stored input pixel, all channels that are read."""

    weights: int
    """Bytes of the model's weights."""

    decoded: int
    """Bytes per column of what the slide decodes at once and keeps."""

    forward: int
    """Bytes that a call of the module was measured to take."""

    @property
    def period(self) -> Pair:
        """Map px on whose multiples tiles are cut."""
        return 1, 1


def choose_window_layout(
    demand: WindowDemand, *, tile: int | Pair | None, budget: int, workers: int
) -> Layout:
    """Choose the layout of a run of blend or patch.

    Parameters
    ----------
    tile
        As asked for, in map px; None leaves the choice free.
    budget
        Bytes that one worker may take.
    workers
        Worker processes to feed.

    Raises
    ------
    UsageError
        If nothing fits the budget: says the least that would.
    """
    saving, shape = demand.saving, demand.saving.shape(demand.box)
    chunk = _chunk(demand, workers)
    units = tile_units((1, 1), (chunk * saving.averaged[0], chunk * saving.averaged[1]))
    high = WINDOWS_HIGH * demand.windows.cell[0]

    def layout(sides: Pair) -> Layout:
        shard = chunk
        if chunk == saved_chunk(saving, demand.box):
            shard = saved_shard(saving, shape, chunk, sides)
        memory = window_bytes(demand, sides, shard)
        return Layout(sides, chunk, shard, demand.windows.cell[0], demand.windows.cell[1], memory)

    return fitting_layout(
        layout,
        demand.box.shape,
        [(-(-high // y) * y, x) for y, x in shard_units(saving, shape, chunk, (1, 1))],
        time=partial(tile_time, shape=demand.box.shape, margins=_margins(demand.windows)),
        asked=None if tile is None else rounded_tile(tile, (1, 1), units),
        budget=budget,
        workers=workers,
    )


def _margins(windows: Windows) -> Pair:
    """Map px (y, x) that windows across a cut are computed for twice."""
    if windows.mode == "patch":
        return 0, 0
    y, x = (size - step for size, step in zip(windows.size, windows.interval, strict=True))
    return y, x


def _chunk(demand: WindowDemand, workers: int) -> int:
    """Side of a chunk: small where a px costs a window and there are workers to feed."""
    chunk = saved_chunk(demand.saving, demand.box)
    if demand.windows.mode == "blend" or workers == 1:
        return chunk
    rows = demand.saving.shape(demand.box)[0]
    while chunk > LEAST_CHUNK and ceil(rows / chunk) < workers * TILES_PER_WORKER:
        chunk = max(LEAST_CHUNK, chunk // 2)
    return chunk


def window_bytes(demand: WindowDemand, tile: Pair, shard: int) -> int:
    """Peak bytes of one worker: a call of the module, rows of windows, sums, shard rows."""
    windows, box = demand.windows, demand.box
    columns, rows = min(tile[1], box.x.size), min(tile[0], box.y.size)
    middle = box.x0 + (box.x.size - columns) // 2 // columns * columns
    sample = Box(box.y0, middle, box.y0 + 1, middle + columns)
    width = windows.reads(sample).x.size
    fresh = min(windows.interval[0], windows.size[0])
    stored = (STRIPS_HELD * fresh + 2 * windows.size[0]) * width * demand.stored_bytes
    batch = windows.batch * windows.size[0] * windows.size[1] * demand.channels
    high, wide = stored_shape((rows, columns), demand.saving.averaged)
    shards = ROWS_HELD * min(shard, high) * wide * demand.saving.bytes_per_px
    planes = demand.classes + int(windows.weights == "gaussian")
    # The overlap is copied when sums move up; normalising holds two more copies of a batch.
    sums = 2 * windows.cell[0] * columns * planes * max(4, demand.item)
    inputs = 4 * batch * max(4, demand.item)
    read = stored + decoded_bytes(demand.decoded, width)
    return BASE_BYTES + 2 * demand.weights + demand.forward + read + inputs + shards + sums


def window_waste(windows: Windows, box: Box, tile: Pair) -> float:
    """How many times a px is computed on average, windows across tiles included."""
    count = sum(windows.computed(part) for part in tiles(box, tile))
    return count * windows.size[0] * windows.size[1] / windows.reads(box).area
