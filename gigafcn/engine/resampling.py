"""Read boxes of an image that is resampled from a pyramid level, the same px whatever the box.

Weights depend on a px's place in the whole image alone (:mod:`gigafcn.plan.image_grid`), and each
px is summed in one order: tap by tap down, then tap by tap to the right, in float32.  So tiles,
strips and regions do not change a bit of it.  Only the stored px under a box are read, a band of
rows at a time; rows that the next band needs too are kept, so that a sweep from top to bottom
reads none twice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gigafcn.geometry import Box, Span
from gigafcn.plan.image_grid import Taps, taps
from gigafcn.slide.marks import Reading

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from gigafcn.plan.image_grid import Pair

BAND_BYTES = 16 << 20
"""Stored px read at once, as float32, unless a single row of the image needs more."""


class Resampler:
    """Reads boxes of the resampled image; one for each sweep, for one thread at a time.

    Parameters
    ----------
    look
        Reads boxes of what is stored.
    stored, shape
        Px (y, x) of that and of the resampled image.
    channels
        Values per px.
    """

    def __init__(
        self, look: Callable[[Box], Reading], stored: Pair, shape: Pair, channels: int
    ) -> None:
        self._look, self._stored, self._shape, self._channels = look, stored, shape, channels
        self._held = Box(0, 0, 0, 0)
        self._rows: NDArray[np.float32] = np.empty((0, 0), np.float32)
        """Stored rows under ``_held``, each px's channels side by side."""

        self._marks: NDArray[np.uint8] | None = None
        """Marks of the stored px under ``_held``; None when all hold what was scanned."""

    def look(self, box: Box) -> Reading:
        """Float32 pixels (y, x, c), in stored units, of a box of the resampled image.

        A px with a substitute under its filter is marked as one.
        """
        down = taps(box.y, self._stored[0], self._shape[0])
        across = taps(box.x, self._stored[1], self._shape[1])
        columns = across.need
        places = _interleaved(across, columns.start, self._channels)
        out = np.empty((box.y.size, box.x.size * self._channels), np.float32)
        marks = np.zeros(box.shape, np.uint8)
        failed: set[Box] = set()
        first = 0
        while first < box.y.size:
            stop = self._band_stop(down, first, columns.size)
            failed.update(self._hold(Box.of(_rows_of(down, first, stop), columns)))
            for row in range(first, stop):
                out[row] = _right(self._down(down, row), *places)
                if self._marks is not None:
                    marks[row] = self._marked(down, row, across)
            first = stop
        pixels = out.reshape(*box.shape, self._channels)
        return Reading(pixels, marks if marks.any() else None, tuple(sorted(failed)))

    def _band_stop(self, down: Taps, first: int, width: int) -> int:
        """End of the rows that are made from one band of stored rows."""
        most = max(1, BAND_BYTES // (4 * width * self._channels))
        ends = down.first[first:] + down.count[first:] - down.first[first]
        return first + max(1, int(np.searchsorted(ends, most, side="right")))

    def _hold(self, box: Box) -> tuple[Box, ...]:
        """Have the stored rows of a box in memory, reading only what is not there yet.

        Returns what of that could not be read.
        """
        held, kept = self._held, 0
        if held.x == box.x and held.y0 <= box.y0 <= held.y1:
            kept = min(held.y1, box.y1) - box.y0
        rows = np.empty((box.y.size, box.x.size * self._channels), np.float32)
        marks = np.zeros(box.shape, np.uint8)
        failed: tuple[Box, ...] = ()
        if kept:
            above = slice(box.y0 - held.y0, box.y0 - held.y0 + kept)
            rows[:kept] = self._rows[above]
            marks[:kept] = 0 if self._marks is None else self._marks[above]
        if kept < box.y.size:
            fresh = self._look(box._replace(y0=box.y0 + kept))
            rows[kept:] = fresh.pixels.reshape(box.y.size - kept, -1)
            marks[kept:] = 0 if fresh.marks is None else fresh.marks
            failed = fresh.failed
        self._held, self._rows, self._marks = box, rows, marks if marks.any() else None
        return failed

    def _marked(self, down: Taps, row: int, across: Taps) -> NDArray[np.uint8]:
        """Marks of one row of the image: the gravest of those under each px's filter."""
        assert self._marks is not None
        start = int(down.first[row]) - self._held.y0
        line = self._marks[start : start + int(down.count[row])].max(axis=0)
        tap = np.arange(across.weights.shape[1])[:, None]
        column = across.first - self._held.x0 + np.minimum(tap, across.count - 1)
        gravest: NDArray[np.uint8] = line[column].max(axis=0)
        return gravest

    def _down(self, down: Taps, row: int) -> NDArray[np.float32]:
        """One row of the image, its columns still as stored."""
        start = int(down.first[row]) - self._held.y0
        weights = down.weights[row]
        line = self._rows[start] * weights[0]
        # Tap by tap and never by a sum over an axis, whose order depends on the box's shape.
        for tap in range(1, int(down.count[row])):
            line += self._rows[start + tap] * weights[tap]
        summed: NDArray[np.float32] = line
        return summed


def _rows_of(down: Taps, first: int, stop: int) -> Span:
    """Stored rows of a run of the image's."""
    return Span(int(down.first[first]), int(down.first[stop - 1] + down.count[stop - 1]))


def _interleaved(
    across: Taps, origin: int, channels: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Place and weight of each value of a row, tap by tap: (taps, positions * channels)."""
    tap = np.arange(across.weights.shape[1])[:, None]
    # Beyond its last tap a position reads that tap again, with the weight 0.
    column = across.first - origin + np.minimum(tap, across.count - 1)
    places = column[:, :, None] * channels + np.arange(channels)
    weights = np.repeat(across.weights.T[:, :, None], channels, axis=2)
    return places.reshape(len(tap), -1), weights.reshape(len(tap), -1)


def _right(
    line: NDArray[np.float32], places: NDArray[np.int64], weights: NDArray[np.float32]
) -> NDArray[np.float32]:
    """The columns of one row resampled."""
    result = line[places[0]] * weights[0]
    for tap in range(1, len(places)):
        result += line[places[tap]] * weights[tap]
    resampled: NDArray[np.float32] = result
    return resampled
