"""Choose tile, strip and block within the memory budget, and say what the run will take."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from math import ceil
from typing import TYPE_CHECKING

from gigafcn.errors import UsageError
from gigafcn.geometry import Box, Span
from gigafcn.output.sizing import LEAST_SHARD, choose_chunk, choose_shard
from gigafcn.plan.projection import Demand, Pair, Steps, fits_device, margins, projected_bytes
from gigafcn.plan.saving import Saving, stored_shape
from gigafcn.plan.tiles import (
    TILES_PER_WORKER,
    count_tiles,
    rounded_tile,
    tile_height,
    tile_units,
    tiles,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from fractions import Fraction

    from gigafcn.graph.model_graph import ModelGraph

CPU_INPUT_PX = ((256, 2048), (256, 1024), (192, 1024), (128, 1024))
"""Height of a strip, unless the user chose one, and width of a block in input px: the first that
the memory holds is taken.  What a block costs beside its arithmetic counts in small nets: half as
wide, an eighth more time goes; of 128 rows the deep layers compute 4 at a time, a fifth more."""

GPU_INPUT_PX = ((1024, 8192), (512, 4096), (256, 2048), (128, 1024))
"""The same on a GPU, which fewer px do not fill."""

LEAST_CHUNK = 16
"""Smallest side of a chunk in stored px that is made so that tiles can be small."""

MOST_CHUNK_PX = 8192
"""Map px that the side of a chunk stands for at most; chunks are the least that a tile can be."""

_TOO_LARGE = (
    "the GPU's memory is too small for the model's sweep of such tiles; take a smaller --tile or "
    "--strip, or --device cpu"
)


@dataclass(frozen=True, slots=True)
class Layout:
    """Sizes of everything that repeats, and the memory they take."""

    tile: Pair
    chunk: int
    shard: int
    strip: int
    block: int
    memory: int
    """Projected peak of one worker, in bytes."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What trials on this machine found fastest for a model."""

    steps: Steps
    start_px: int
    """Map px that are computed in the time that a tile takes to start, beside what it computes."""


def choose_layout(
    demand: Demand,
    *,
    tile: int | Pair | None,
    strip: int | None,
    budget: int,
    workers: int,
    measured: Measured | None = None,
) -> Layout:
    """Choose the layout of a run.

    Parameters
    ----------
    tile, strip
        As asked for by the user, in map px; None leaves the choice free.
    budget
        Bytes that one worker may take.
    workers
        Worker processes to feed.
    measured
        Takes the place of a strip; None chooses by what is usual.

    Raises
    ------
    UsageError
        If nothing fits the budget: says the least that would.
    """
    saving, shape = demand.saving, demand.saving.shape(demand.box)
    chunk = saved_chunk(saving, demand.box)
    side = chunk * saving.averaged[0], chunk * saving.averaged[1]
    asked = None if tile is None else rounded_tile(tile, demand.period, side)

    def layout(sides: Pair) -> Layout | None:
        shard = saved_shard(saving, shape, chunk, sides)
        found = None
        tried = (measured.steps,) if measured else _steps(demand, strip)
        for steps in tried:
            if not fits_device(demand, sides, steps):
                continue
            memory = projected_bytes(demand, sides, shard, *steps)
            found = Layout(sides, chunk, shard, *steps, memory)
            if memory <= budget:
                break
        return found

    return fitting_layout(
        layout, demand.box.shape, shard_units(saving, shape, chunk, demand.period),
        time=partial(
            tile_time, shape=demand.box.shape, margins=margins(demand),
            start_px=measured.start_px if measured else 0,
        ),
        asked=asked, budget=budget, workers=workers,
    )  # fmt: skip


def saved_chunk(saving: Saving, box: Box) -> int:
    """Side of a chunk in stored px: smaller than usual where each stands for many map px."""
    chunk = choose_chunk(saving.shape(box))
    most = max(LEAST_CHUNK, MOST_CHUNK_PX // max(saving.averaged))
    return min(chunk, 1 << most.bit_length() - 1)


def saved_shard(saving: Saving, shape: Pair, chunk: int, tile: Pair | None) -> int:
    """Side of a shard in stored px, for tiles in map px; None leaves them free."""
    return choose_shard(
        shape, len(saving.scores), dtype=saving.dtype, labels=saving.labels, chunk=chunk,
        tile=None if tile is None else stored_shape(tile, saving.averaged),
    )  # fmt: skip


def fitting_layout(
    layout: Callable[[Pair], Layout | None],
    shape: Pair,
    units: Sequence[Pair],
    *,
    time: Callable[[Pair], float],
    asked: Pair | None,
    budget: int,
    workers: int,
) -> Layout:
    """The layout of the tile that was asked for, or of the tile with which least time is lost.

    Parameters
    ----------
    layout
        Gives the layout for a tile (y, x) in map px; None if the GPU cannot hold its sweep.
    shape
        Of the map, in map px.
    units
        What tiles are multiples of, in map px (y, x): what is preferred first.
    time
        What a map of some tiles takes; see :func:`tile_time`.

    Raises
    ------
    UsageError
        If nothing fits the budget: says the least that would.
    """
    if asked is None:
        found = [tile for unit in units for tile in _tiles(shape, unit, time, workers)]
        # Larger shards are no reason to leave workers idle that rows of chunks would feed.
        rows = tile_height(shape, shape[1], units[-1][0], workers)
        enough = min(workers * TILES_PER_WORKER, count_tiles(shape, (rows, shape[1])))
        found.sort(key=lambda tile: count_tiles(shape, tile) < enough)  # else in order
        return _thriftiest(layout, list(dict.fromkeys(found)), budget, workers)
    only = layout(asked)
    if only is None:
        raise UsageError(_TOO_LARGE)
    if only.memory > budget:
        raise UsageError(
            f"tiles of {only.tile[0]} x {only.tile[1]} px (y, x) take "
            f"{_amount(only.memory)}, the memory is {_amount(budget)}; "
            f"take a smaller --tile or more --memory"
        )
    return only


def _thriftiest(
    layout: Callable[[Pair], Layout | None], candidates: list[Pair], budget: int, workers: int
) -> Layout:
    """The first tile that fits."""
    least: Layout | None = None
    for tile in candidates:
        found = layout(tile)
        if found is None:
            continue
        if found.memory <= budget:
            return found
        least = found if least is None or found.memory < least.memory else least
    if least is None:
        raise UsageError(_TOO_LARGE)
    each = f" for each of {workers} workers" if workers > 1 else ""
    raise UsageError(
        f"the memory of {_amount(budget)}{each} is too small: tiles of {least.tile[0]} x "
        f"{least.tile[1]} px (y, x) with their halo take {_amount(least.memory)}, the least that "
        f"would do; give --memory {ceil(workers * least.memory / 2**20)}MiB or more"
    )


def shard_units(saving: Saving, shape: Pair, chunk: int, period: Pair) -> list[Pair]:
    """What tiles should be multiples of, in map px (y, x): large shards, small ones, chunks.

    A shard divides its tile, and a map of small shards is a map of many files.  Two shards make
    one of the next coarser level, which the tile then builds from what it has in memory.

    Parameters
    ----------
    shape
        Stored px (y, x) of the map.
    chunk
        Side of a chunk in stored px.
    period
        Map px (y, x) on whose multiples tiles are cut.
    """
    few = saved_shard(saving, shape, chunk, None)
    sides = [2 * few, few, min(few, -(-LEAST_SHARD // chunk) * chunk), chunk]
    across = saving.averaged
    return [tile_units(period, (side * across[0], side * across[1])) for side in sides]


def _tiles(shape: Pair, units: Pair, time: Callable[[Pair], float], workers: int) -> list[Pair]:
    """Tiles (y, x) to consider, those that take least time first, then the widest."""
    found = [
        (tall, wide)
        for wide in _widths(shape[1], units[1])
        for tall in _heights(shape, wide, units[0], workers)
    ]
    return sorted(found, key=lambda tile: (time(tile), -tile[1], -tile[0]))


def tile_time(tile: Pair, *, shape: Pair, margins: Pair, start_px: int = 0) -> float:
    """What a map of such tiles takes, as a multiple of what it takes without cuts.

    Parameters
    ----------
    tile
        Sides (y, x) in map px.
    shape
        Of the map, in map px.
    margins
        Map px (y, x) that every cut between tiles computes twice.
    start_px
        See :class:`Measured`.
    """
    twice = 1.0
    for side, whole, margin in zip(tile, shape, margins, strict=True):
        twice *= 1 + margin / side if side < whole else 1
    return twice + count_tiles(shape, tile) * start_px / (shape[0] * shape[1])


def _amount(count: int) -> str:
    """Bytes in a unit that shows them."""
    return f"{count / 2**20:.0f} MiB" if count < 2**30 else f"{count / 2**30:.2f} GiB"


def _heights(shape: Pair, wide: int, unit: int, workers: int) -> Iterator[int]:
    """The planned height, then a small one: it allows small shards, which take less memory."""
    tall = tile_height(shape, wide, unit, workers)
    yield tall
    for small in (8 * unit, 2 * unit, unit):
        if small < tall:
            yield small


def _widths(width: int, unit: int) -> Iterator[int]:
    """Widths of 1, 2, 3, 4, 6, 8, 12, ... columns of tiles, in whole units."""
    seen: set[int] = set()
    columns = 1
    while True:
        wide = ceil(ceil(width / columns) / unit) * unit
        if wide not in seen:
            seen.add(wide)
            yield wide
        if wide == unit:
            return
        columns = columns + 1 if columns < 4 else ceil(columns * 1.4)


def _steps(demand: Demand, strip: int | None) -> Iterator[Steps]:
    """The usual strips and blocks, the largest first."""
    if strip is not None and strip < 1:
        raise UsageError(f"strip must be at least 1 px, got {strip}")
    for high, wide in GPU_INPUT_PX if demand.device_memory else CPU_INPUT_PX:
        rows = high if strip is None else strip * demand.stride[0]
        yield steps_of(demand, rows, wide)


def steps_of(demand: Demand, high_px: int | Fraction, wide_px: int | Fraction) -> Steps:
    """Height of a strip and width of a block, whole output periods, for sizes in input px."""
    asked = round(high_px / demand.stride[0]), round(wide_px / demand.stride[1])
    high, wide = (
        max(1, ceil(a / p)) * p if p <= 4 * a else max(1, a)
        for a, p in zip(asked, demand.period, strict=True)
    )
    return high, wide


def waste(
    graph: ModelGraph, box: Box, tile: Pair, columns: Callable[[Box], list[Box]] | None = None
) -> float:
    """Input px computed per input px needed, over all tiles; 1.0 when nothing is computed twice.

    Parameters
    ----------
    columns
        Gives the columns of a tile that are computed side by side; None computes it whole.
    """
    cut = columns or (lambda tile: [tile])
    rows = list(tiles(Box.of(box.y, Span(box.x0, box.x0 + 1)), tile))
    across = [
        part for one in tiles(Box.of(Span(box.y0, box.y0 + 1), box.x), tile) for part in cut(one)
    ]
    shares = []
    for axis, parts in enumerate((rows, across)):
        span = box.spans[axis]
        windows = sum(graph.need(part.spans[axis], axis).size for part in parts)
        shares.append(windows / max(1, graph.need(span, axis).size))
    return shares[0] * shares[1]
