"""How far is a map from the whole run, and how good is it against the truth?  Band by band."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr

from gigafcn.geometry import Box
from gigafcn.metrics import confusion_matrix, metrics

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

CLASSES = 3
BAND_PX = 512
PICTURE_PX, PICTURE_STEP = 1536, 3
"""Side of the middle that is shown, and of the squares of which the largest value is shown."""


@dataclass(frozen=True, slots=True)
class Map:
    """A stored map of probabilities, whichever way its axes lie."""

    array: Any
    axes: str
    box: Box
    """The part of the image that it covers."""

    size: int
    """Side of the image in px."""

    @staticmethod
    def opened(path: Path, axes: str, box: Sequence[int] | None, size: int) -> Map:
        """Open a Zarr array; a map that is larger than its image counts as far as that reaches."""
        part = Box(0, 0, size, size) if box is None else Box(*box)
        return Map(zarr.open_array(path, mode="r"), axes, part, size)

    @property
    def covers_all(self) -> bool:
        """Whether it covers the whole image."""
        return self.box == Box(0, 0, self.size, self.size)

    def read(self, box: Box) -> NDArray[np.float32]:
        """Probabilities (c, y, x) of a box of the image."""
        rows, columns = box.relative_to(self.box)
        if self.axes == "cyx":
            found: NDArray[np.float32] = self.array[:, rows, columns]
            return found
        return np.moveaxis(self.array[rows, columns], -1, 0)


def compared(found: Map, whole: Any, truth: NDArray[np.uint8]) -> dict[str, float]:
    """Largest and mean difference in probability, share of labels that differ, mean IU.

    Parameters
    ----------
    whole
        Array (c, y, x) of the whole run.
    truth
        Class (y, x).
    """
    largest, total, labels = 0.0, 0.0, 0
    matrix = np.zeros((CLASSES, CLASSES), np.int64)
    whole_matrix = matrix.copy()
    box = found.box
    for y in range(box.y0, box.y1, BAND_PX):
        band = Box(y, box.x0, min(y + BAND_PX, box.y1), box.x1)
        here = found.read(band)
        right = whole[:, band.y0 : band.y1, band.x0 : band.x1]
        gap = np.abs(here - right)
        if not np.isfinite(gap).all():
            raise ValueError(f"NaN or infinity in rows {band.y0} to {band.y1}")
        largest, total = max(largest, float(gap.max())), total + float(gap.sum(dtype=np.float64))
        mine, theirs = here.argmax(0), right.argmax(0)
        labels += int((mine != theirs).sum())
        true = truth[band.y0 : band.y1, band.x0 : band.x1]
        matrix += confusion_matrix(true, mine, CLASSES)
        whole_matrix += confusion_matrix(true, theirs, CLASSES)
    return {
        "pixels": box.area,
        "largest": largest,
        "mean": total / (box.area * CLASSES),
        "labels": labels / box.area,
        "mean_iu": metrics(matrix).mean_iu,
        "whole_mean_iu": metrics(whole_matrix).mean_iu,
    }


def difference_map(found: Map, whole: Any) -> NDArray[np.float32]:
    """Largest difference of each square of the image's middle."""
    side = min(PICTURE_PX, found.size) // PICTURE_STEP * PICTURE_STEP
    start = (found.size - side) // 2
    box = Box(start, start, start + side, start + side)
    right = whole[:, box.y0 : box.y1, box.x0 : box.x1]
    gap = np.abs(found.read(box) - right).max(0)
    squares = side // PICTURE_STEP
    pooled: NDArray[np.float32] = gap.reshape(squares, PICTURE_STEP, squares, PICTURE_STEP).max(
        axis=(1, 3)
    )
    return pooled
