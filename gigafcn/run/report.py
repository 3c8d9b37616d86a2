"""``plan_run``: what a run would take, said before it runs; nothing is written."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from gigafcn.geometry import Box
from gigafcn.output.disk import format_bytes
from gigafcn.output.spec import count_objects, store_bytes
from gigafcn.plan.planning import waste
from gigafcn.plan.window_layout import window_waste
from gigafcn.run.duration import exact_seconds, window_seconds
from gigafcn.run.far_edge import far_edge_of
from gigafcn.run.observed import doubts
from gigafcn.run.options import Options
from gigafcn.run.request import Request, prepare
from gigafcn.run.tissue import kept_windows, uncovered
from gigafcn.run.trial import try_windows
from gigafcn.run.tuning import tuned

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

    from gigafcn.certificate.far_edge import FarEdge
    from gigafcn.plan.windows import Windows
    from gigafcn.slide.opening import Source


@dataclass(frozen=True, slots=True)
class WindowFigures:
    """Figures of the windows of blend or patch."""

    size: tuple[int, int]
    """Px (y, x)."""

    interval: tuple[int, int]
    """Px (y, x) from one to the next."""

    count: int
    """Of the part of the map that is computed, without what tiles compute twice."""

    overlap: float
    weights: str
    batch: int

    def rows(self) -> list[tuple[str, str]]:
        """Labels and values to print."""
        every = f"every {self.interval[0]} x {self.interval[1]} px"
        how = every if self.weights == "none" else f"{every}, weights {self.weights}"
        return [
            ("windows", f"{self.count} of {self.size[0]} x {self.size[1]} px, {how}"),
            ("batch", f"{self.batch} windows"),
        ]


@dataclass(frozen=True, slots=True)
class PlanReport:
    """Figures of a planned run."""

    image: tuple[int, int]
    """Px (y, x) of the image that the model sees."""

    resolution: str
    """Which level is read, whether it is resampled, and why."""

    map: tuple[int, int, int]
    """(classes, y, x) in map px."""

    stored: tuple[int, int, int]
    """(classes, y, x) of the stored scores; no classes if only labels are stored."""

    halo: tuple[int, int, int, int]
    """(top, bottom, left, right) input px; zeros in blend and patch."""

    period: tuple[int, int]
    """Input px (y, x)."""

    padding: str
    """What is added to the image before the model sees it; "" in blend and patch."""

    far_edge: FarEdge | None
    """What padding changes where the image ends, if both are possible."""

    tissue: tuple[float, float] | None
    """Part of the chunks with tissue, and part of the map that is computed; None computes all."""

    kept: tuple[int, int] | None
    """Windows of patch that hold enough tissue, and all; None if it is not chosen by window."""

    uncovered: str
    """What no window of patch reaches at right and below, in words; "" if nothing."""

    tile: tuple[int, int]
    """Map px (y, x)."""

    tiles: int
    """That are computed."""

    window: tuple[int, int]
    """Largest input window (y, x) of a tile, in px."""

    strip: int
    """Map px; in blend and patch those of a window."""

    block: int
    """Map px; in blend and patch those of a window."""

    waste: float
    """Input px read per input px needed; in blend and patch, how many times a px is computed."""

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
    """Of stored scores."""

    activation: str
    meaning: str
    """What the model's output is, and why."""

    labels: bool = False
    """Whether labels are stored."""

    mode: str = "exact"
    windows: WindowFigures | None = None
    """Of blend and patch."""

    def to_json(self) -> dict[str, Any]:
        """All figures by name."""
        return asdict(self)

    def rows(self) -> list[tuple[str, str]]:
        """Labels and values to print."""
        return [
            ("image", f"{self.image[0]} x {self.image[1]} px (y, x)"),
            ("resolution", self.resolution),
            ("map", f"{self.map[0]} classes, {self.map[1]} x {self.map[2]} px"),
            ("stored", self._stored),
            ("activation", f"{self.activation} ({self.meaning})"),
            ("mode", self.mode),
            *(self._exact_rows() if self.windows is None else self.windows.rows()),
            *self._tissue_rows(),
            *([("rest", self.uncovered)] if self.uncovered else []),
            ("tiles", f"{self.tiles} of {self.tile[0]} x {self.tile[1]} px"),
            ("waste", self._waste),
            ("memory", f"{format_bytes(self.memory_bytes)} per worker, {self.workers} worker(s)"),
            ("on disk", f"at most {format_bytes(self.disk_bytes)} in {self.objects} files"),
            ("time", f"about {_duration(self.seconds)}"),
        ]

    @property
    def _stored(self) -> str:
        count, *shape = self.stored
        scores = [f"scores of {count} classes, {self.dtype}"] if count else []
        what = " and ".join([*scores, *(["labels"] if self.labels else [])])
        return f"{what}, {shape[0]} x {shape[1]} px"

    @property
    def _waste(self) -> str:
        if self.windows is not None:
            return f"each px is computed {self.waste:.2f} times"
        return f"{100 * (self.waste - 1):.1f} % of the pixels are computed twice"

    def _tissue_rows(self) -> list[tuple[str, str]]:
        if self.tissue is None:
            return []
        share, computed = self.tissue
        if self.kept is not None:
            kept, total = self.kept
            text = f"{kept} of {total} windows are computed, which hold enough (--min-tissue)"
            return [("tissue", text)]
        text = f"{share:.0%} of the chunks; {1 - computed:.0%} of the map is left out"
        return [("tissue", text)]

    def _exact_rows(self) -> list[tuple[str, str]]:
        top, bottom, left, right = self.halo
        return [
            ("halo", f"{top} above, {bottom} below, {left} left, {right} right px"),
            ("period", f"{self.period[0]} x {self.period[1]} px"),
            ("input", self.padding),
            *([] if self.far_edge is None else [("far edge", str(self.far_edge))]),
            ("largest window", f"{self.window[0]} x {self.window[1]} px"),
            ("strips and blocks", f"{self.strip} px high, {self.block} px wide"),
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
        doubts(request)  # said here too, before a night is spent on them
        return _report(tuned(request))
    finally:
        request.slide.close()


def _report(request: Request) -> PlanReport:
    run, spec = request.plan, request.plan.spec
    windows = run.windows
    workers = request.options.workers or 1
    of_mode = _exact_figures(request) if windows is None else _window_figures(request, windows)
    return PlanReport(
        image=run.geometry.image,
        resolution=request.grid.described,
        map=(len(spec.classes) - run.rest, *run.box.shape),
        stored=(len(spec.stored), *spec.shape),
        tile=run.tile,
        tissue=None if run.tissue is None else (run.tissue.share, run.computed_share),
        kept=None if run.kept is None else kept_windows(run),
        uncovered=uncovered(run),
        tiles=len(run.tiles()),
        strip=run.strip,
        block=run.block,
        memory_bytes=request.layout.memory,
        disk_bytes=store_bytes(spec),
        objects=count_objects(spec),
        workers=workers,
        dtype=spec.dtype,
        labels=spec.labels,
        activation=run.activation,
        meaning=run.meaning,
        mode=run.mode,
        **of_mode | {"seconds": of_mode["seconds"] / workers},
    )


def _exact_figures(request: Request) -> dict[str, Any]:
    run, graph = request.plan, request.graph
    repeated = waste(graph, run.box, run.tile, run.columns)
    return {
        "halo": request.exact.halo,
        "period": request.exact.period,
        "padding": run.geometry.described,
        "far_edge": far_edge_of(request),
        "window": _largest_window(request),
        "waste": repeated,
        "seconds": exact_seconds(request),
    }


def _window_figures(request: Request, windows: Windows) -> dict[str, Any]:
    run = request.plan
    touched = [len(windows.touching(axis, run.box.spans[axis])) for axis in (0, 1)]
    return {
        "halo": (0, 0, 0, 0),
        "period": (1, 1),
        "padding": "",
        "far_edge": None,
        "window": windows.size,
        "waste": window_waste(windows, run.box, run.tile),
        "seconds": window_seconds(request, windows, try_windows(request, windows)),
        "windows": WindowFigures(
            size=windows.size,
            interval=windows.interval,
            count=touched[0] * touched[1],
            overlap=windows.overlap,
            weights=windows.weights,
            batch=windows.batch,
        ),
    }


def _largest_window(request: Request) -> tuple[int, int]:
    run = request.plan
    middle = Box(
        *(edge // 2 // side * side for edge, side in zip(run.box, run.tile * 2, strict=True))
    )
    tile = Box(middle.y1, middle.x1, middle.y1 + run.tile[0], middle.x1 + run.tile[1]).intersect(
        run.box
    )
    return request.graph.need_box(tile).shape
