"""How long will a run take?  Reckoned from a part of it that was tried on this machine.

Where only tissue is computed, many parts are narrow: a single sweep computes each, in small blocks
that cost as much beside the arithmetic as large ones.  So these have a trial of their own, and
every part takes a while to start: of 65536 x 65536 px with 5 % tissue in 119 parts, a third.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from gigafcn.output.spec import map_levels
from gigafcn.output.tile_pyramid import shards_across_tiles
from gigafcn.plan.planning import waste
from gigafcn.run.trial import Pace, spare_processors, try_part

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gigafcn.geometry import Box
    from gigafcn.plan.run_plan import RunPlan
    from gigafcn.plan.windows import Windows
    from gigafcn.run.request import Request

FROM_STORED = 2
"""Times that a px of a coarser level that is made of what is read back takes what one takes that is
only stored; measured: 53 ms per Mpx against 28, of three classes in uint8."""


def exact_seconds(request: Request) -> float:
    """Seconds of one worker for all tiles and what is made of them."""
    run, graph = request.plan, request.graph
    spare = spare_processors(run, request.options.workers or 1)
    usual = try_part(request)
    each = float(run.geometry.stride[0] * run.geometry.stride[1]) * math.prod(run.averaged)
    across = px_across_tiles(run) * run.computed_share * each * usual.storing * FROM_STORED
    if run.tissue is None:
        px = graph.need_box(run.box).area * waste(graph, run.box, run.tile)
        return px * usual.overlapped(spare) + across
    parts = [part for tile in run.tiles() for part in run.parts(tile)]
    narrow = [part for part in parts if is_narrow(run, part)]
    wide = [part for part in parts if not is_narrow(run, part)]
    slower = _pace_of(request, narrow) if narrow else usual
    return seconds_of(request, wide, usual) + seconds_of(request, narrow, slower) + across


def window_seconds(request: Request, windows: Windows, pace: Pace) -> float:
    """Seconds of one worker for all windows of blend or patch, and what is made of them.

    Parameters
    ----------
    pace
        As :func:`gigafcn.run.trial.try_windows` measures it.
    """
    run = request.plan
    parts = [part for tile in run.tiles() for part in run.parts(tile)]
    area = sum(part.area for part in parts)
    per_px = replace(
        pace,
        computing=pace.computing * _computed(run, windows, parts) / area,
        reading=pace.reading * sum(windows.reads(part).area for part in parts) / area,
    )
    across = px_across_tiles(run) * run.computed_share * math.prod(run.averaged)
    spare = spare_processors(run, request.options.workers or 1)
    return area * per_px.overlapped(spare) + across * pace.storing * FROM_STORED


def _computed(run: RunPlan, windows: Windows, parts: Sequence[Box]) -> int:
    """Windows that are computed for parts of tiles."""
    if run.kept is not None:
        return int(run.kept.cells().sum())
    return sum(map(windows.computed, parts))


def seconds_of(request: Request, parts: Sequence[Box], pace: Pace) -> float:
    """Seconds of one worker for parts of tiles (map px) that are computed at this pace."""
    spare = spare_processors(request.plan, request.options.workers or 1)
    px = sum(request.graph.need_box(part).area for part in parts)
    return px * pace.overlapped(spare) + len(parts) * pace.starting


def is_narrow(run: RunPlan, part: Box) -> bool:
    """Whether a part is computed by fewer sweeps than there are lanes, or by less than a block."""
    return len(run.columns(part)) < run.lanes or part.x.size < run.block


def _pace_of(request: Request, parts: Sequence[Box]) -> Pace:
    """The pace of parts as wide as these, each counted as often as it has px."""
    area = sum(part.area for part in parts)
    return try_part(request, width=round(sum(p.area * p.x.size for p in parts) / area))


def px_across_tiles(run: RunPlan) -> int:
    """Stored px of coarser levels that no tile can build from what it has in memory."""
    levels = map_levels(run.spec)
    return sum(
        levels[level].shard_box(index).area
        for level in range(1, len(levels))
        for index in shards_across_tiles(run.spec, level, run.stored_tile)
    )
