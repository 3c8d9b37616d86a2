"""Where do the px of the model's input lie in the coordinates in which viewers place images?

Within the program a position is that of a px's corner, counted in px.  OME-Zarr states the centre
of an image's first px, and so does a slide in OME-Zarr; the corner of its first px therefore lies
half a px of level 0 before the stated position, whatever px are mapped.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from gigafcn.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

Pair = tuple[float, float]
MICROMETER = "micrometer"
"""OME-Zarr's name of the unit."""


@dataclass(frozen=True, slots=True)
class Place:
    """A slide's level 0 in its coordinates, and the px of the model's input; pairs are (y, x).

    Examples
    --------
    >>> coarse = Place((0.25, 0.25), (0.0, 0.0), ("micrometer",) * 2, (Fraction(4),) * 2)
    >>> coarse.centre(0, Fraction(0), Fraction(1)), coarse.corner(0, Fraction(0))
    (Fraction(3, 8), Fraction(0, 1))
    """

    px: Pair
    """Size of a level-0 px."""

    first: Pair
    """Centre of the first level-0 px."""

    units: tuple[str | None, str | None]
    """Of the coordinates; None where not stated."""

    pixel: tuple[Fraction, Fraction]
    """Level-0 px per input px."""

    def size(self, axis: int) -> Fraction:
        """Size of an input px."""
        return Fraction(str(self.px[axis])) * self.pixel[axis]  # 0.499 is meant, not its double

    def corner(self, axis: int, start: Fraction) -> Fraction:
        """Position of an input px's corner, where ``first`` is the corner of the slide."""
        return Fraction(str(self.first[axis])) + start * self.size(axis)

    def centre(self, axis: int, start: Fraction, cell: Fraction) -> Fraction:
        """Centre of the ``cell`` input px from ``start`` on, where ``first`` is that of a px."""
        half = Fraction(str(self.px[axis])) / 2
        return self.corner(axis, start + cell / 2) - half

    def to_json(self) -> dict[str, Any]:
        """Plain values; fractions as strings."""
        return {
            "px": list(self.px),
            "first": list(self.first),
            "units": list(self.units),
            "pixel": [str(p) for p in self.pixel],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Place:
        """Inverse of :meth:`to_json`."""
        (py, px), (fy, fx), (uy, ux) = data["px"], data["first"], data["units"]
        y, x = (Fraction(p) for p in data["pixel"])
        return cls((py, px), (fy, fx), (uy, ux), (y, x))


def check_grid(mpp: Pair | None, stride: tuple[Fraction, Fraction], offset: Pair) -> None:
    """Refuse sizes and positions that no map has.

    Raises
    ------
    UsageError
        Naming the value.
    """
    if mpp is not None and not (len(mpp) == 2 and all(math.isfinite(m) and m > 0 for m in mpp)):
        raise UsageError(f"mpp (y, x) must be positive, got {mpp} um/px")
    if len(stride) != 2 or not all(isinstance(s, Fraction) and s > 0 for s in stride):
        raise UsageError(f"stride (y, x) must be two positive fractions, got {stride}")
    if len(offset) != 2 or not all(math.isfinite(o) for o in offset):
        raise UsageError(f"offset (y, x) must be two finite numbers of px, got {offset}")
