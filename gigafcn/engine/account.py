"""Which chunks of a tile rest on pixels of the slide, and which on substitutes?

Every px of the image is charged to the chunk of the map in whose cell it lies.  A chunk with a px
that could not be read has failed; one of whose px the file says "no data" throughout is background;
all others are computed, though the model may have seen substitutes within its halo.
"""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from gigafcn.output.spec import status_slices
from gigafcn.output.store import ChunkStatus
from gigafcn.slide.marks import Mark

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gigafcn.geometry import Box, Span
    from gigafcn.plan.run_plan import RunPlan
    from gigafcn.slide.marks import Reading


class Account:
    """Counts the marks of one tile's strips; strips of a tile do not overlap.

    Parameters
    ----------
    plan
        Of the run.
    tile
        In coordinates of the store; whole chunks.
    """

    def __init__(self, plan: RunPlan, tile: Box) -> None:
        self._plan = plan
        self.tile = tile
        rows, columns = status_slices(plan.spec, tile)
        self._corner = (rows.start, columns.start)
        self._shape = (rows.stop - rows.start, columns.stop - columns.start)
        self._read = np.zeros(self._shape, np.int64)
        self._marked = np.zeros((len(Mark), *self._shape), np.int64)
        self.failed: set[Box] = set()
        """What could not be read, in px of the level."""

    def add(self, strip: Box, reading: Reading) -> None:
        """Charge a strip, a box of the padded image, to the chunks it lies in."""
        self.failed.update(reading.failed)
        rows, columns = (self._chunks(span, axis) for axis, span in enumerate(strip.spans))
        self._read += np.multiply.outer(
            np.bincount(rows[rows >= 0], minlength=self._shape[0]),
            np.bincount(columns[columns >= 0], minlength=self._shape[1]),
        )
        if reading.marks is None:
            return
        (y, tops), (x, lefts) = _runs(rows), _runs(columns)
        if not (len(tops) and len(lefts)):
            return
        own = reading.marks[y, x]
        for mark in (Mark.GAP, Mark.NO_DATA, Mark.FAILED):
            bands = np.split(own == mark, tops[1:])
            counts = np.stack([np.count_nonzero(band, axis=0) for band in bands])
            counts = np.add.reduceat(counts, lefts, axis=1)
            self._marked[mark][np.ix_(rows[y][tops], columns[x][lefts])] += counts

    def _chunks(self, span: Span, axis: int) -> NDArray[np.int64]:
        """Chunk of the tile in whose cell each position of the padded image lies; -1 if in none."""
        geometry, spec = self._plan.geometry, self._plan.spec
        position = np.arange(span.start, span.stop) - geometry.origin[axis]
        offset, stride = Fraction(geometry.offset[axis]), geometry.stride[axis]
        over = (position * offset.denominator - offset.numerator) * stride.denominator
        place = over // (offset.denominator * stride.numerator) - self._plan.box[axis]
        place //= self._plan.averaged[axis]
        own = self.tile.spans[axis]
        inside = (position >= 0) & (position < geometry.image[axis])
        inside &= (place >= own.start) & (place < own.stop)
        chunks: NDArray[np.int64] = np.where(inside, place // spec.chunk - self._corner[axis], -1)
        return chunks

    def status(self, box: Box) -> NDArray[np.uint8]:
        """Status cells (y, x) of a part of the tile all of whose strips have been added."""
        rows, columns = status_slices(self._plan.spec, box)
        where = (
            slice(rows.start - self._corner[0], rows.stop - self._corner[0]),
            slice(columns.start - self._corner[1], columns.stop - self._corner[1]),
        )
        cells = np.full(self._read[where].shape, ChunkStatus.COMPUTED, np.uint8)
        empty, read = self._marked[Mark.NO_DATA][where], self._read[where]
        cells[(empty > 0) & (empty == read)] = ChunkStatus.BACKGROUND
        cells[self._marked[Mark.FAILED][where] > 0] = ChunkStatus.FAILED
        return cells

    def counts(self) -> dict[str, int]:
        """Px of the tile's own part of the image by mark, of marks that occurred."""
        totals = {mark.name.lower(): int(self._marked[mark].sum()) for mark in Mark}
        return {name: count for name, count in totals.items() if count}


def _runs(chunks: NDArray[np.int64]) -> tuple[slice, NDArray[np.int64]]:
    """Where chunks of the tile begin and end along an axis, and where each begins within that."""
    inside = np.flatnonzero(chunks >= 0)
    if not len(inside):
        return slice(0, 0), inside
    own = slice(int(inside[0]), int(inside[-1]) + 1)
    return own, np.flatnonzero(np.diff(chunks[own], prepend=-1))
