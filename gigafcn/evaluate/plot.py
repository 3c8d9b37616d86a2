"""An evaluation as a picture: the confusion matrix and the figures of each class.

Rows of the matrix are divided by the class's pixels in the truth, so the diagonal is the part of
each class that is found.  matplotlib is used through its objects only.
"""

from __future__ import annotations

import os
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from gigafcn.errors import StorageError, UsageError
from gigafcn.output.disk import replace_file
from gigafcn.output.legend import printable
from gigafcn.output.picture import is_own_picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from gigafcn.evaluate.scoring import Evaluation

_MARK = {"Software": "gigafcn"}
_DPI = 100
_INK, _SOFT_INK, _FRAME = "#1D2433", "#5B6475", "#C9CED6"
_BARS = {
    "IU": "#2F6FDE", "Dice": "#0B9E8E", "accuracy": "#F2B705", "boundary F1": "#8E44AD",
}  # fmt: skip
_MOST_NUMBERS = 12  # classes beyond which numbers in the matrix would overlap
_LONGEST_NAME = 16


def check_plot(path: Path, *, overwrite: bool) -> None:
    """Refuse a place that is taken.

    Raises
    ------
    UsageError
        Naming what is there.
    """
    if path.suffix.lower() != ".png":
        raise UsageError(f"the plot is a PNG; give a name that ends in .png, not {path.name}")
    if not path.exists():
        return
    if not is_own_picture(path):
        raise UsageError(f"plot {path} exists and was not written by gigafcn; choose another name")
    if not overwrite:
        raise UsageError(f"plot {path} exists; choose another name or replace it with --overwrite")


def write_plot(
    path: str | Path, evaluation: Evaluation, *, title: str = "", overwrite: bool = False
) -> None:
    """Write the picture of an evaluation as PNG.

    Raises
    ------
    UsageError
        When the place is taken.
    StorageError
        When the disk refuses.
    """
    target = Path(path)
    check_plot(target, overwrite=overwrite)
    buffer = BytesIO()
    _draw(evaluation, title).savefig(buffer, format="png", dpi=_DPI, metadata=_MARK)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        replace_file(target, buffer.getvalue())
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise StorageError(f"cannot write {target}: {reason}") from error


def _draw(evaluation: Evaluation, title: str) -> Figure:
    count = len(evaluation.classes)
    side = min(9.0, max(3.6, 0.7 * count))
    figure = Figure(
        figsize=(2.1 * side + 4.2, side + 2.1), dpi=_DPI, facecolor="white", layout="constrained"
    )
    FigureCanvasAgg(figure)
    matrix, bars = figure.subplots(1, 2, width_ratios=(1, 1.15))
    _draw_matrix(matrix, evaluation)
    _draw_bars(bars, evaluation)
    score = evaluation.metrics
    figures = (
        f"pixel accuracy {score.pixel_accuracy:.3f}  ·  "
        f"mean accuracy {score.mean_accuracy:.3f}  ·  mean IU {score.mean_iu:.3f}  ·  "
        f"frequency-weighted IU {score.frequency_weighted_iu:.3f}"
    )
    heading = printable(title, 80)
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.set(w_pad=0.12, h_pad=0.12)  # type: ignore[call-arg] # of the constrained engine
    figure.suptitle(
        f"{heading}\n{figures}" if heading else figures, fontsize=12, color=_INK, parse_math=False
    )
    return figure


def _names(evaluation: Evaluation) -> list[str]:
    return [printable(name, _LONGEST_NAME).replace("$", r"\$") for name in evaluation.classes]


def _draw_matrix(axes: Axes, evaluation: Evaluation) -> None:
    counts = np.array(evaluation.matrix, np.float64)
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, totals, out=np.full(counts.shape, np.nan), where=totals > 0)
    colours = mpl.colormaps["Blues"].with_extremes(bad="#F2F3F5")
    axes.imshow(np.ma.masked_invalid(shares), cmap=colours, vmin=0, vmax=1)
    names, ticks = _names(evaluation), range(len(counts))
    axes.set_xticks(ticks, names, rotation=30, ha="right", color=_INK)
    axes.set_yticks(ticks, names, color=_INK)
    axes.set_xlabel("predicted", color=_SOFT_INK)
    axes.set_ylabel("truth", color=_SOFT_INK)
    axes.set_title("share of each class of the truth", fontsize=11, color=_SOFT_INK)
    if len(counts) <= _MOST_NUMBERS:
        for (row, column), share in np.ndenumerate(shares):
            text = "-" if np.isnan(share) else f"{share:.3f}"
            colour = "white" if share > 0.6 else _INK
            axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=11)
    for spine in axes.spines.values():
        spine.set_edgecolor(_FRAME)


def _draw_bars(axes: Axes, evaluation: Evaluation) -> None:
    score = evaluation.metrics
    figures = {"IU": score.iu, "Dice": score.dice, "accuracy": score.accuracy}
    if evaluation.boundary_f1 is not None:
        figures["boundary F1"] = evaluation.boundary_f1
    places = np.arange(len(evaluation.classes))
    width = 0.8 / len(figures)
    for number, (name, values) in enumerate(figures.items()):
        left = places + (number - (len(figures) - 1) / 2) * width
        bars = axes.bar(left, np.nan_to_num(values), width * 0.92, color=_BARS[name], label=name)
        if len(evaluation.classes) <= _MOST_NUMBERS // 2:
            texts = ["-" if np.isnan(value) else f"{value:.2f}" for value in values]
            axes.bar_label(bars, texts, fontsize=8, color=_SOFT_INK, padding=2)
    axes.set_ylim(0, 1.08)
    axes.set_xticks(places, _names(evaluation), rotation=30, ha="right", color=_INK)
    axes.set_yticks([0, 0.25, 0.5, 0.75, 1])
    axes.grid(axis="y", color=_FRAME, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.legend(
        frameon=False, ncols=len(figures), loc="lower left", bbox_to_anchor=(0, 1.0), fontsize=10
    )
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_edgecolor(_FRAME)
