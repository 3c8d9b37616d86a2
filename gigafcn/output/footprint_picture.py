"""A model's footprint in one PNG: how it grows through the layers, and what it costs.

On the left, image px on either side that one px of each tensor depends on, layer by layer, above
the stride of each tensor.  On the right, how many px are computed for each px that is needed, by
tile size: when every tile recomputes its halo, when rows are carried from tile to tile, and in
one sweep.  It leaves out finding the footprint: the caller brings plain numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator

from gigafcn.errors import RunError, UsageError
from gigafcn.output.disk import replace_file
from gigafcn.output.legend import printable
from gigafcn.output.picture import is_own_picture

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from matplotlib.axes import Axes

OWN_MARK = {"Software": "gigafcn"}
"""Text inside a picture that says who drew it."""

Halo = tuple[int, int, int, int]

_SIZE_IN, _DPI = (15.0, 7.6), 110
_INK, _SOFT_INK, _GRID = "#1D2433", "#5B6475", "#E3E6EA"
_ABOVE, _ACROSS, _STRIDE = "#2A6FB0", "#C8562B", "#7A5BA6"
_MOST_LABELS = 44
"""Labels that stand side by side without touching, written upwards."""

_LABEL_LETTERS = 26
_VISIBLE_SHARE = 0.02
_TILES = (512, 1024, 2048, 4096)
_TILE_RANGE = (128, 16384)


@dataclass(frozen=True, slots=True)
class LayerReach:
    """One tensor of a model, in order of computing."""

    layer: str
    """Path in the model; may be empty."""

    op: str
    y: tuple[float, float]
    """Image px above and below its own place that one px depends on."""

    x: tuple[float, float]
    """The same to the left and right."""

    stride: float
    """Image px per px."""


def write_footprint_picture(
    path: Path,
    layers: Sequence[LayerReach],
    *,
    title: str,
    halo: Halo | None,
    halo_aligned: Halo,
) -> None:
    """Draw the picture.

    Parameters
    ----------
    path
        PNG to write.
    layers
        The image first.
    title
        The model's name.
    halo, halo_aligned
        (top, bottom, left, right) input px: worst over all px, and of tiles of whole periods.
        The former is None for nets that lose a margin: their map lies elsewhere.

    Raises
    ------
    RunError
        If the file cannot be written.
    """
    figure = Figure(figsize=_SIZE_IN, dpi=_DPI, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    figure.suptitle(
        f"What {printable(title)} sees", x=0.012, ha="left", fontsize=15, color=_INK, weight="bold"
    )
    grid = figure.add_gridspec(2, 2, width_ratios=(2.3, 1), height_ratios=(4, 1))
    growth = figure.add_subplot(grid[0, 0])
    strides = figure.add_subplot(grid[1, 0], sharex=growth)
    waste = figure.add_subplot(grid[:, 1])
    _draw_growth(growth, layers, halo)
    _draw_strides(strides, layers)
    _draw_waste(waste, halo_aligned)
    for axes in (growth, strides, waste):
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["left", "bottom"]].set_color(_SOFT_INK)
        axes.tick_params(colors=_SOFT_INK, labelsize=9)
        axes.set_axisbelow(True)
    buffer = BytesIO()
    figure.savefig(buffer, format="png", metadata=OWN_MARK)
    try:
        replace_file(path, buffer.getvalue())
    except OSError as error:
        raise RunError(f"cannot write the picture {path}: {error.strerror or error}") from error


def refuse_foreign(path: Path) -> None:
    """Refuse a place that is no PNG, or where something stands that gigafcn did not draw.

    Raises
    ------
    UsageError
        Naming the file.
    """
    if path.suffix.lower() != ".png":
        raise UsageError(f"the picture is a PNG; give it a name that ends in .png, not {path.name}")
    if path.exists() and not is_own_picture(path):
        raise UsageError(
            f"{path} exists and was not drawn by gigafcn, so the picture does not replace it; "
            f"choose another name or move that away"
        )


def _draw_growth(axes: Axes, layers: Sequence[LayerReach], halo: Halo | None) -> None:
    positions = np.arange(len(layers))
    above, below = (np.array([layer.y[i] for layer in layers]) for i in (0, 1))
    axes.fill_between(positions, -above, below, step="mid", color=_ABOVE, alpha=0.18, lw=0)
    axes.step(positions, -above, where="mid", color=_ABOVE, lw=1.4, label="above and below (y)")
    axes.step(positions, below, where="mid", color=_ABOVE, lw=1.4)
    if _axes_differ(layers):
        left, right = (np.array([layer.x[i] for layer in layers]) for i in (0, 1))
        axes.step(
            positions, -left, where="mid", color=_ACROSS, lw=1.2, ls="--",
            label="left and right (x)",
        )  # fmt: skip
        axes.step(positions, right, where="mid", color=_ACROSS, lw=1.2, ls="--")
        axes.legend(loc="upper left", frameon=False, fontsize=9)
    most = max(1.0, *(reach for layer in layers for reach in (*layer.y, *layer.x)))
    edges = ((-halo[0], f"{halo[0]} px above"), (halo[1], f"{halo[1]} px below")) if halo else ()
    for edge, name in edges:
        axes.axhline(edge, color=_INK, lw=0.8, ls=":")
        axes.annotate(
            f"halo {name}", (0.01, edge), xycoords=("axes fraction", "data"),
            xytext=(0, -4 if edge < 0 else 4), textcoords="offset points",
            va="top" if edge < 0 else "bottom", fontsize=9, color=_INK,
        )  # fmt: skip
    axes.axhline(0, color=_SOFT_INK, lw=0.6)
    axes.set_xlim(-0.5, len(layers) - 0.5)
    axes.set_ylim(1.16 * most, -1.16 * most)  # rows count downwards
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.yaxis.set_major_formatter(lambda value, _: f"{abs(value):g}")
    axes.set_ylabel("image px beyond its own place", color=_INK)
    axes.set_title("Footprint, layer by layer", loc="left", fontsize=11, color=_INK)
    axes.grid(axis="y", color=_GRID)
    axes.tick_params(labelbottom=False)


def _axes_differ(layers: Sequence[LayerReach]) -> bool:
    """Whether the reach along x is another than along y, by more than can be seen."""
    most = max(reach for layer in layers for reach in (*layer.y, *layer.x))
    apart = max(abs(a - b) for one in layers for a, b in zip(one.y, one.x, strict=True))
    return apart > _VISIBLE_SHARE * most


def _draw_strides(axes: Axes, layers: Sequence[LayerReach]) -> None:
    strides = np.array([layer.stride for layer in layers])
    axes.step(np.arange(len(layers)), strides, where="mid", color=_STRIDE, lw=1.4, zorder=3)
    axes.set_yscale("log", base=2)
    ticks = sorted(set(strides.tolist()))
    axes.yaxis.set_major_locator(FixedLocator(ticks if len(ticks) <= 6 else ticks[::2]))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set_ylim(min(ticks) / 1.5, max(ticks) * 1.5)
    axes.set_ylabel("stride", color=_INK)
    axes.grid(axis="y", color=_GRID)
    groups = layer_groups([layer.layer or layer.op for layer in layers], _MOST_LABELS)
    for _, start, _ in groups[1:]:
        axes.axvline(start - 0.5, color=_GRID, lw=0.8, zorder=0)
    shown = spread_labels(groups, len(layers) / _MOST_LABELS)
    axes.set_xticks(
        [(start + stop - 1) / 2 for _, start, stop in shown],
        [_short(name) for name, _, _ in shown],
        rotation=90,
        fontsize=8,
    )
    axes.tick_params(axis="x", length=0)


def layer_groups(names: Sequence[str], most: int) -> list[tuple[str, int, int]]:
    """Runs of layers under one path, as (path, start, stop): the finest that are few enough.

    Where even the coarsest paths are too many, neighbours share the name of the first.

    Examples
    --------
    >>> layer_groups(["image", "down.0", "down.1", "up.0"], 3)
    [('image', 0, 1), ('down', 1, 3), ('up', 3, 4)]
    """
    deepest = max(name.count(".") + 1 for name in names)
    for depth in range(deepest, 0, -1):
        paths = [".".join(name.split(".")[:depth]) for name in names]
        groups = _runs(paths)
        if len(groups) <= most:
            return groups
    merged = -(-len(groups) // most)
    chunks = [groups[i : i + merged] for i in range(0, len(groups), merged)]
    return [(chunk[0][0], chunk[0][1], chunk[-1][2]) for chunk in chunks]


def spread_labels(
    groups: Sequence[tuple[str, int, int]], apart: float
) -> list[tuple[str, int, int]]:
    """Groups that get a label: the larger first, none nearer than ``apart`` to another's middle.

    Examples
    --------
    >>> spread_labels([("a", 0, 1), ("b", 1, 2), ("c", 2, 9)], 4)
    [('a', 0, 1), ('c', 2, 9)]
    """
    placed: list[tuple[str, int, int]] = []
    for group in sorted(groups, key=lambda g: g[1] - g[2]):
        middle = (group[1] + group[2]) / 2
        if all(abs(middle - (start + stop) / 2) >= apart for _, start, stop in placed):
            placed.append(group)
    return sorted(placed, key=lambda g: g[1])


def _runs(paths: Sequence[str]) -> list[tuple[str, int, int]]:
    runs: list[tuple[str, int, int]] = []
    for position, path in enumerate(paths):
        if runs and runs[-1][0] == path:
            runs[-1] = (path, runs[-1][1], position + 1)
        else:
            runs.append((path, position, position + 1))
    return runs


def _short(name: str) -> str:
    shown = printable(name)
    return shown if len(shown) <= _LABEL_LETTERS else "…" + shown[1 - _LABEL_LETTERS :]


def _draw_waste(axes: Axes, halo: Halo) -> None:
    top, bottom, left, right = halo
    tiles = np.geomspace(*_TILE_RANGE, 200)
    recomputed = (1 + (top + bottom) / tiles) * (1 + (left + right) / tiles)
    carried = 1 + (left + right) / tiles
    axes.plot(tiles, recomputed, color=_ACROSS, lw=1.8, label="windows: each recomputes its halo")
    axes.plot(tiles, carried, color=_ABOVE, lw=1.8, label="rows carried down, this wide")
    axes.axhline(1, color=_INK, lw=1.2, ls="--", label="one sweep: nothing twice")
    for tile in _TILES:
        factor = (1 + (top + bottom) / tile) * (1 + (left + right) / tile)
        axes.plot([tile], [factor], "o", ms=5, color=_ACROSS)
        axes.annotate(
            f"{factor:.2f} x", (tile, factor), xytext=(5, 5), textcoords="offset points",
            fontsize=9, color=_INK,
        )  # fmt: skip
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    ticks = [t for t in (1, 1.1, 1.2, 1.5, 2, 3, 5, 10, 20, 50, 100, 500) if t <= recomputed[0] * 2]
    if len(ticks) > 9:
        ticks = [t for t in ticks if t not in (1.1, 1.2)]
    axes.yaxis.set_major_locator(FixedLocator(ticks))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    highest = max(1.05, float(recomputed[0])) ** 1.35
    axes.set_ylim(highest**-0.03, highest)
    axes.set_xticks([128, 512, 2048, 8192], ["128", "512", "2048", "8192"])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("tile size, input px", color=_INK)
    axes.set_ylabel("px computed per px needed", color=_INK)
    axes.set_title("Waste by tile size", loc="left", fontsize=11, color=_INK)
    axes.grid(color=_GRID)
    axes.legend(loc="upper right", frameon=False, fontsize=9)
