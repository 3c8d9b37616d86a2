"""``gigafcn demo``: a first look, without a slide at hand."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from gigafcn.cli.reporting import bar_progress, closing_line, say, show_table
from gigafcn.cli.requests import Debug
from gigafcn.errors import UsageError

LEAST_PX = 512


def demo(
    *,
    size: Annotated[int, Parameter(metavar="PX")] = 8192,
    seed: int = 0,
    debug: Debug = False,
) -> None:
    """Draw a slide, map it with the bundled model, and score the map.

    Writes the folder gigafcn-demo in the working directory: a pyramidal slide as a scanner would
    write it, the exact mask it was drawn from, the map, and a picture. A second run replaces them.

    Parameters
    ----------
    size
        Height and width of the slide in px.
    seed
        Which slide to draw.
    debug
        Log more, and show the traceback of an error.
    """
    if size < LEAST_PX:
        raise UsageError(f"--size {size} px is too small for a slide; the least is {LEAST_PX}")
    from gigafcn.demo import run_demo  # loads torch

    with bar_progress("demo") as progress:
        report = run_demo(size_px=size, seed=seed, progress=progress)
    show_table(report.rows())
    say(closing_line(report.result))
