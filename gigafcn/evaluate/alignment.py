"""Which pixel of the truth belongs to which pixel of the map?

Map and truth are compared on the finer of their two grids; the pixels of the coarser one are
repeated, so nothing is thrown away.  The truth either covers the slide, at level 0 or a whole
number of times smaller, and then the map's stride and offset say where it lies; or it covers what
the map covers, in the map's size or a whole number of times larger or smaller.  Sizes may be
rounded up or down.  Anything else is refused: a guess would move every boundary.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

from gigafcn.errors import UsageError
from gigafcn.geometry import Box, Span

Pair = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a map lies on its slide, per axis (y, x)."""

    shape: Pair
    """Map px."""

    slide: Pair | None
    """Level-0 px of the slide, None when unknown."""

    cell: tuple[Fraction, Fraction]
    """Level-0 px per map px."""

    start: tuple[Fraction, Fraction]
    """Level-0 px of the first map px."""


class _Axis(NamedTuple):
    map_repeat: int
    truth_repeat: int
    origin: int


@dataclass(frozen=True, slots=True)
class Alignment:
    """How map and truth lie on the finer of their grids, per axis (y, x)."""

    map_repeat: Pair
    """Fine px per map px."""

    truth_repeat: Pair
    """Fine px per truth px."""

    origin: Pair
    """Fine px of map px 0; that of truth px 0 is 0."""

    truth: Pair
    """Truth px."""

    def fine(self, box: Box) -> Box:
        """Fine px of a map box that the truth covers."""
        spans = []
        for axis, span in enumerate(box.spans):
            repeat, origin = self.map_repeat[axis], self.origin[axis]
            end = self.truth[axis] * self.truth_repeat[axis]
            placed = Span(origin + span.start * repeat, origin + span.stop * repeat)
            spans.append(placed.intersect(Span(0, end)))
        return Box.of(*spans)

    def truth_box(self, fine: Box) -> Box:
        """Truth px that cover some fine px."""
        (ny, nx), (y, x) = self.truth_repeat, fine.spans
        return Box(y.start // ny, x.start // nx, -(-y.stop // ny), -(-x.stop // nx))


def align(map_: Placement, truth: Pair) -> Alignment:
    """Lay a truth of some size over a map.

    Raises
    ------
    UsageError
        When the sizes do not tell how.

    Examples
    --------
    >>> whole = Placement((50, 50), (200, 200), (Fraction(4),) * 2, (Fraction(0),) * 2)
    >>> align(whole, (200, 200)).map_repeat, align(whole, (25, 25)).truth_repeat
    ((4, 4), (2, 2))
    """
    axes = _on_slide(map_, truth) or _on_map(map_, truth)
    if axes is None:
        on = "" if map_.slide is None else f" of a slide of {map_.slide[0]} x {map_.slide[1]} px"
        raise UsageError(
            f"cannot compare: the truth is {truth[0]} x {truth[1]} px (y, x), the map "
            f"{map_.shape[0]} x {map_.shape[1]} px{on}; the truth must have the size of the map or "
            f"of the slide, or be a whole number of times larger or smaller"
        )
    y, x = axes
    return Alignment(
        (y.map_repeat, x.map_repeat), (y.truth_repeat, x.truth_repeat), (y.origin, x.origin), truth
    )


def _on_slide(map_: Placement, truth: Pair) -> tuple[_Axis, _Axis] | None:
    """Alignment with a truth that covers the slide."""
    if map_.slide is None:
        return None
    times = _times(map_.slide, truth)
    if times is None:
        return None
    found = []
    for axis in (0, 1):
        cell, start = map_.cell[axis] / times, map_.start[axis] / times
        repeat = Fraction(1) if cell >= 1 else 1 / cell
        numbers = (cell * repeat, repeat, start * repeat)
        if any(number.denominator != 1 for number in numbers):
            return None
        found.append(_Axis(*(int(number) for number in numbers)))
    return found[0], found[1]


def _on_map(map_: Placement, truth: Pair) -> tuple[_Axis, _Axis] | None:
    """Alignment with a truth that covers what the map covers."""
    finer, coarser = _times(truth, map_.shape), _times(map_.shape, truth)
    if finer is not None:
        return _Axis(finer, 1, 0), _Axis(finer, 1, 0)
    return None if coarser is None else (_Axis(1, coarser, 0), _Axis(1, coarser, 0))


def _times(large: Pair, small: Pair) -> int | None:
    """How many times larger ``large`` is, sizes rounded up or down; None when not a whole number.

    Examples
    --------
    >>> _times((2967, 2220), (741, 555)), _times((100, 100), (50, 40))
    (4, None)
    """
    if not (large[0] >= small[0] and large[1] >= small[1]):
        return None
    times = round((large[0] / small[0] * large[1] / small[1]) ** 0.5)
    fits = (n in (m // times, -(-m // times)) for m, n in zip(large, small, strict=True))
    return times if all(fits) else None
