"""Zero, constant or minus-infinity padding, applied only at a tensor's true edge.

A box in the middle of the image never sees padding: the rows beyond its window are real pixels.
Padding acts where the wanted span leaves ``[0, size)`` of the whole tensor, and nowhere else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch.nn import functional

from gigafcn.graph.rules.registry import window_of

if TYPE_CHECKING:
    from torch import Tensor

    from gigafcn.geometry import Box, Span


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
        return tensor.new_full((*tensor.shape[:2], *want.shape), value)
    top, bottom = overhang(want.y, grid[0])
    left, right = overhang(want.x, grid[1])
    core = window_of(tensor, held, inside)
    return functional.pad(core, (left, right, top, bottom), value=value)
