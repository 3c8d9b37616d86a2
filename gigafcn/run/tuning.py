"""Which height of strips and width of blocks is fastest for this model on this machine?

The usual sizes are tried, and if the run will take a while, others too.  What is chosen is kept
on disk per model and machine, so that the next slide need not try again and the same command
gives the same map to the last bit.  The usual ones stay unless others are clearly faster.
"""

from __future__ import annotations

import json
import logging
import platform
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from gigafcn.certificate.cache import cache_folder, cache_key, keep
from gigafcn.certificate.fingerprint import graph_fingerprint, source_fingerprint
from gigafcn.errors import GigafcnError
from gigafcn.plan.planning import GPU_INPUT_PX, steps_of
from gigafcn.plan.projection import Demand, Steps, fits_device, lane_px, projected_bytes
from gigafcn.run import choices
from gigafcn.run.trial import spare_processors, try_part
from gigafcn.schedule.job import placed_graph

if TYPE_CHECKING:
    from gigafcn.run.request import Request

log = logging.getLogger(__name__)

WORTH_A_TRIAL_PX = 32_000_000
"""Input px from which on the usual sizes are tried."""

WORTH_TRIALS_S = 60.0
"""Expected seconds of the run from which on others are tried too."""

CANDIDATES = ((256, 512), (128, 1024), (256, 2048), (512, 2048))
"""Heights of strips and widths of blocks in input px that are tried beside the usual ones."""

CLEARLY_FASTER = 0.95
"""Share of the usual sizes' time that others must stay under: trials differ by a few percent."""


def tuned(request: Request) -> Request:
    """The request with the strips and blocks that are fastest; as it is if nothing is to gain.

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
    steps = _kept(key)
    if steps is None:
        try:
            steps = _fastest(request, demand)
        except GigafcnError as error:
            log.debug("the usual strips and blocks are taken, since a trial failed: %s", error)
            return request
        keep("steps", key, json.dumps(steps))
    return _with(request, demand, steps) or request


def _kept(key: str) -> Steps | None:
    folder = cache_folder("steps")
    if folder is None:
        return None
    try:
        strip, block = json.loads((folder / f"{key}.json").read_text("utf-8"))
    except (OSError, ValueError, TypeError):
        return None
    return int(strip), int(block)


def _fastest(request: Request, demand: Demand) -> Steps:
    """The fastest strip and block in map px, tried one after the other."""
    plan = request.plan
    workers = request.options.workers or 1
    spare = spare_processors(plan, workers)
    graph = placed_graph(request.graph, plan)
    usual = try_part(request, graph).overlapped(spare)
    best, least = (plan.strip, plan.block), CLEARLY_FASTER * usual
    if usual * request.graph.need_box(plan.box).area / workers < WORTH_TRIALS_S:
        return best
    for high, wide in GPU_INPUT_PX if demand.device_memory else CANDIDATES:
        steps = steps_of(demand, high, wide)
        other = _with(request, demand, steps)
        if other is None or steps == (plan.strip, plan.block):
            continue
        seconds = try_part(other, graph).overlapped(spare)
        log.debug("strips of %d and blocks of %d px: %.3f s/Mpx", *steps, 1e6 * seconds)
        if seconds < least:
            best, least = steps, seconds
    return best


def _with(request: Request, demand: Demand, steps: Steps) -> Request | None:
    """The request with other strips and blocks; None if they take more memory than there is."""
    strip, block = steps
    memory = projected_bytes(demand, request.layout.tile, request.layout.shard, *steps)
    too_much = memory > choices.memory(request.options) // (request.options.workers or 1)
    if too_much or not fits_device(demand, request.layout.tile, steps):
        return None
    layout = replace(request.layout, strip=strip, block=block, memory=memory)
    plan = replace(request.plan, strip=strip, block=block, lane=lane_px(demand, block))
    return replace(request, layout=layout, plan=plan)
