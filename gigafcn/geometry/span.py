"""Half-open integer intervals along one axis.

A span is literal: it is never wrapped or clamped unless :meth:`Span.clip` is called.  Negative
positions and positions beyond a tensor's end are ordinary values, they say where padding acts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable


class Span(NamedTuple):
    """Positions ``start <= i < stop`` along one axis of one tensor, in its own pixels.

    Examples
    --------
    >>> Span(2, 5).shift(10)
    Span(start=12, stop=15)
    >>> Span(-1, 4).clip(3)
    Span(start=0, stop=3)
    """

    start: int
    stop: int

    @property
    def size(self) -> int:
        """Number of positions, 0 when empty."""
        return max(0, self.stop - self.start)

    @property
    def is_empty(self) -> bool:
        """Whether the span holds no position."""
        return self.stop <= self.start

    def shift(self, by: int) -> Span:
        """Move by ``by`` positions."""
        return Span(self.start + by, self.stop + by)

    def clip(self, size: int) -> Span:
        """Intersect with ``[0, size)``; ``EMPTY`` when nothing is left."""
        return self.intersect(Span(0, size))

    def intersect(self, other: Span) -> Span:
        """Positions in both spans; ``EMPTY`` when there are none."""
        start, stop = max(self.start, other.start), min(self.stop, other.stop)
        return Span(start, stop) if start < stop else EMPTY

    def hull(self, other: Span) -> Span:
        """Smallest span holding both; an empty span adds nothing."""
        if self.is_empty:
            return other
        if other.is_empty:
            return self
        return Span(min(self.start, other.start), max(self.stop, other.stop))

    def contains(self, other: Span) -> bool:
        """Whether every position of ``other`` is in this span."""
        return other.is_empty or (self.start <= other.start and other.stop <= self.stop)

    def relative_to(self, origin: int) -> slice:
        """Slice of an array whose first element sits at position ``origin``."""
        return slice(self.start - origin, self.stop - origin)

    @staticmethod
    def hull_of(spans: Iterable[Span]) -> Span:
        """Smallest span holding all; ``EMPTY`` for none."""
        result = EMPTY
        for span in spans:
            result = result.hull(span)
        return result


EMPTY = Span(0, 0)
"""The span without positions."""
