"""How much of each window of patch is tissue?

A window is computed if enough of its own area is, also where it overlaps others: what it sees
decides, not the cell that it gives its px to.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gigafcn.plan.run_plan import RunPlan


@dataclass(frozen=True, slots=True)
class WindowCells:
    """Where the windows of a run lie, in level-0 px of the slide."""

    rows: NDArray[np.float64]
    """Start and stop (n, 2) of each row of windows."""

    columns: NDArray[np.float64]
    least: float
    """Part of a window, 0 to 1, that must be tissue."""

    @classmethod
    def of(cls, plan: RunPlan, least: float) -> WindowCells:
        """Windows of the mapped part of a plan of patch."""
        assert plan.windows is not None
        axes = []
        for axis in (0, 1):
            origin, pixel = plan.geometry.origin[axis], float(plan.pixel[axis])
            spans = [plan.windows.window(axis, index) for index in range(*plan.box.spans[axis])]
            axes.append((np.array(spans, np.float64).reshape(-1, 2) - origin) * pixel)
        return cls(axes[0], axes[1], least)

    def under(self, mask: NDArray[np.bool_], px: tuple[float, float]) -> NDArray[np.bool_]:
        """Windows (y, x) to compute by a mask of the whole slide; ``px`` is level-0 px per its px.

        What a window has outside the slide is no tissue.
        """
        height, width = mask.shape
        above = np.zeros((height + 1, width + 1))
        above[1:, 1:] = mask.cumsum(axis=0, dtype=np.int64).cumsum(axis=1)
        starts, stops = (np.clip(self.columns[:, end] / px[1], 0, width) for end in (0, 1))
        places = np.arange(width + 1)
        found = np.zeros((len(self.rows), len(self.columns)), bool)
        for number, row in enumerate(self.rows):
            top, bottom = (_line(above, place) for place in np.clip(row / px[0], 0, height))
            line = bottom - top
            area = np.interp(stops, places, line) - np.interp(starts, places, line)
            found[number] = self._enough(area * px[0] * px[1], row)
        return found

    def touching(self, areas: NDArray[Any]) -> NDArray[np.bool_]:
        """Windows (y, x) to compute by polygons that share no area with each other."""
        tree = shapely.STRtree(areas)
        found = np.zeros((len(self.rows), len(self.columns)), bool)
        for number, row in enumerate(self.rows):
            boxes = shapely.box(self.columns[:, 0], row[0], self.columns[:, 1], row[1])
            window, area = tree.query(boxes, predicate="intersects")
            shared = shapely.area(shapely.intersection(boxes[window], areas[area]))
            found[number] = self._enough(
                np.bincount(window, shared, len(boxes)).astype(np.float64), row
            )
        return found

    def _enough(self, tissue: NDArray[np.float64], row: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Whether so much tissue, in level-0 px, is enough of the windows of a row."""
        whole = (row[1] - row[0]) * (self.columns[:, 1] - self.columns[:, 0])
        share = tissue / whole + 1e-9  # sums of areas are rounded
        enough: NDArray[np.bool_] = (share >= self.least) & (tissue > 1e-9 * whole)
        return enough


def _line(above: NDArray[np.float64], place: float) -> NDArray[np.float64]:
    """Px of tissue above a place between two rows of a mask, up to each of its columns."""
    first = min(int(place), len(above) - 2)
    part = place - first
    line: NDArray[np.float64] = above[first] * (1 - part) + above[first + 1] * part
    return line


def any_per_chunk(windows: NDArray[np.bool_], chunk: int) -> NDArray[np.bool_]:
    """Chunks (y, x) of the map that hold a window."""
    rows = np.logical_or.reduceat(windows, np.arange(0, windows.shape[0], chunk), axis=0)
    found: NDArray[np.bool_] = np.logical_or.reduceat(
        rows, np.arange(0, windows.shape[1], chunk), axis=1
    )
    return found
