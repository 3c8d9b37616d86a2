"""What of a map is stored, and on which grid?

The model gives scores of all classes on the map's own grid.  Stored may be the scores of some
classes, the likeliest class, or both, each averaged over blocks of map px.  Blocks are counted from
the first px of the whole map, so parts of it are cut on their edges, and at the map's far edges a
block holds the px that are there.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING

import numpy as np

from gigafcn.geometry import Box

if TYPE_CHECKING:
    from fractions import Fraction

Pair = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Saving:
    """What of a map is stored."""

    scores: tuple[int, ...]
    """Class numbers whose scores are stored, ascending."""

    labels: bool
    """Whether the likeliest class is stored."""

    dtype: str
    """Of the stored scores."""

    averaged: Pair = (1, 1)
    """Map px (y, x) per stored px."""

    rest: bool = False
    """Whether labels know one class more: what the model's own leave of 1."""

    @property
    def bytes_per_px(self) -> int:
        """Of a stored px, a label counted as one byte."""
        return len(self.scores) * np.dtype(self.dtype).itemsize + int(self.labels)

    def shape(self, box: Box) -> Pair:
        """Stored px (y, x) of a part of the map."""
        return stored_shape(box.shape, self.averaged)

    def aligned(self, box: Box, shape: Pair) -> Box:
        """A box of a map of ``shape``, grown to whole blocks.

        Examples
        --------
        >>> Saving((0,), False, "uint8", (4, 4)).aligned(Box(3, 8, 10, 11), (10, 100))
        Box(y0=0, x0=8, y1=10, x1=12)
        """
        y, x = self.averaged
        start = box.y0 // y * y, box.x0 // x * x
        return Box(*start, ceil(box.y1 / y) * y, ceil(box.x1 / x) * x).clip(shape)


def stored_shape(shape: Pair, averaged: Pair) -> Pair:
    """Stored px (y, x) of ``shape`` map px that begin with a whole block."""
    return -(-shape[0] // averaged[0]), -(-shape[1] // averaged[1])


def blocks_of(mpp: Pair | tuple[float, float], wanted: float) -> Pair:
    """Map px (y, x) per stored px whose size is nearest to the one that is wanted.

    Parameters
    ----------
    mpp
        Micrometres (y, x) per map px.
    wanted
        Micrometres per stored px.

    Examples
    --------
    >>> blocks_of((0.5, 0.5), 4.0), blocks_of((0.25, 0.5), 1.2), blocks_of((4.0, 4.0), 1.0)
    ((8, 8), (5, 2), (1, 1))
    """
    y, x = (max(1, round(wanted / size)) for size in mpp)
    return y, x


def map_mpp(mpp: tuple[float, float], stride: tuple[Fraction, Fraction]) -> tuple[float, float]:
    """Micrometres (y, x) per map px, from those per input px."""
    return mpp[0] * float(stride[0]), mpp[1] * float(stride[1])
