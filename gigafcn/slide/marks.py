"""What of a box of pixels is not what was scanned, and why?

Slides have holes: scanners leave out empty glass, rasters say "no data", files are damaged.  A
:class:`Reading` says so px by px, beside values that are fit to be computed with: the background
colour in gaps and where nothing could be read, 0 where there is no data.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Any

import numpy as np

from gigafcn.slide.protocol import cause

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gigafcn.geometry import Box


_NETWORK = {"aiohttp", "botocore", "fsspec", "gcsfs", "obstore", "requests", "s3fs", "urllib3"}
"""Packages whose errors speak of a connection, whatever their class."""


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


class Holes:
    """What of one box a plane could not give; of several planes, of any of them."""

    def __init__(self, box: Box) -> None:
        self.box = box
        self.marks: NDArray[np.uint8] | None = None
        """(y, x) :class:`Mark` of each px of the box; None without holes."""

        self.failed: set[Box] = set()
        """Whole segments, in px of the level."""

        self.reason = ""
        """Why the first of them could not be read."""

    def add(self, whole: Box, mark: Mark) -> None:
        """Mark the part of the box that lies in a segment."""
        part = whole.intersect(self.box)
        if part.is_empty:
            return
        if self.marks is None:
            self.marks = np.zeros(self.box.shape, np.uint8)
        cells = self.marks[part.relative_to(self.box)]
        np.maximum(cells, np.uint8(mark), out=cells)

    def fail(self, whole: Box, error: Exception) -> None:
        """Mark a segment as unreadable."""
        self.add(whole, Mark.FAILED)
        self.failed.add(whole)
        self.reason = self.reason or cause(error)


def is_of_the_system(error: Exception) -> bool:
    """Whether disk or network failed rather than what is stored there.

    Examples
    --------
    >>> is_of_the_system(TimeoutError()), is_of_the_system(ValueError("corrupt tile"))
    (True, False)
    """
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, TimeoutError | ConnectionError):
            return True
        if isinstance(cause, OSError) and cause.errno is not None:
            return True
        if type(cause).__module__.partition(".")[0] in _NETWORK:
            return True
        cause = cause.__cause__
    return False


def with_no_data(reading: Reading, no_data: float | None) -> Reading:
    """The reading with 0 for values that are not numbers or mean "no data", marked as such.

    A px has no data if all its channels hold ``no_data``, or any is not finite.

    Examples
    --------
    >>> found = with_no_data(Reading(np.array([[[1.0], [np.nan], [-9.0]]])), -9.0)
    >>> found.pixels[0, :, 0].tolist(), found.marks.tolist()
    ([1.0, 0.0, 0.0], [[0, 2, 2]])
    """
    pixels = reading.pixels
    empty = np.zeros(pixels.shape[:2], bool)
    if no_data is not None and no_data == no_data:
        empty |= (pixels == no_data).all(axis=2)
    if pixels.dtype.kind == "f":
        empty |= ~np.isfinite(pixels).all(axis=2)
    if not empty.any():
        return reading
    pixels = np.where(empty[..., np.newaxis], np.zeros((), pixels.dtype), pixels)
    marks = np.zeros(empty.shape, np.uint8) if reading.marks is None else reading.marks
    marks = np.where(empty & (marks != Mark.FAILED), np.uint8(Mark.NO_DATA), marks)
    return Reading(pixels, marks, reading.failed)
