"""Choose tile, strip and block within the memory budget, and say what the run will take."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING

from gigafcn.errors import UsageError
from gigafcn.geometry import Box, Span
from gigafcn.output.sizing import LEAST_SHARD, choose_chunk, choose_shard
from gigafcn.plan.memory import sweep_bytes
from gigafcn.plan.saving import Saving, stored_shape
from gigafcn.plan.sweep_plan import plan_sweep
from gigafcn.plan.tiles import (
    TILES_PER_WORKER,
    count_tiles,
    rounded_tile,
    tile_height,
    tile_units,
    tiles,
)
from gigafcn.slide.segments import CACHE_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from fractions import Fraction

    from gigafcn.graph.model_graph import ModelGraph

Pair = tuple[int, int]

Steps = tuple[int, int]
"""Height of a strip and width of a block, in map px."""

STRIP_INPUT_PX = 128
"""Height of a strip in input px unless the user chose one."""

BLOCK_INPUT_PX = 1024
"""Width of a block in input px."""

BASE_BYTES = 700 << 20
"""What a process holds beside the sweep: torch, zarr and the slide library loaded, an exported
model, the pyramid and the picture at the end. Measured: 530 MiB after export, 605 to 690 MiB at
the end, MONAI loaded."""

STRIPS_HELD = 4
"""Strips of stored pixels in memory: read ahead, current, and one being decoded."""

LEAST_CHUNK = 16
"""Smallest side of a chunk in stored px that is made so that tiles can be small."""

MOST_CHUNK_PX = 8192
"""Map px that the side of a chunk stands for at most; chunks are the least that a tile can be."""

LANE_MARGINS = 6
"""Times the halo between two columns, which both compute, that each is wide at least."""

ROWS_HELD = 4
"""Shard rows in memory: filling, waiting, being compressed, and the coarser levels."""


@dataclass(frozen=True, slots=True)
class Demand:
    """What planning needs to know of a run."""

    graph: ModelGraph
    """Traced for the padded image."""

    box: Box
    """Part of the map to compute, in map px."""

    period: Pair
    """Output period (y, x) in map px."""

    stride: tuple[Fraction, Fraction]
    """Input px per map px."""

    classes: int
    """Of the model."""

    saving: Saving
    item: int
    """Bytes of one value while computing."""

    stored_bytes: int
    """Bytes of one stored input pixel, all channels that are read."""

    weights: int
    """Bytes of the model's weights."""

    lanes: int = 1
    """Columns of a tile that may be computed side by side."""

    decoded: int = 0
    """Bytes per column of input px of what the slide decodes at once and keeps; see
    :func:`decoded_bytes`."""


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


def choose_layout(
    demand: Demand, *, tile: int | Pair | None, strip: int | None, budget: int, workers: int
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

    Raises
    ------
    UsageError
        If nothing fits the budget: says the least that would.
    """
    saving, shape = demand.saving, demand.saving.shape(demand.box)
    chunk = saved_chunk(saving, demand.box)
    strip_px, block_px = _steps(demand, strip)
    side = chunk * saving.averaged[0], chunk * saving.averaged[1]
    asked = None if tile is None else rounded_tile(tile, demand.period, side)

    def layout(sides: Pair) -> Layout:
        shard = saved_shard(saving, shape, chunk, sides)
        memory = projected_bytes(demand, sides, shard, strip_px, block_px)
        return Layout(sides, chunk, shard, strip_px, block_px, memory)

    return fitting_layout(
        layout, demand.box.shape, shard_units(saving, shape, chunk, demand.period),
        margins=_margins(demand), asked=asked, budget=budget, workers=workers,
    )  # fmt: skip


def _margins(demand: Demand) -> Pair:
    """Map px (y, x) that a cut computes twice at the input; deeper layers less."""
    y, x = (
        ceil(demand.graph.need(Span(a, a + p), axis, clip=False).size / stride) - p
        for axis, (a, p, stride) in enumerate(
            zip((demand.box.y0, demand.box.x0), demand.period, demand.stride, strict=True)
        )
    )
    return max(0, y), max(0, x)


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
    layout: Callable[[Pair], Layout],
    shape: Pair,
    units: Sequence[Pair],
    *,
    margins: Pair,
    asked: Pair | None,
    budget: int,
    workers: int,
) -> Layout:
    """The layout of the tile that was asked for, or of the tile that computes least twice.

    Parameters
    ----------
    layout
        Gives the layout for a tile (y, x) in map px.
    shape
        Of the map, in map px.
    units
        What tiles are multiples of, in map px (y, x): what is preferred first.
    margins
        Map px (y, x) that every cut between tiles computes twice.

    Raises
    ------
    UsageError
        If nothing fits the budget: says the least that would.
    """
    if asked is None:
        found = [tile for unit in units for tile in _tiles(shape, unit, margins, workers)]
        # Larger shards are no reason to leave workers idle that rows of chunks would feed.
        rows = tile_height(shape, shape[1], units[-1][0], workers)
        enough = min(workers * TILES_PER_WORKER, count_tiles(shape, (rows, shape[1])))
        found.sort(key=lambda tile: count_tiles(shape, tile) < enough)  # else in order
        return _thriftiest(layout, list(dict.fromkeys(found)), budget, workers)
    only = layout(asked)
    if only.memory > budget:
        raise UsageError(
            f"tiles of {only.tile[0]} x {only.tile[1]} px (y, x) take "
            f"{_amount(only.memory)}, the memory is {_amount(budget)}; "
            f"take a smaller --tile or more --memory"
        )
    return only


def _thriftiest(
    layout: Callable[[Pair], Layout], candidates: list[Pair], budget: int, workers: int
) -> Layout:
    """The first tile that fits."""
    least: Layout | None = None
    for tile in candidates:
        found = layout(tile)
        if found.memory <= budget:
            return found
        least = found if least is None or found.memory < least.memory else least
    assert least is not None
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


def _tiles(shape: Pair, units: Pair, margins: Pair, workers: int) -> list[Pair]:
    """Tiles (y, x) to consider, those that compute least twice first, then the widest."""
    found = [
        (tall, wide)
        for wide in _widths(shape[1], units[1])
        for tall in _heights(shape, wide, units[0], workers)
    ]

    def order(tile: Pair) -> tuple[float, int, int]:
        twice = 1.0
        for side, whole, margin in zip(tile, shape, margins, strict=True):
            twice *= 1 + margin / side if side < whole else 1
        return twice, -tile[1], -tile[0]

    return sorted(found, key=order)


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


def _steps(demand: Demand, strip: int | None) -> Steps:
    if strip is None:
        return steps_of(demand, STRIP_INPUT_PX, BLOCK_INPUT_PX)
    if strip < 1:
        raise UsageError(f"strip must be at least 1 px, got {strip}")
    return steps_of(demand, strip * demand.stride[0], BLOCK_INPUT_PX)


def steps_of(demand: Demand, high_px: int | Fraction, wide_px: int | Fraction) -> Steps:
    """Height of a strip and width of a block, whole output periods, for sizes in input px."""
    asked = round(high_px / demand.stride[0]), round(wide_px / demand.stride[1])
    high, wide = (
        max(1, ceil(a / p)) * p if p <= 4 * a else max(1, a)
        for a, p in zip(asked, demand.period, strict=True)
    )
    return high, wide


def memory_of(demand: Demand, layout: Layout, steps: Steps) -> int:
    """Projected peak bytes of one worker for a layout with other strips and blocks."""
    return projected_bytes(demand, layout.tile, layout.shard, *steps)


def projected_bytes(demand: Demand, tile: Pair, shard: int, strip: int, block: int) -> int:
    """Peak bytes of one worker: sweep, strips read ahead, shard rows, weights, the process."""
    box = demand.box
    # Carried rows reach their full height after a few strips; a taller tile takes no more.
    margin = demand.graph.need(Span(box.y0, box.y0 + strip), 0, clip=False).size
    rows = min(tile[0], box.y.size, 8 * strip + ceil(4 * margin / demand.stride[0]))
    wide = min(tile[1], box.x.size)
    lanes = max(1, min(demand.lanes, wide // lane_px(demand, block)))
    columns = ceil(wide / lanes)
    sample = Box(0, 0, rows, columns).shift(
        box.y0 + (box.y.size - rows) // 2, box.x0 + (box.x.size - columns) // 2
    )
    plan = plan_sweep(
        demand.graph.nodes,
        demand.graph.output,
        sample,
        strip=strip,
        block=block,
        period=demand.period,
    )
    sweep = lanes * sweep_bytes(demand.graph.nodes, demand.graph.output, plan, demand.item)
    window = lanes * plan.window.x.size
    strips = STRIPS_HELD * plan.rows[0].largest_new * window * demand.stored_bytes
    high, wide = stored_shape((min(tile[0], box.y.size), wide), demand.saving.averaged)
    stored = ROWS_HELD * min(shard, high) * wide * demand.saving.bytes_per_px
    decoded = decoded_bytes(demand.decoded, window)
    return BASE_BYTES + 2 * demand.weights + sweep + strips + decoded + stored


def lane_px(demand: Demand, block: int) -> int:
    """Width in map px from which a column may be computed beside others."""
    return max(block, LANE_MARGINS * _margins(demand)[1])


def decoded_bytes(per_column: int, columns: int) -> int:
    """Bytes of decoded segments that a slide keeps for a sweep over so many columns."""
    return max(CACHE_BYTES, per_column * columns) if per_column else 0


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
