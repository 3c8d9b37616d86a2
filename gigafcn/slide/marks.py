"""What of a box of pixels is not what was scanned, and why?

Slides have holes: scanners leave out empty glass, rasters say "no data", files are damaged.  A
:class:`Reading` says so px by px, beside values that are fit to be computed with: the background
colour in gaps and where nothing could be read, 0 where there is no data.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from gigafcn.geometry import Box


class Mark(IntEnum):
    """Why a px does not hold what was scanned."""

    HELD = 0
    """It does."""

    GAP = 1
    """The scanner left it out, or the file does not hold its tile: background colour."""

    NO_DATA = 2
    """The file says that there is no value: NaN, or GDAL's "no data"."""

    FAILED = 3
    """It could not be read: the file is damaged."""


@dataclass(frozen=True, slots=True)
class Reading:
    """Pixels of a box, and which of them are substitutes."""

    pixels: np.ndarray[Any, np.dtype[Any]]
    """(y, x, c)."""

    marks: NDArray[np.uint8] | None = None
    """(y, x) :class:`Mark` of each px; None when all are held."""

    failed: tuple[Box, ...] = ()
    """What could not be read, in px of the level; may reach beyond the box that was asked for."""
