"""Which strips, blocks, columns side by side and tiles are fastest for this model on this machine?

If the run will take a while, the usual strips and blocks are tried and others too, and more or
fewer columns at a time: a GPU that one sweep does not fill has several in flight.  The usual ones
stay unless others are clearly faster.  What a tile takes to start, by the same trials, decides
between many tiles that compute little twice and few that compute more.

What is found is kept on disk per model and machine, so that the next slide need not try again and
the same command gives the same map to the last bit.
"""

from __future__ import annotations

import json
import logging
import platform
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import torch

from gigafcn.certificate.cache import cache_folder, cache_key, keep
from gigafcn.certificate.fingerprint import graph_fingerprint, source_fingerprint
from gigafcn.errors import GigafcnError, UsageError
from gigafcn.plan.planning import GPU_INPUT_PX, Measured, choose_layout, steps_of, tile_time
from gigafcn.plan.projection import Demand, lane_px, margins
from gigafcn.run import choices
from gigafcn.run.trial import part_px, spare_processors, try_part
from gigafcn.schedule.job import placed_graph

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gigafcn.graph.model_graph import ModelGraph
    from gigafcn.run.request import Request

log = logging.getLogger(__name__)

WORTH_TRIALS = 100
"""Times the px of a trial that a run must have to be worth half a dozen of them."""

CANDIDATES = ((256, 512), (128, 1024), (256, 1024), (512, 2048))
"""Heights of strips and widths of blocks in input px that are tried beside the usual ones."""

CPU_LANES, GPU_LANES = (1,), (2, 4)
"""Columns side by side that are tried beside the usual: a thread for each, and one on a GPU."""

CLEARLY_FASTER = 0.95
"""Share of the usual sizes' time that others must stay under: trials differ by a few percent."""


class _Choice(NamedTuple):
    """Sizes in map px, and columns side by side."""

    strip: int
    block: int
    """On a GPU narrower where the columns of a tile are."""

    lanes: int
    start_px: int = 0
    """See :class:`gigafcn.plan.planning.Measured`."""


def tuned(request: Request) -> Request:
    """The request with what is fastest; as it is if nothing is to gain.

    Blend and patch have windows of their own; a strip that the user chose stands.  Short runs keep
    the usual sizes, whatever a long one finds later: the same command gives the same bytes.
    """
    demand, plan = request.demand, request.plan
    if not isinstance(demand, Demand) or request.options.strip is not None:
        return request
    if not _is_worth_trials(request):
        return request
    key = cache_key(
        graph_fingerprint(request.graph),
        source_fingerprint(),
        platform.processor() or platform.machine(),
        torch.__version__,
        torch.cuda.get_device_name(plan.device) if plan.device.startswith("cuda") else plan.device,
        (plan.precision, plan.threads, plan.period, plan.strip, plan.block),
    )
    choice = _kept(key)
    if choice is None:
        choice = _fastest(request, demand)
        if choice is None:
            return request
        keep("steps", key, json.dumps(choice))
    return _with(request, demand, choice) or request


def _kept(key: str) -> _Choice | None:
    folder = cache_folder("steps")
    if folder is None:
        return None
    try:
        strip, block, lanes, start_px = json.loads((folder / f"{key}.json").read_text("utf-8"))
        return _Choice(int(strip), int(block), int(lanes), int(start_px))
    except (OSError, ValueError, TypeError):
        return None


def _is_worth_trials(request: Request) -> bool:
    plan = request.plan
    px = request.graph.need_box(plan.box).area * plan.computed_share
    return px / (request.options.workers or 1) >= WORTH_TRIALS * part_px(request)


class _Tried(NamedTuple):
    choice: _Choice
    time: float
    """Of a whole map, per px of it, cuts between tiles and their starts included."""


def _fastest(request: Request, demand: Demand) -> _Choice | None:
    """What is fastest, tried one after the other: first the sizes, then columns of the best.

    None if the usual sizes cannot be tried.
    """
    graph = placed_graph(request.graph, request.plan)
    choice = _Choice(request.plan.strip, request.plan.block, request.plan.lanes)
    usual = best = _tried(request, demand, graph, choice)
    if usual is None or best is None:
        return None
    for others in (_other_sizes, _other_lanes):
        for choice in others(demand, best.choice):
            found = _tried(request, demand, graph, choice)
            if found is not None and found.time < min(CLEARLY_FASTER * usual.time, best.time):
                best = found
    return best.choice


def _other_sizes(demand: Demand, best: _Choice) -> Iterator[_Choice]:
    """Strips and blocks of other sizes."""
    for high, wide in GPU_INPUT_PX if demand.device_memory else CANDIDATES:
        steps = steps_of(demand, high, wide)
        if steps != (best.strip, best.block):
            yield _Choice(*steps, best.lanes)


def _other_lanes(demand: Demand, best: _Choice) -> Iterator[_Choice]:
    """More or fewer columns side by side."""
    for lanes in GPU_LANES if demand.device_memory else CPU_LANES:
        if lanes != best.lanes:
            yield best._replace(lanes=lanes)


def _tried(request: Request, demand: Demand, graph: ModelGraph, choice: _Choice) -> _Tried | None:
    """A choice with its time; None if memory does not hold it, or if it fails."""
    other = _with(request, demand, choice)
    if other is None:
        return None
    try:
        pace = try_part(other, graph)
    except (GigafcnError, RuntimeError) as error:  # torch's own, of a GPU's memory or streams
        log.debug("%s is not taken, since a trial failed: %s", choice, error)
        return None
    each = pace.overlapped(_spare(request))
    start_px = round(pace.starting / (each * float(demand.stride[0] * demand.stride[1])))
    lost = tile_time(
        other.layout.tile, shape=demand.box.shape, margins=margins(demand), start_px=start_px
    )
    log.debug("%s: %.3f s/Mpx, %.3f times that with tiles", choice, 1e6 * each, lost)
    return _Tried(choice._replace(start_px=start_px), each * lost)


def _spare(request: Request) -> int:
    return spare_processors(request.plan, request.options.workers or 1)


def _with(request: Request, demand: Demand, choice: _Choice) -> Request | None:
    """The request with other sizes; None if no tile has room for them."""
    demand = replace(demand, lanes=choice.lanes)
    options, workers = request.options, request.options.workers or 1
    block = choice.block
    if demand.device_memory:
        wide, period = min(request.plan.tile[1], demand.box.x.size), demand.period[1]
        block = min(block, max(1, wide // choice.lanes // period) * period)
    try:
        layout = choose_layout(
            demand,
            tile=options.tile,
            strip=None,
            budget=choices.memory(options) // workers,
            workers=workers,
            measured=Measured((choice.strip, block), choice.start_px),
        )
    except UsageError:
        return None
    plan = replace(
        request.plan,
        tile=layout.tile,
        spec=replace(request.plan.spec, shard=layout.shard),
        strip=layout.strip,
        block=layout.block,
        lane=lane_px(demand, layout.block),
        lanes=choice.lanes,
    )
    return replace(request, layout=layout, plan=plan, demand=demand)
