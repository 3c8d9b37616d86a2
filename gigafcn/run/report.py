"""``plan_run``: what a run would take, said before it runs; nothing is written."""

from __future__ import annotations

import statistics
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from gigafcn.engine.pixels import PRECISIONS
from gigafcn.engine.sweep import Sweep
from gigafcn.geometry import Box
from gigafcn.output.disk import format_bytes
from gigafcn.output.spec import count_objects, store_bytes
from gigafcn.plan.planning import waste
from gigafcn.plan.sweep_plan import plan_sweep
from gigafcn.plan.tiles import count_tiles
from gigafcn.run.options import Options
from gigafcn.run.request import Request, prepare
from gigafcn.schedule.job import placed_graph

if TYPE_CHECKING:
    from pathlib import Path

    from gigafcn.slide.opening import Source

MEASURED_STRIPS = 4
MEASURED_BLOCKS = 3


@dataclass(frozen=True, slots=True)
class PlanReport:
    """Figures of a planned run."""

    image: tuple[int, int]
    """Px (y, x) at the level that is read."""

    map: tuple[int, int, int]
    """(classes, y, x) in map px."""

    halo: tuple[int, int, int, int]
    """(top, bottom, left, right) input px."""

    period: tuple[int, int]
    """Input px (y, x)."""

    tile: tuple[int, int]
    """Map px (y, x)."""

    tiles: int
    window: tuple[int, int]
    """Largest input window (y, x) of a tile, in px."""

    strip: int
    """Map px."""

    block: int
    """Map px."""

    waste: float
    """Input px read per input px needed."""

    memory_bytes: int
    """Projected peak of one worker."""

    disk_bytes: int
    """At most, before compression."""

    objects: int
    """Files of the finished map, at most."""

    seconds: float
    """Estimated from a short measurement on this machine."""

    workers: int
    dtype: str
    activation: str

    def to_json(self) -> dict[str, Any]:
        """All figures by name."""
        return asdict(self)

    def rows(self) -> list[tuple[str, str]]:
        """Labels and values to print."""
        top, bottom, left, right = self.halo
        return [
            ("image", f"{self.image[0]} x {self.image[1]} px (y, x)"),
            ("map", f"{self.map[0]} classes, {self.map[1]} x {self.map[2]} px, {self.dtype}"),
            ("activation", self.activation),
            ("halo", f"{top} above, {bottom} below, {left} left, {right} right px"),
            ("period", f"{self.period[0]} x {self.period[1]} px"),
            ("tiles", f"{self.tiles} of {self.tile[0]} x {self.tile[1]} px"),
            ("largest window", f"{self.window[0]} x {self.window[1]} px"),
            ("strips and blocks", f"{self.strip} px high, {self.block} px wide"),
            ("waste", f"{100 * (self.waste - 1):.1f} % of the pixels are read twice"),
            ("memory", f"{format_bytes(self.memory_bytes)} per worker, {self.workers} worker(s)"),
            ("on disk", f"at most {format_bytes(self.disk_bytes)} in {self.objects} files"),
            ("time", f"about {_duration(self.seconds)}"),
        ]


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def plan_run(
    source: Source,
    model: str | Path | nn.Module,
    output: str | Path | None = None,
    **options: Any,
) -> PlanReport:
    """Plan a run without starting it; options are those of :func:`gigafcn.infer`.

    Raises
    ------
    UsageError, SlideError, ModelError
        As ``infer`` would.
    """
    request = prepare(source, model, Options(**options))
    try:
        return _report(request)
    finally:
        request.slide.close()


def _report(request: Request) -> PlanReport:
    run, spec, graph = request.plan, request.plan.spec, request.graph
    read_twice = waste(graph, run.box, run.tile)
    workers = request.options.workers or 1
    needed = graph.need_box(run.box)
    return PlanReport(
        image=run.geometry.image,
        map=(len(spec.classes), *spec.shape),
        halo=request.footprint.halo,
        period=request.footprint.period,
        tile=run.tile,
        tiles=count_tiles(run.box.shape, run.tile),
        window=_largest_window(request),
        strip=run.strip,
        block=run.block,
        waste=read_twice,
        memory_bytes=request.layout.memory,
        disk_bytes=store_bytes(spec),
        objects=count_objects(spec),
        seconds=needed.area * read_twice * _seconds_per_px(request) / workers,
        workers=workers,
        dtype=spec.dtype,
        activation=run.activation,
    )


def _largest_window(request: Request) -> tuple[int, int]:
    run = request.plan
    middle = Box(
        *(edge // 2 // side * side for edge, side in zip(run.box, run.tile * 2, strict=True))
    )
    tile = Box(middle.y1, middle.x1, middle.y1 + run.tile[0], middle.x1 + run.tile[1]).intersect(
        run.box
    )
    return request.graph.need_box(tile).shape


def _seconds_per_px(request: Request) -> float:
    """Seconds per input px, computing and decoding, measured on a small part in the middle."""
    run = request.plan
    height = min(run.box.y.size, MEASURED_STRIPS * run.strip)
    width = min(run.box.x.size, run.tile[1], MEASURED_BLOCKS * run.block)
    y = run.box.y0 + (run.box.y.size - height) // 2 // run.period[0] * run.period[0]
    x = run.box.x0 + (run.box.x.size - width) // 2 // run.period[1] * run.period[1]
    part = Box(y, x, y + height, x + width)
    computing = _block_seconds(request, part)
    needed = request.graph.need_box(part)
    start = time.perf_counter()
    request.image.read(needed)
    return computing + (time.perf_counter() - start) / needed.area


def _block_seconds(request: Request, part: Box) -> float:
    """Median seconds per input px of a block once the sweep is under way."""
    run = request.plan
    graph = placed_graph(request.graph, run)
    sweep = plan_sweep(
        graph.nodes, graph.output, part, strip=run.strip, block=run.block, period=run.period
    )
    dtype, device = PRECISIONS[run.precision], torch.device(run.device)
    times = [time.perf_counter()]
    areas = []

    def read(box: Box) -> Tensor:
        shape = (1, graph.image.channels, *box.shape)
        pixels = torch.rand(shape, dtype=dtype, device=device)
        return pixels.contiguous(memory_format=torch.channels_last)

    def write(box: Box, logits: Tensor) -> None:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter())
        areas.append(box.area * float(run.geometry.stride[0] * run.geometry.stride[1]))

    before = torch.get_num_threads()
    torch.set_num_threads(run.threads)
    try:
        with torch.inference_mode():
            Sweep(graph, sweep).run(read, write)
    finally:
        torch.set_num_threads(before)
    costs = [(b - a) / area for a, b, area in zip(times, times[1:], areas, strict=False)]
    # The first strip also fills the halo; what comes after it is the steady state.
    steady = costs[len(sweep.blocks) :] or costs
    return statistics.median(steady)
