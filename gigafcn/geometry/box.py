"""Rectangles of pixels, ordered ``(y0, x0, y1, x1)``, half-open and literal like spans."""

from __future__ import annotations

from typing import NamedTuple

from gigafcn.geometry.span import Span


class Box(NamedTuple):
    """Pixels with ``y0 <= y < y1`` and ``x0 <= x < x1``, in global coordinates of one tensor.

    A plain tuple compares equal, so ``Box(0, 0, 4, 8) == (0, 0, 4, 8)``.

    Examples
    --------
    >>> Box(0, 0, 4, 8).shape
    (4, 8)
    >>> Box.of(Span(1, 3), Span(0, 2))
    Box(y0=1, x0=0, y1=3, x1=2)
    """

    y0: int
    x0: int
    y1: int
    x1: int

    @staticmethod
    def of(y: Span, x: Span) -> Box:
        """Build from one span per axis."""
        return Box(y.start, x.start, y.stop, x.stop)

    @staticmethod
    def whole(shape: tuple[int, int]) -> Box:
        """The box of a whole image of ``shape`` (y, x)."""
        return Box(0, 0, shape[0], shape[1])

    @property
    def y(self) -> Span:
        """Rows."""
        return Span(self.y0, self.y1)

    @property
    def x(self) -> Span:
        """Columns."""
        return Span(self.x0, self.x1)

    @property
    def spans(self) -> tuple[Span, Span]:
        """Rows and columns."""
        return self.y, self.x

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in px, 0 when empty."""
        return self.y.size, self.x.size

    @property
    def area(self) -> int:
        """Number of pixels."""
        return self.y.size * self.x.size

    @property
    def is_empty(self) -> bool:
        """Whether the box holds no pixel."""
        return self.area == 0

    def shift(self, dy: int, dx: int) -> Box:
        """Move by ``dy`` rows and ``dx`` columns."""
        return Box(self.y0 + dy, self.x0 + dx, self.y1 + dy, self.x1 + dx)

    def intersect(self, other: Box) -> Box:
        """Pixels in both boxes."""
        return Box.of(self.y.intersect(other.y), self.x.intersect(other.x))

    def hull(self, other: Box) -> Box:
        """Smallest box holding both."""
        return Box.of(self.y.hull(other.y), self.x.hull(other.x))

    def clip(self, shape: tuple[int, int]) -> Box:
        """Intersect with a whole image of ``shape`` (y, x)."""
        return self.intersect(Box.whole(shape))

    def contains(self, other: Box) -> bool:
        """Whether every pixel of ``other`` is in this box."""
        return other.is_empty or (self.y.contains(other.y) and self.x.contains(other.x))

    def relative_to(self, origin: Box) -> tuple[slice, slice]:
        """Slices (y, x) of an array that holds ``origin``."""
        return self.y.relative_to(origin.y0), self.x.relative_to(origin.x0)
