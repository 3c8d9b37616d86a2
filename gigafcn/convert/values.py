"""What is known of a tensor while a network is converted?

Tensors that no pixel reaches are constants.  A *map* has y and x of its own and is computed in the
converted network by the same op as in the original.  A *patch value* is what the original made by
merging y or x with something else, or by reducing them: a flattened map, a pooled feature vector,
scores.  In the converted network it is always a map (b, c, y, x) whose position j holds what the
original has for the patch that starts at ``j * stride``; ``dims`` remembers how the original's
dimensions are made of it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from math import lcm, prod
from typing import TYPE_CHECKING

from gigafcn.graph.rules import IMAGE_AXES, Value

if TYPE_CHECKING:
    from collections.abc import Sequence
    from fractions import Fraction

    from torch import Tensor

    from gigafcn.convert.network import Ref

Pair = tuple[int, int]
Dims = tuple[tuple[str, ...], ...]
"""For each dimension of the original's tensor the dimensions of the map merged in it, in order."""


class RefusedError(Exception):
    """This op keeps the network from being converted; the message is the reason."""


@dataclass(frozen=True, slots=True)
class Constant:
    """A tensor that no pixel reaches."""

    tensor: Tensor
    name: str | None = None
    """Of the parameter or buffer that it is; None if it was computed."""


@dataclass(frozen=True, slots=True)
class Lattice:
    """Where the pixels of a map lie, per axis (y, x)."""

    stride: tuple[Fraction, Fraction]
    """Image px per px of the map."""

    rate: Pair = (1, 1)
    """Neighbours in the original's map of one patch lie this many px apart: strides that were
    turned into dilation."""

    period: Pair = field(default=(1, 1), compare=False)
    """Image px by which patches may be shifted: more than the stride after a resize."""

    def moved(self, stride: tuple[Fraction, Fraction], rate: Pair) -> Lattice:
        """The lattice after an op that steps."""
        period = [lcm(p, s.numerator) for p, s in zip(self.period, stride, strict=True)]
        return Lattice(stride, rate, (period[0], period[1]))


def common(lattices: Sequence[Lattice]) -> Lattice | None:
    """The lattice of maps that are joined; None if they lie differently."""
    first = lattices[0]
    if any(lattice != first for lattice in lattices):
        return None
    period = [lcm(*(lattice.period[axis] for lattice in lattices)) for axis in (0, 1)]
    return replace(first, period=(period[0], period[1]))


@dataclass(frozen=True, slots=True)
class Map:
    """A tensor with y and x of its own."""

    ref: Ref
    value: Value
    """Its shape for one patch in the original, and its layout."""

    lattice: Lattice


@dataclass(frozen=True, slots=True)
class PatchValue:
    """A tensor that belongs to a patch as a whole, or a map whose y and x are merged."""

    ref: Ref
    """The map (b, c, y, x) that holds it."""

    dims: Dims
    channels: int
    grid: Pair
    """Px (y, x) of the map that belong to one patch; 1 where they were reduced."""

    lattice: Lattice
    pooling: tuple[Tensor, Tensor] | None = None
    """Weights (k, n) per axis of an adaptive pooling from n to k px that is still to be done."""

    bins: Pair | None = None
    """With ``pooling``: the k x k px that the original has after it."""

    @property
    def seen_grid(self) -> Pair:
        """Px (y, x) that the original's tensor has."""
        return self.bins or self.grid

    def size(self, letter: str) -> int:
        """Size of one dimension of the map for one patch."""
        seen = self.seen_grid
        return {"b": 1, "c": self.channels, "y": seen[0], "x": seen[1]}[letter]

    @property
    def shape(self) -> tuple[int, ...]:
        """The original's shape."""
        return tuple(prod(self.size(letter) for letter in dim) for dim in self.dims)

    def is_only(self, dim: int, letters: str) -> bool:
        """Whether a dimension of the original holds nothing else than these."""
        return all(n in letters or self.size(n) == 1 for n in self.dims[dim])

    def as_image(self) -> Value:
        """The map as a value laid out like an image."""
        return Value(0, (1, self.channels, *self.seen_grid), IMAGE_AXES)

    def with_ref(self, ref: Ref) -> PatchValue:
        """The same layout, computed by another step."""
        return replace(self, ref=ref)


Known = Constant | Map | PatchValue


def relabelled(value: PatchValue, shape: tuple[int, ...]) -> PatchValue:
    """A view of a patch value: dimensions merged and split where the map's own are.

    Raises
    ------
    RefusedError
        If a dimension of the map would be torn apart.
    """
    letters = [letter for dim in value.dims for letter in dim]
    dims: list[tuple[str, ...]] = []
    position = 0
    for size in shape:
        taken: list[str] = []
        product = 1
        while position < len(letters) and (product < size or (size == 1 and not taken)):
            step = value.size(letters[position])
            if product * step > size:
                break
            taken.append(letters[position])
            product *= step
            position += 1
        if product != size:
            raise RefusedError(f"reshapes {value.shape} to {shape}, which tears channels apart")
        dims.append(tuple(taken))
    if position < len(letters):
        dims[-1:] = [(*(dims[-1] if dims else ()), *letters[position:])]
    return replace(value, dims=tuple(dims))
