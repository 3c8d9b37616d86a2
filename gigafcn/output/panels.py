"""Where the panels of a picture go."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gigafcn.geometry import Box

WIDTH_PX = 1500
"""Width of the picture."""

MARGIN, GAP, HEADER, CAPTION = 36, 24, 92, 30
"""In px: beside the panels, between them, above them, and above each for its name."""

TALLEST_PANEL = 1000
"""Px."""


@dataclass(frozen=True, slots=True)
class Grid:
    """Where panels go, in px from the top left corner of the picture."""

    columns: int
    rows: int
    panel: tuple[int, int]
    """Size (y, x) of a panel."""

    legend: int
    """Height of the strip below."""

    @property
    def height(self) -> int:
        """Of the whole picture."""
        rows = self.rows * (self.panel[0] + CAPTION + GAP) - GAP
        return HEADER + rows + self.legend

    def place(self, number: int) -> tuple[int, int]:
        """Top left corner (y, x) of a panel."""
        row, column = divmod(number, self.columns)
        used = self.columns * self.panel[1] + (self.columns - 1) * GAP
        x = (WIDTH_PX - used) // 2 + column * (self.panel[1] + GAP)
        return HEADER + CAPTION + row * (self.panel[0] + CAPTION + GAP), x


def panel_grid(panels: int, view: Box, legend: int) -> Grid:
    """Fit panels of the view's shape: side by side, or stacked when it is very wide."""
    aspect = view.shape[0] / view.shape[1]
    columns = 2 if panels in (2, 4) else panels
    if aspect < 0.4:
        columns = 1
    width = (WIDTH_PX - 2 * MARGIN - (columns - 1) * GAP) // columns
    height = min(TALLEST_PANEL, round(width * aspect))
    width = min(width, round(height / aspect))
    panel = (max(1, height), max(1, width))
    return Grid(columns, math.ceil(panels / columns), panel, legend)
