"""How does gigafcn look on a slide, when there is none at hand?

:func:`run_demo` draws a slide whose exact mask is known, maps it with the bundled model and scores
the labels against the mask, piece by piece, so that neither is ever whole in memory.  Everything
goes into one folder, which a second run replaces.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gigafcn.evaluate import evaluate_map
from gigafcn.run import Result, infer
from gigafcn.train.demonstration_slide import write_demonstration_slide

if TYPE_CHECKING:
    from gigafcn.metrics import Metrics
    from gigafcn.progress import ProgressCallback

FOLDER = Path("gigafcn-demo")
MODEL = "demonstration"


@dataclass(frozen=True, slots=True)
class DemoReport:
    """What a demonstration left behind, and how well the model did."""

    slide: Path
    """The slide drawn."""

    truth: Path
    """The mask it was drawn from."""

    result: Result
    """The run, with the place of the map."""

    classes: tuple[str, ...]
    """Names of the classes."""

    score: Metrics
    """Agreement of the labels with the mask."""

    @property
    def picture(self) -> Path:
        """Map laid over the slide."""
        return Path(self.result.path).with_suffix(".png")

    def rows(self) -> list[tuple[str, str]]:
        """Figures to print, as label and value."""
        figures = [
            ("pixel accuracy", self.score.pixel_accuracy),
            ("mean accuracy", self.score.mean_accuracy),
            ("mean IU", self.score.mean_iu),
            ("frequency-weighted IU", self.score.frequency_weighted_iu),
            *((f"IU of {name}", iu) for name, iu in zip(self.classes, self.score.iu, strict=True)),
        ]
        return [(label, f"{value:.3f}") for label, value in figures]


def run_demo(
    *,
    size_px: int = 8192,
    seed: int = 0,
    folder: Path = FOLDER,
    progress: ProgressCallback | None = None,
) -> DemoReport:
    """Draw a slide, map it, score the map.

    Parameters
    ----------
    size_px
        Height and width of the slide.
    seed
        Which slide to draw.
    folder
        Where everything goes; made if missing.
    progress
        Called while drawing and mapping.
    """
    folder.mkdir(parents=True, exist_ok=True)
    slide = folder / "slide.tiff"
    truth = write_demonstration_slide(slide, size_px, seed=seed, progress=progress)
    result = infer(slide, MODEL, folder / "slide.zarr", overwrite=True, progress=progress)
    found = evaluate_map(result.path, truth)
    return DemoReport(slide, truth, result, found.classes, found.metrics)
