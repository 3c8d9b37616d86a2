"""Zero, constant or minus-infinity padding, applied only at a tensor's true edge.

A box in the middle of the image never sees padding: the rows beyond its window are real pixels.
Padding acts where the wanted span leaves ``[0, size)`` of the whole tensor, and nowhere else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch.nn import functional

from gigafcn.graph.rules.registry import window_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from gigafcn.geometry import Box, Span

Pair = tuple[int, int]

MOST_WASTED = 0.25
"""Part of a window that an op may pad in vain, because it pads both sides alike."""


def overhang(want: Span, size: int) -> tuple[int, int]:
    """How many positions of ``want`` lie before 0 and from ``size`` on."""
    before = min(max(0, -want.start), want.size)
    after = min(max(0, want.stop - size), want.size)
    return before, after


def padded(
    tensor: Tensor, held: Box, want: Box, grid: tuple[int, int], value: float = 0.0
) -> Tensor:
    """The ``want`` box of a (b, c, y, x) tensor whose outside holds ``value``.

    Parameters
    ----------
    tensor
        Pixels of box ``held``.
    want
        Literal box; may leave the image of size ``grid`` (y, x).
    value
        What the outside holds.
    """
    inside = want.clip(grid)
    if inside == want:
        return window_of(tensor, held, want)
    if inside.is_empty:
        # Of a tensor without pixels: what is carried is no argument unless it is read.
        return tensor[:, :, :0, :0].new_full((*tensor.shape[:2], *want.shape), value)
    top, bottom = overhang(want.y, grid[0])
    left, right = overhang(want.x, grid[1])
    core = window_of(tensor, held, inside)
    return functional.pad(core, (left, right, top, bottom), value=value)


@dataclass(frozen=True, slots=True)
class OwnPadding:
    """The padding that a window op does itself, on both sides alike."""

    grid: Pair
    """Size of the input (y, x)."""

    stride: Pair
    most: Pair
    """How far it goes at most."""

    value: float = 0.0

    def both_sides(self, want: Span, axis: int) -> Pair:
        """How many positions to add on both sides, and which result is then the first wanted."""
        before, after = overhang(want, self.grid[axis])
        too_many = -(-max(0, after - before) // self.stride[axis])
        return before + too_many * self.stride[axis], too_many

    def pays(self, want: Span, axis: int) -> bool:
        """Whether the op can, and computes little that is then cut off."""
        sides, _ = self.both_sides(want, axis)
        wasted = 2 * sides - sum(overhang(want, self.grid[axis]))
        return sides <= self.most[axis] and wasted <= MOST_WASTED * want.size


def apply_padded(
    op: Callable[[Tensor, Pair], Tensor],
    tensor: Tensor,
    held: Box,
    want: Box,
    out: Box,
    padding: OwnPadding,
) -> Tensor:
    """Apply a window op to the ``want`` box, and leave the padding to the op where that pays.

    A padded copy of all pixels takes as long as some convolutions.  Ops pad both sides alike, so
    what ends on one side only is padded on both, and results too many are cut off.

    Parameters
    ----------
    op
        Computes a tensor and a padding (y, x) of both its sides.
    tensor, held, want
        As in :func:`padded`.
    out
        The result.
    padding
        What the op can do.
    """
    inside = want.clip(padding.grid)
    if inside == want:
        return op(window_of(tensor, held, want), (0, 0))
    if inside.is_empty or not all(padding.pays(s, axis) for axis, s in enumerate(want.spans)):
        return op(padded(tensor, held, want, padding.grid, padding.value), (0, 0))
    (y, row), (x, column) = (padding.both_sides(s, axis) for axis, s in enumerate(want.spans))
    made = op(window_of(tensor, held, inside), (y, x))
    height, width = out.shape
    return made[:, :, row : row + height, column : column + width]
