"""What is known of a tensor's values without looking at any: bounds, sums over channels, origin.

Bounds and sums are intervals that hold for every input.  They are followed from op to op
(:mod:`gigafcn.meaning.rules`): a softmax lies in 0..1 and adds up to 1 along its dimension, a
slice of it adds up to 1 at most, and the mean of two of them adds up to 1 again.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import inf
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Hashable

Nature = Literal["constant", "image", "logits", "scores", "integer", "unknown"]
"""What values are: constants; the image's own pixels; sums of weighted features, as layers give
them; something bounded or bent (probabilities, tanh, ReLU); whole numbers; or nobody knows."""

Bounds = tuple[float, float]

ONE = object()
"""Dimension of a single channel whose dimension is gone."""


@dataclass(frozen=True, slots=True)
class Total:
    """What values add up to along a dimension, and which of the summands are there."""

    dim: Any
    """Number of the dimension, or :data:`ONE`."""

    bounds: Bounds
    whole: Hashable = None
    """Name of the tensor that all summands belong to; None if that was not followed."""

    members: frozenset[int] = frozenset()
    """Which of its channels these are."""

    all: Bounds = (-inf, inf)
    """What all of them add up to."""

    count: int = 0
    """How many there are in all."""


@dataclass(frozen=True, slots=True)
class Values:
    """What is known of one tensor."""

    nature: Nature
    shape: tuple[int, ...]
    bounds: Bounds = (-inf, inf)
    total: Total | None = None
    made: str = ""
    """What gave the values their nature: "softmax", "tanh", "a convolution"."""

    through: tuple[str, ...] = ()
    """Ops that they went through since."""

    activation: str = ""
    """"softmax" or "sigmoid" if one was applied since the last layer."""

    along: int | None = None
    """Dimension of that softmax, where resizes of that very dimension lost its total."""

    log: Values | None = None
    """What their exponentials are, if these are logarithms of such."""

    rest_of: Hashable = None
    """Name of the tensor that these are 1 minus."""

    key: Hashable = None
    """Name of the computation: equal names, equal values."""

    def in_unit(self, slack: float = 1e-3) -> bool:
        """Whether all lie in 0..1, up to what numerical guards such as 1e-6 add."""
        return self.bounds[0] >= -slack and self.bounds[1] <= 1 + slack


def number(value: float) -> Values:
    """A constant number."""
    return Values("constant", (), (float(value), float(value)), key=("number", float(value)))


def unknown(shape: tuple[int, ...], made: str, key: Hashable = None) -> Values:
    """Values of which nothing is known."""
    return Values("unknown", shape, made=made, key=key)


def plus(a: Bounds, b: Bounds) -> Bounds:
    """Bounds of a sum."""
    return a[0] + b[0], a[1] + b[1]


def times(a: Bounds, b: Bounds) -> Bounds:
    """Bounds of a product; 0 times infinity is 0, since values are finite."""
    ends = [0.0 if 0 in (x, y) else x * y for x in a for y in b]
    return min(ends), max(ends)


def negative(a: Bounds) -> Bounds:
    """Bounds of what is subtracted."""
    return -a[1], -a[0]


def inverse(a: Bounds) -> Bounds:
    """Bounds of 1 / x."""
    if a[0] < 0 < a[1] or a == (0, 0):
        return -inf, inf
    if a[0] >= 0:
        return (0.0 if a[1] == inf else 1 / a[1]), (inf if a[0] == 0 else 1 / a[0])
    return negative(inverse(negative(a)))


def hull(a: Bounds, b: Bounds) -> Bounds:
    """Bounds of either."""
    return min(a[0], b[0]), max(a[1], b[1])


def clipped(a: Bounds, low: float, high: float) -> Bounds:
    """Bounds after clamping."""
    return min(max(a[0], low), high), min(max(a[1], low), high)


def moved(values: Values, dim: Any, shape: tuple[int, ...]) -> Values:
    """The same values in another shape, their total along another dimension; None if it is lost."""
    total = None if dim is None or values.total is None else replace(values.total, dim=dim)
    along = dim if isinstance(dim, int) else None
    log = values.log and moved(values.log, dim, shape)
    return replace(values, shape=shape, total=total, along=along, log=log)


def part(total: Total, members: frozenset[int] | None, low: float) -> Total:
    """The total of some of the summands, if each is at least ``low``; None: of unknown ones."""
    bounds = (min(0.0, total.bounds[0]) if low >= 0 else -inf, total.bounds[1] if low >= 0 else inf)
    if members is None or total.whole is None:
        return Total(total.dim, bounds)
    if len(members) == total.count:
        return replace(total, members=members, bounds=total.all)
    return replace(total, members=members, bounds=bounds)


def joined(totals: list[Total], dim: int) -> Total:
    """The total of summands side by side."""
    bounds: Bounds = (0.0, 0.0)
    for total in totals:
        bounds = plus(bounds, total.bounds)
    first, every = totals[0], [m for total in totals for m in total.members]
    same = first.whole is not None and all(t.whole == first.whole for t in totals)
    if not same or len(set(every)) != len(every):
        return Total(dim, bounds)
    if len(every) == first.count:
        return replace(first, dim=dim, members=frozenset(every), bounds=first.all)
    most = min(bounds[1], first.all[1])
    return replace(first, dim=dim, members=frozenset(every), bounds=(bounds[0], most))
