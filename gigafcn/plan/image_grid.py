"""Which pixels does the model see: those of a pyramid level, or resampled ones?

A model wants pixels of some size (mpp); a slide has levels of some sizes.  The image that is
mapped is then either a level as it is, or the nearest finer level resampled to
``round(n * mpp of the level / mpp wanted)`` px, on one grid for the whole slide: pixel i lies at
``(i + 1/2) * n / n'`` of the level, whatever is computed.  The filter is a triangle as wide as two
new pixels (two stored ones when enlarging), cut at the edge, weights divided by their sum: what
torch's ``interpolate(mode="bilinear", antialias=True)`` does, but for coordinates, which are exact
here and float32 there.

Sizes and weights only; pixels are the engine's.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Any

import numpy as np

from gigafcn.geometry import EMPTY, Span

if TYPE_CHECKING:
    from fractions import Fraction

    from numpy.typing import NDArray

Pair = tuple[int, int]


@dataclass(frozen=True, slots=True)
class ImageGrid:
    """How the image that the model sees lies on the slide; pairs are (y, x)."""

    level: int
    """Pyramid level that is read."""

    stored: Pair
    """Px of that level."""

    shape: Pair
    """Px of the image; another size than ``stored`` if it is resampled."""

    pixel: tuple[Fraction, Fraction]
    """Level-0 px per px of the image."""

    mpp: tuple[float, float] | None
    """Micrometres per px of the image; None when unknown."""

    reason: str
    """Why these, in words."""

    @property
    def resampled(self) -> bool:
        """Whether pixels are computed from stored ones."""
        return self.stored != self.shape

    def pixel_bytes(self, item: int, channels: int) -> int:
        """Bytes of a px of the image while it waits to be computed; ``item`` per stored value."""
        return (4 if self.resampled else item) * channels

    def decoded_bytes(self, rows: int, item: int, channels: int) -> int:
        """Bytes per column of the image of so many ``rows`` of stored px."""
        return ceil(rows * item * channels * self.stored[1] / self.shape[1])

    @property
    def described(self) -> str:
        """In a line."""
        size = "" if self.mpp is None else f" of {micrometres(self.mpp)}"
        if not self.resampled:
            return f"level {self.level}{size} as it is: {self.reason}"
        sizes = f"{self.stored[0]} x {self.stored[1]} to {self.shape[0]} x {self.shape[1]} px"
        return f"level {self.level} resampled from {sizes}{size}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Taps:
    """Which stored positions a run of resampled ones is made of."""

    first: NDArray[np.int64]
    """First stored position of each."""

    count: NDArray[np.int64]
    """How many."""

    weights: NDArray[np.float32]
    """(positions, most taps); 0 beyond ``count``."""

    @property
    def need(self) -> Span:
        """Stored positions that any of them reads."""
        if not len(self.first):
            return EMPTY
        return Span(int(self.first[0]), int((self.first + self.count).max()))


def taps(out: Span, stored: int, shape: int) -> Taps:
    """Taps of resampled positions along one axis, ``stored`` px made into ``shape`` px.

    Whole numbers decide which positions are read, so nothing depends on where a box begins.

    Examples
    --------
    >>> found = taps(Span(1, 2), 8, 4)
    >>> found.first.tolist(), found.weights.tolist()
    ([1], [[0.125, 0.375, 0.375, 0.125]])
    """
    index = np.arange(out.start, out.stop, dtype=np.int64)
    if stored == shape:
        return Taps(index, np.ones_like(index), np.ones((len(index), 1), np.float32))
    # Everything in units of 1 / (2 * shape) stored px, in which centre and reach are whole.
    centre, reach = (2 * index + 1) * stored, 2 * max(stored, shape)
    # Stored px j has its centre at (2 j + 1) * shape; those within the reach have a weight.
    first = np.maximum((centre - reach + shape) // (2 * shape), 0)
    stop = np.minimum(-((shape - centre - reach) // (2 * shape)), stored)
    count = stop - first
    position = first[:, None] + np.arange(int(count.max(initial=0)))[None, :]
    distance = np.abs((2 * position + 1) * shape - centre[:, None])
    weight = np.where(position < stop[:, None], np.maximum(reach - distance, 0), 0)
    total = weight.sum(axis=1, keepdims=True)
    return Taps(first, count, (weight / total).astype(np.float32))


def as_described(grid: ImageGrid) -> dict[str, Any]:
    """The grid as a map records it."""
    return {
        "level": grid.level,
        "resampled": grid.resampled,
        "stored": list(grid.stored),
        "shape": list(grid.shape),
        "mpp": grid.mpp,
        "reason": grid.reason,
    }


def micrometres(mpp: tuple[float, float]) -> str:
    """A pixel size (y, x) as text, both numbers only if they differ.

    Examples
    --------
    >>> micrometres((0.25, 0.25)), micrometres((0.25, 0.26))
    ('0.25 µm/px', '0.25 x 0.26 µm/px (y, x)')
    """
    y, x = mpp
    return f"{y:.4g} µm/px" if y == x else f"{y:.4g} x {x:.4g} µm/px (y, x)"
