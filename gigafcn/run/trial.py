"""How fast does this run compute a part of its map on this machine?

A part in the middle is read, computed and stored in a temporary folder, the way the run will do
it.  The first strip also fills the halo, so what counts are the blocks after as many as it has;
with columns side by side, of which one may be ahead, nearly the same.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import torch

from gigafcn.doing import Doing
from gigafcn.engine.allocation import return_freed_memory
from gigafcn.engine.pixels import PRECISIONS
from gigafcn.engine.precision import as_asked, threads
from gigafcn.engine.tile import compute_tile
from gigafcn.engine.timeline import Watch
from gigafcn.engine.windows import compute_windows
from gigafcn.geometry import Box, Span
from gigafcn.output.store import MapStore, create_map
from gigafcn.plan.saving import stored_shape
from gigafcn.schedule.job import placed_forward, placed_graph
from gigafcn.schedule.resources import available_cpus

if TYPE_CHECKING:
    from gigafcn.graph.model_graph import ModelGraph
    from gigafcn.plan.run_plan import RunPlan
    from gigafcn.plan.windows import Windows
    from gigafcn.run.request import Request

STRIPS = 3
BLOCKS = 3
"""Strips and blocks of the part: one strip fills the halo, one block may meet the left edge.  They
are too few to be played from a tape; a run with a small net is up to a tenth faster than its
trial."""

WINDOW_ROWS, MOST_ACROSS, WINDOWS_PX = 3, 64, 2 << 20
"""Rows of windows in a part of blend or patch, windows in each, and the px of all of them at most:
as many as a processor computes in about two seconds.  One batch it is at least."""

GPU_STRIPS = 24
"""Strips on a GPU, where steady ones are played back."""


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds of one worker per input px."""

    computing: float
    """Of the thread that computes, blocks after the first strip."""

    reading: float
    """Of the thread that reads and decodes."""

    storing: float
    """Of the thread that compresses and stores."""

    starting: float
    """Seconds that a part takes beside these: its first strips have sizes of their own, for which
    oneDNN writes code, and memory is taken anew."""

    def overlapped(self, spare: int) -> float:
        """Seconds per input px when all three work at once.

        Parameters
        ----------
        spare
            Processors that the threads of all workers leave free. If there are none, what is
            compressed takes its time from what is computed, with Python's lock; reading did so in
            the trial already.
        """
        if spare > 0:
            return max(self.computing, self.reading, self.storing)
        return max(self.computing + self.storing, self.reading)


def try_part(
    request: Request, graph: ModelGraph | None = None, *, width: int | None = None
) -> Pace:
    """Compute a part of an exact run.

    Parameters
    ----------
    graph
        As placed for this plan, if it has been already.
    width
        Of the part in map px; None is one that fills all lanes.

    Raises
    ------
    RunError
        If the part cannot be read, computed or stored.
    """
    plan = _plan_of_part(request.plan, width)
    graph = graph or placed_graph(request.graph, plan)
    ends = [(time.perf_counter(), 0)]

    def advance(pixels: int) -> None:
        # A GPU is late by the results that it owes, by as many at the end as at the beginning.
        ends.append((time.perf_counter(), pixels))

    with TemporaryDirectory(prefix="gigafcn-trial-") as folder, threads(plan.threads):
        path = Path(folder) / "map.zarr"
        create_map(path, plan.spec)
        store = MapStore(path, plan.spec)
        receipt = compute_tile(graph, plan, plan.box, request.image, store, Watch(advance))
    # What a trial leaves in pieces would lie beside what the next one, or the run, takes.
    return_freed_memory()
    stride = plan.geometry.stride
    pixels = plan.box.area * float(stride[0] * stride[1])
    computing = _steady(ends, plan) / float(stride[0] * stride[1])
    return Pace(
        computing=computing,
        reading=receipt.took[Doing.READING] / request.graph.need_box(plan.box).area,
        storing=receipt.took[Doing.STORING] / pixels,
        starting=max(0.0, receipt.seconds - computing * request.graph.need_box(plan.box).area),
    )


def try_windows(request: Request, windows: Windows) -> Pace:
    """Compute a part of a run of blend or patch.

    Returns
    -------
    Pace
        Computing per window: its pixels normalised, computed and gathered.  Reading per px that
        windows read, storing per px of the map.

    Raises
    ------
    RunError
        If the part cannot be read, computed or stored.
    """
    plan = plan_of_windows(request.plan, windows)
    forward = placed_forward(request.model.module, plan)
    shape = (min(windows.batch, windows.count[1]), len(plan.channels), *windows.size)
    noise = torch.zeros(shape, dtype=PRECISIONS[plan.precision], device=plan.device)
    with TemporaryDirectory(prefix="gigafcn-trial-") as folder, threads(plan.threads):
        path = Path(folder) / "map.zarr"
        create_map(path, plan.spec)
        store = MapStore(path, plan.spec)
        with as_asked():  # the first call of a shape takes longer
            forward(noise.contiguous(memory_format=torch.channels_last))
        image, watch = request.image, Watch(lambda _: None)
        took = compute_windows(forward, plan, plan.box, image, store, watch).took
    return_freed_memory()
    computing = sum(took.get(d, 0.0) for d in (Doing.TO_DEVICE, Doing.COMPUTING, Doing.TO_HOST))
    return Pace(
        computing=computing / windows.computed(plan.box),
        reading=took[Doing.READING] / windows.reads(plan.box).area,
        storing=took[Doing.STORING] / plan.box.area,
        starting=0.0,
    )


def part_px(request: Request) -> int:
    """Input px of the part that is tried."""
    return request.graph.need_box(_plan_of_part(request.plan, None).box).area


def spare_processors(plan: RunPlan, workers: int) -> int:
    """Processors that computing leaves free."""
    return available_cpus() - plan.threads * workers


def _steady(ends: list[tuple[float, int]], plan: RunPlan) -> float:
    """Seconds per map px once the sweep is under way."""
    first = sum(-(-column.x.size // plan.block) for column in plan.columns(plan.box))
    under_way = ends[first:] if len(ends) > first + 1 else ends
    pixels = sum(done for _, done in under_way[1:])
    return (under_way[-1][0] - under_way[0][0]) / pixels


def _plan_of_part(plan: RunPlan, width: int | None) -> RunPlan:
    """The plan of a part in the middle, as a map of its own with one tile."""
    strips = GPU_STRIPS if plan.device.startswith("cuda") else STRIPS
    rows = middle(plan, 0, strips * plan.strip)
    wide = width or plan.lanes * max(BLOCKS * plan.block, plan.lane)
    return _plan_of(plan, rows, middle(plan, 1, min(plan.tile[1], wide)))


def plan_of_windows(plan: RunPlan, windows: Windows) -> RunPlan:
    """The same for blend and patch: some rows of windows, each of whole batches."""
    part = max((part for tile in plan.tiles() for part in plan.parts(tile)), key=lambda p: p.area)
    each = windows.batch * windows.size[0] * windows.size[1]
    rows = max(1, min(WINDOW_ROWS, WINDOWS_PX // each))
    batches = max(1, min(WINDOWS_PX // (rows * each), MOST_ACROSS // windows.batch))
    return _plan_of(
        plan, *(_span_of(plan, windows, axis, part, n) for axis, n in enumerate((rows, batches)))
    )


def _span_of(plan: RunPlan, windows: Windows, axis: int, part: Box, count: int) -> Span:
    """What only ``count`` rows, or batches, of windows give, from the middle of a part on.

    Windows that overlap by more than half have no px of their own; others are computed for them.
    """
    span, unit = part.spans[axis], plan.averaged[axis]
    each = windows.batch if axis else 1
    touching = windows.touching(axis, span)
    first = max(touching[len(touching) // 2] // each - count // 2, 0) * each
    last = min(first + count * each, windows.count[axis]) - 1
    begin, end = windows.place(axis, first).start, windows.place(axis, last).stop
    if first:
        begin = max(begin, windows.place(axis, first - 1).stop)
    if last + 1 < windows.count[axis]:
        end = min(end, windows.place(axis, last + 1).start)
    begin, end = max(begin, span.start), min(end, span.stop)
    begin = span.start + -(-(begin - span.start) // unit) * unit
    return Span(begin, min(span.stop, max(begin + unit, end)))


def _plan_of(plan: RunPlan, rows: Span, columns: Span) -> RunPlan:
    box = Box.of(rows, columns)
    shape = stored_shape(box.shape, plan.averaged)
    return replace(
        plan,
        box=box,
        tile=box.shape,
        spec=replace(plan.spec, shape=shape, name="trial"),
        tissue=None,
        kept=None,
    )


def middle(plan: RunPlan, axis: int, size: int) -> Span:
    """About ``size`` positions in the middle, from a whole period and a whole stored px on."""
    span, unit = plan.box.spans[axis], plan.period[axis] * plan.averaged[axis]
    size = min(span.size, -(-size // plan.averaged[axis]) * plan.averaged[axis])
    start = span.start + (span.size - size) // 2 // unit * unit
    return Span(start, start + size)
