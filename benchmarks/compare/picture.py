"""Difference maps side by side, so that seams are seen: docs/images/compare.jpg."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from benchmarks.compare.differences import PICTURE_PX
from benchmarks.compare.rows import EXACT, MONAI, segmentation_rows

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage

PICTURE = Path(__file__).resolve().parents[2] / "docs" / "images" / "compare.jpg"
MOST_BYTES = 300 << 10
SHOWN = (EXACT, MONAI, "MONAI gaussian", "torch-em", "TIAToolbox", "dask")
SCALE = LogNorm(1e-5, 1.0, clip=True)
PANEL_INCHES, DPI = 2.4, 110


def write_picture(work: Path, results: dict[str, Any]) -> bool:
    """Draw the kept difference maps; False, and the picture as it was, if there are none."""
    networks = [name for name in results["networks"] if _map(work, name, EXACT) is not None]
    if not networks:
        print(f"no difference maps in {work}: the picture stays as it is")
        return False
    figure = Figure(
        figsize=(PANEL_INCHES * len(SHOWN), (PANEL_INCHES + 0.3) * len(networks) + 0.7),
        layout="constrained",
    )
    panels: Any = figure.subplots(len(networks), len(SHOWN), squeeze=False)
    titles = {row.name: row.title.strip("*") for row in segmentation_rows(0)}
    drawn: AxesImage | None = None
    for axes, network in zip(panels, networks, strict=True):
        for panel, name in zip(axes, SHOWN, strict=True):
            drawn = _panel(panel, _map(work, network, name)) or drawn
            panel.set_title(titles[name], fontsize=8)
        axes[0].set_ylabel(f"{network} weights", fontsize=8)
    assert drawn is not None
    bar = figure.colorbar(drawn, ax=panels, orientation="horizontal", fraction=0.05, aspect=60)
    bar.set_label(
        f"largest difference in probability from the whole run, {PICTURE_PX} px in the middle",
        fontsize=8,
    )
    PICTURE.parent.mkdir(parents=True, exist_ok=True)
    for quality in (88, 75, 60, 40):
        figure.savefig(PICTURE, dpi=DPI, pil_kwargs={"quality": quality, "optimize": True})
        if PICTURE.stat().st_size <= MOST_BYTES:
            break
    return True


def _map(work: Path, network: str, row: str) -> Any:
    path = work / "differences" / f"{network}-{row.replace(' ', '-')}.npy"
    return np.load(path) if path.exists() else None


def _panel(panel: Axes, values: Any) -> AxesImage | None:
    panel.set_xticks([])
    panel.set_yticks([])
    if values is None:
        panel.text(0.5, 0.5, "not run", ha="center", va="center")
        return None
    return panel.imshow(values, cmap=mpl.colormaps["inferno"], norm=SCALE, interpolation="nearest")
