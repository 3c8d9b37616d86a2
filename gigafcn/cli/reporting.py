"""How does a command tell what it does: bar, JSON lines, or silence?

Results go to stdout; progress, warnings and errors go to stderr, one line each, so that output
can be piped.  On a terminal progress is a bar, elsewhere (a batch system's log) a line twice a
minute.  With ``--json`` stdout holds one JSON object per line and nothing else.
"""

from __future__ import annotations

import json
import shlex
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, is_dataclass
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from pathlib import Path

    from gigafcn.progress import Progress as Report
    from gigafcn.progress import ProgressCallback
    from gigafcn.run import Result

MUCH_TISSUE = 0.7
"""If less of a slide looks like tissue, the closing line says what would leave the rest out."""

JSON_INTERVAL_S = 1.0
"""Least time between two JSON lines of progress."""

LINE_INTERVAL_S = 30.0
"""Time between two lines of progress where there is no terminal."""


def fail(message: str) -> None:
    """Write the one line of an error."""
    sys.stderr.write(f"gigafcn: error: {message}\n")


def warn(message: str) -> None:
    """Write the one line of a warning."""
    sys.stderr.write(f"gigafcn: warning: {message}\n")


def say(text: str) -> None:
    """Write a line of the result."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()  # whoever reads a pipe waits for it


def one_line(error: BaseException) -> str:
    """Message of an error without line breaks."""
    return " ".join(str(error).split()) or type(error).__name__


def say_json(event: str, **values: Any) -> None:
    """Write one JSON line, at once, since the reader may wait for it."""
    sys.stdout.write(json.dumps({"event": event, **values}, default=plain) + "\n")
    sys.stdout.flush()


def plain(value: Any) -> Any:
    """Make JSON of what the library returns: numpy scalars, fractions, paths."""
    if isinstance(value, Mapping):
        return dict(value)
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if hasattr(value, "item"):
        return value.item()
    return float(value) if hasattr(value, "numerator") else str(value)


@contextmanager
def json_progress(slide: str) -> Iterator[ProgressCallback]:
    """Report progress as JSON lines, at most one a second and the last of each stage."""
    last = float("-inf")

    def report(progress: Report) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= JSON_INTERVAL_S or progress.tiles_done == progress.tiles:
            last = now
            fields = {name: getattr(progress, name) for name in progress.__slots__}
            say_json("progress", slide=slide, **fields)

    yield report


@contextmanager
def bar_progress(name: str) -> Iterator[ProgressCallback]:
    """Report progress as a bar with Mpx/s and time left on a terminal, elsewhere as lines."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _line_progress(name)
        return
    columns = (
        TextColumn("{task.fields[slide]} {task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %  {task.fields[figures]}"),
        TimeRemainingColumn(),
    )
    stages: dict[str, TaskID] = {}
    with Progress(*columns, console=console) as bar:

        def report(progress: Report) -> None:
            if progress.stage not in stages:
                stages[progress.stage] = bar.add_task(progress.stage, slide=name, figures="")
            bar.update(
                stages[progress.stage],
                total=progress.pixels,
                completed=progress.pixels_done,
                figures=_figures(progress),
            )

        yield report


def _line_progress(name: str) -> ProgressCallback:
    last = time.monotonic()

    def report(progress: Report) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= LINE_INTERVAL_S:
            last = now
            share = progress.pixels_done / max(progress.pixels, 1)
            tiles = f"{progress.tiles_done} of {progress.tiles} tiles"
            line = f"{name} {progress.stage} {share:.0%}, {tiles}, {_figures(progress)}"
            sys.stderr.write(f"gigafcn: {line}\n")
            sys.stderr.flush()

    return report


def _figures(progress: Report) -> str:
    """Speed and whatever is out of the ordinary: several workers, failed and retried tiles."""
    rate = progress.pixels_done / 1e6 / max(progress.seconds, 1e-9)
    figures = [f"{rate:.3g} Mpx/s"]
    if progress.workers != 1:
        figures.append(f"{progress.workers} workers")
    figures += [
        f"{count} {what}"
        for count, what in ((progress.failed, "failed"), (progress.retried, "retried"))
        if count
    ]
    return ", ".join(figures)


def closing_line(result: Result) -> str:
    """Size, seconds, speed, halo, mode, model, bottleneck and places of a map, in one line."""
    summary = result.summary
    height, width = result.shape[-2:]
    if summary.get("finished_before"):
        return (
            f"finished before, nothing to do: {result.path}, {width} x {height} px, model "
            f"{summary['model']}, picture {summary['picture']}"
        )
    mode = f"mode {summary['mode']}"
    if summary.get("halo") is not None:
        halo = "/".join(f"{side:g}" for side in summary["halo"])
        mode = f"halo {halo} px, {summary['mode']}"
    profile = f", profile {summary['profile']}" if "profile" in summary else ""
    notes = [summary["resolution"]] if "resolution" in summary else []
    computed, stained = summary.get("computed_share", 1.0), summary.get("looks_like_tissue")
    if summary.get("windows_kept"):
        kept, total = summary["windows_kept"]
        notes.append(f"{kept} of {total} windows kept, which hold tissue")
    elif computed < 1:
        notes.append(f"{1 - computed:.0%} left out as background")
    elif stained is not None and stained < MUCH_TISSUE:
        notes.append(f"{stained:.0%} looks like tissue (--tissue auto leaves the rest out)")
    if summary.get("uncovered"):
        notes.append(summary["uncovered"])
    if summary.get("no_data_px"):
        notes.append(f"{summary['no_data_px']} px of the image hold no data")
    share = summary.get("bottleneck_share")
    slowest = f"{summary['bottleneck']}" + (f" ({share:.0%})" if share is not None else "")
    if summary.get("padding"):
        notes.append(summary["padding"])
    if "scores" in summary:
        notes.append(f"activation {summary['scores']}")
    notes += [f"WARNING: {doubt.short}" for doubt in summary.get("doubts", ())]
    last = ", ".join([f"bottleneck {slowest}", *notes])
    return (
        f"{width} x {height} px in {result.seconds:.1f} s, {summary['mpx_per_s']:.3g} Mpx/s while "
        f"mapping, {mode}, model {summary['model']}, "
        f"{last}: {result.path}, picture {summary['picture']}{profile}"
    )


def viewing_lines(path: Path) -> list[str]:
    """Commands that open a map in viewers, in the words of a shell."""
    name = shlex.quote(str(path))
    return [
        f"  napari:       napari --plugin napari-ome-zarr {name}",
        f"  neuroglancer: gigafcn view {name}",
    ]


def show_table(
    rows: Sequence[Sequence[str]], header: Sequence[str] = (), numbers_from: int | None = None
) -> None:
    """Write rows in columns, left-aligned but for those of numbers, from ``numbers_from`` on."""
    grid = Table(box=SIMPLE_HEAD if header else None, show_header=bool(header), pad_edge=False)
    for index, title in enumerate(header or rows[0]):
        numeric = numbers_from is not None and index >= numbers_from
        grid.add_column(Text(title), justify="right" if numeric else "left")
    for row in rows:
        grid.add_row(*(Text(cell) for cell in row))
    console = Console(file=sys.stdout)
    if not console.is_terminal:
        console.width = 1000  # a pipe has no edge to wrap at
    console.print(grid)
