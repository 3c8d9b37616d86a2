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
from dataclasses import astuple, dataclass, replace
from typing import TYPE_CHECKING

import torch

from gigafcn.certificate.cache import cache_folder, cache_key, keep
from gigafcn.certificate.fingerprint import graph_fingerprint, source_fingerprint
from gigafcn.errors import GigafcnError, UsageError
from gigafcn.plan.planning import GPU_INPUT_PX, Measured, choose_layout, steps_of
from gigafcn.plan.projection import Demand, lane_px
from gigafcn.run import choices
from gigafcn.run.trial import spare_processors, try_part
from gigafcn.schedule.job import placed_graph

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gigafcn.graph.model_graph import ModelGraph
    from gigafcn.run.request import Request
    from gigafcn.run.trial import Pace

log = logging.getLogger(__name__)

WORTH_A_TRIAL_PX = 32_000_000
"""Input px from which on the usual sizes are tried."""

WORTH_TRIALS = 50
"""Times the first trial that a run must be expected to take for others to be tried too."""

CANDIDATES = ((256, 512), (128, 1024), (256, 2048), (512, 2048))
"""Heights of strips and widths of blocks in input px that are tried beside the usual ones."""

CPU_LANES, GPU_LANES = (1,), (2, 4)
"""Columns side by side that are tried beside the usual: a thread for each, and one on a GPU."""

CLEARLY_FASTER = 0.95
"""Share of the usual sizes' time that others must stay under: trials differ by a few percent."""


@dataclass(frozen=True, slots=True)
class _Choice:
    """Sizes in map px, and columns side by side."""

    strip: int
    block: int
    lanes: int
    start_px: int = 0
    """See :class:`gigafcn.plan.planning.Measured`."""


def tuned(request: Request) -> Request:
    """The request with what is fastest; as it is if nothing is to gain.

    Blend and patch have windows of their own; a strip that the user chose stands.
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
        (plan.precision, plan.threads, plan.period),
    )
    choice = _kept(key)
    if choice is None:
        try:
            choice = _fastest(request, demand)
        except GigafcnError as error:
            log.debug("the usual sizes are taken, since a trial failed: %s", error)
            return request
        keep("steps", key, json.dumps(astuple(choice)))
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


def _fastest(request: Request, demand: Demand) -> _Choice:
    """What is fastest, tried one after the other: first the sizes, then columns of the best."""
    plan, workers = request.plan, request.options.workers or 1
    spare = spare_processors(plan, workers)
    graph = placed_graph(request.graph, plan)
    best = _Choice(plan.strip, plan.block, plan.lanes)
    start = time.perf_counter()
    pace = try_part(request, graph)
    took, usual = time.perf_counter() - start, pace.overlapped(spare)
    if usual * request.graph.need_box(plan.box).area / workers >= WORTH_TRIALS * took:
        for others in (_other_sizes, _other_lanes):
            for choice in others(request, demand, best):
                found = _tried(request, demand, graph, choice)
                least = min(CLEARLY_FASTER * usual, pace.overlapped(spare))
                if found is not None and found.overlapped(spare) < least:
                    best, pace = choice, found
    each = pace.overlapped(spare) * float(demand.stride[0] * demand.stride[1])
    return replace(best, start_px=round(pace.starting / each))


def _other_sizes(request: Request, demand: Demand, best: _Choice) -> Iterator[_Choice]:
    """Strips and blocks of other sizes."""
    for high, wide in GPU_INPUT_PX if demand.device_memory else CANDIDATES:
        choice = _Choice(*steps_of(demand, high, wide), best.lanes)
        if choice != best:
            yield choice


def _other_lanes(request: Request, demand: Demand, best: _Choice) -> Iterator[_Choice]:
    """More or fewer columns side by side; blocks that are too wide for these are narrower."""
    plan = request.plan
    wide, period = min(plan.tile[1], plan.box.x.size), plan.period[1]
    for lanes in GPU_LANES if demand.device_memory else CPU_LANES:
        if lanes != best.lanes:
            narrow = max(1, wide // lanes // period) * period
            yield replace(best, lanes=lanes, block=min(best.block, narrow))


def _tried(request: Request, demand: Demand, graph: ModelGraph, choice: _Choice) -> Pace | None:
    """The pace of a choice; None if memory does not hold it, or it fails where it is not needed."""
    other = _with(request, demand, choice)
    if other is None:
        return None
    try:
        pace = try_part(other, graph)
    except (GigafcnError, RuntimeError) as error:  # torch's own, of a GPU's memory or streams
        log.debug("%s is not taken, since a trial failed: %s", choice, error)
        return None
    spare = spare_processors(request.plan, request.options.workers or 1)
    log.debug("%s: %.3f s/Mpx", choice, 1e6 * pace.overlapped(spare))
    return pace


def _with(request: Request, demand: Demand, choice: _Choice) -> Request | None:
    """The request with other sizes; None if no tile has room for them."""
    demand = replace(demand, lanes=choice.lanes)
    options, workers = request.options, request.options.workers or 1
    try:
        layout = choose_layout(
            demand,
            tile=options.tile,
            strip=None,
            budget=choices.memory(options) // workers,
            workers=workers,
            measured=Measured((choice.strip, choice.block), choice.start_px),
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
