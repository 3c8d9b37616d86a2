"""How did the training go?  One picture: loss and held-out mean IU over the steps."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from gigafcn.train.loop import Report


def write_curve(path: Path, reports: Sequence[Report]) -> None:
    """Write a PNG of training loss, held-out loss and held-out mean IU per step."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    FigureCanvasAgg(figure)
    losses = figure.add_subplot()
    agreement = losses.twinx()
    steps = [r.step for r in reports]
    lines = [
        *losses.plot(steps, [r.loss for r in reports], color="C3", label="training loss"),
        *losses.plot(
            steps, [r.held_out_loss for r in reports], "--", color="C1", label="held-out loss"
        ),
        *agreement.plot(
            steps, [r.held_out_mean_iu for r in reports], color="C0", label="held-out mean IU"
        ),
    ]
    losses.set_xlabel("step")
    losses.set_ylabel("cross-entropy per pixel")
    losses.set_yscale("log")
    agreement.set_ylabel("mean IU")
    agreement.set_ylim(0, 1)
    losses.legend(handles=lines, loc="center right")
    figure.savefig(path, dpi=120)
