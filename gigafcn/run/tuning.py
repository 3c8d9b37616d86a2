"""Which strips, blocks, columns side by side and tiles are fastest for this model on this machine?

The usual strips and blocks are tried, and if the run will take a while, others too, and more or
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
import time
from dataclasses import replace
from math import inf
from typing import TYPE_CHECKING, NamedTuple

import torch

from gigafcn.certificate.cache import cache_folder, cache_key, keep
from gigafcn.certificate.fingerprint import graph_fingerprint, source_fingerprint
from gigafcn.errors import GigafcnError, UsageError
from gigafcn.plan.planning import GPU_INPUT_PX, Measured, choose_layout, steps_of, tile_time
from gigafcn.plan.projection import Demand, lane_px, margins
from gigafcn.run import choices
from gigafcn.run.trial import spare_processors, try_part
from gigafcn.schedule.job import placed_graph

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gigafcn.graph.model_graph import ModelGraph
    from gigafcn.run.request import Request

log = logging.getLogger(__name__)

WORTH_A_TRIAL_PX = 32_000_000
"""Input px from which on the usual sizes are tried."""

WORTH_TRIALS = 100
"""Times a trial that a run must be expected to take for others to be tried too."""

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


class _Kept(NamedTuple):
    """What is known of a model on this machine."""

    usual: float
    """Seconds per input px with the usual sizes."""

    trial: float
    """Seconds that it took to find that out."""

    choice: _Choice | None
    """The fastest; None while no run was worth more trials."""


def tuned(request: Request) -> Request:
    """The request with what is fastest; as it is if nothing is to gain.

    Blend and patch have windows of their own; a strip that the user chose stands.  Short runs keep
    the usual sizes, whatever a long one finds later: the same command gives the same bytes.
    """
    demand, plan = request.demand, request.plan
    if not isinstance(demand, Demand) or request.options.strip is not None:
        return request
    if request.graph.need_box(plan.box).area < WORTH_A_TRIAL_PX:
        return request
    key = cache_key(
        graph_fingerprint(request.graph),
        source_fingerprint(),
        platform.processor() or platform.machine(),
        torch.__version__,
        torch.cuda.get_device_name(plan.device) if plan.device.startswith("cuda") else plan.device,
        (plan.precision, plan.threads, plan.period, plan.strip, plan.block),
    )
    kept = _kept(key)
    if kept is None or (kept.choice is None and _is_worth_trials(request, kept)):
        try:
            kept = _found(request, demand)
        except GigafcnError as error:
            log.debug("the usual sizes are taken, since a trial failed: %s", error)
            return request
        keep("steps", key, json.dumps(kept))
    if kept.choice is None or not _is_worth_trials(request, kept):
        return request
    return _with(request, demand, kept.choice) or request


def _kept(key: str) -> _Kept | None:
    folder = cache_folder("steps")
    if folder is None:
        return None
    try:
        usual, trial, choice = json.loads((folder / f"{key}.json").read_text("utf-8"))
        return _Kept(float(usual), float(trial), choice and _Choice(*map(int, choice)))
    except (OSError, ValueError, TypeError):
        return None


def _is_worth_trials(request: Request, kept: _Kept) -> bool:
    px = request.graph.need_box(request.plan.box).area / (request.options.workers or 1)
    return kept.usual * px >= WORTH_TRIALS * kept.trial


def _found(request: Request, demand: Demand) -> _Kept:
    """The pace of the usual sizes, and if the run is worth it, the fastest."""
    graph = placed_graph(request.graph, request.plan)
    start = time.perf_counter()
    pace = try_part(request, graph)
    kept = _Kept(pace.overlapped(_spare(request)), time.perf_counter() - start, None)
    if not _is_worth_trials(request, kept):
        return kept
    return kept._replace(choice=_fastest(request, demand, graph))


class _Tried(NamedTuple):
    choice: _Choice
    time: float
    """Of a whole map, per px of it, cuts between tiles and their starts included."""


def _fastest(request: Request, demand: Demand, graph: ModelGraph) -> _Choice:
    """What is fastest, tried one after the other: first the sizes, then columns of the best."""
    choice = _Choice(request.plan.strip, request.plan.block, request.plan.lanes)
    usual = best = _tried(request, demand, graph, choice) or _Tried(choice, inf)
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
