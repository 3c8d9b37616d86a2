"""Rules of joining along channels: inputs on one grid, each pixel read where it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from gigafcn.graph.rules.constants import one_per_channel
from gigafcn.graph.rules.registry import (
    Axes,
    Blocked,
    Built,
    OpCall,
    Value,
    apart,
    kept_dim,
    pixels_per_axis,
    register,
    window_of,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gigafcn.geometry import Box, Span

aten = torch.ops.aten


@dataclass(frozen=True, slots=True)
class Concatenation:
    """cat along a channel dimension, or stack along a new one."""

    axes: Axes
    """Layout of the inputs."""

    dim: int
    stacked: bool = False
    """Whether ``dim`` is a new dimension."""

    parts: tuple[Tensor | None, ...] = ()
    """Constant parts, one per channel, and None where an input goes; empty for inputs alone."""

    def need(self, out: Span, axis: int) -> Span:
        """See :class:`Rule`."""
        return out

    def run(self, inputs: Sequence[Tensor], boxes: Sequence[Box], out: Box) -> Tensor:
        """See :class:`Rule`."""
        windows = self._windows(inputs, boxes, out)
        return torch.stack(windows, self.dim) if self.stacked else torch.cat(windows, self.dim)

    def run_into(
        self, inputs: Sequence[Tensor], boxes: Sequence[Box], out: Box, place: Tensor
    ) -> Tensor:
        """Like :meth:`run`, but the result is written to ``place``, which is returned."""
        start = 0
        for window in self._windows(inputs, boxes, out):
            part = window.unsqueeze(self.dim) if self.stacked else window
            place.narrow(self.dim, start, part.shape[self.dim]).copy_(part)
            start += part.shape[self.dim]
        return place

    def _windows(self, inputs: Sequence[Tensor], boxes: Sequence[Box], out: Box) -> list[Tensor]:
        windows = [
            window_of(tensor, held, out, self.axes)
            for tensor, held in zip(inputs, boxes, strict=True)
        ]
        if not self.parts:
            return windows
        rest = iter(windows)
        like = windows[0]
        return [next(rest) if part is None else self._spread(part, like) for part in self.parts]

    def _spread(self, part: Tensor, like: Tensor) -> Tensor:
        """A constant at every pixel of a window."""
        sizes = list(like.shape)
        sizes[self.dim] = part.shape[self.dim]
        return part.to(like.dtype).expand(sizes)


@register(aten.cat.default, aten.concat.default, aten.concatenate.default)
def _cat(call: OpCall) -> Built:
    given = [v for v in call.arguments["tensors"] if isinstance(v, Value) or v.numel()]
    values, axes = _joined(given)
    dim = call.arguments["dim"] % len(axes)
    if axes[dim] != "c":
        raise Blocked(f"concatenates along {axes[dim]!r}, not along channels")
    kept = kept_dim(axes, dim)
    if len(values) == len(given):
        return Built(Concatenation(apart(axes), kept), values, axes)
    if apart(axes) != axes:
        raise Blocked("concatenates constants with flattened pixels")
    parts = tuple(
        None if isinstance(v, Value) else one_per_channel("tensors", v, axes) for v in given
    )
    return Built(Concatenation(axes, kept, parts=parts), values, axes)


@register(aten.stack.default)
def _stack(call: OpCall) -> Built:
    given = call.arguments["tensors"]
    values, axes = _joined(given)
    if len(values) < len(given):
        raise Blocked("stacks constants with pixels")
    dim = call.arguments["dim"] % (len(axes) + 1)
    out_axes = (*axes[:dim], "c", *axes[dim:])
    kept = len(apart(axes[:dim]))
    return Built(Concatenation(apart(axes), kept, stacked=True), values, out_axes)


def _joined(given: Sequence[Any]) -> tuple[tuple[Value, ...], Axes]:
    """The image-dependent values to join, on one grid, and their one layout."""
    values = tuple(value for value in given if isinstance(value, Value))
    layouts = {value.axes for value in values}
    if None in layouts:
        raise Blocked("its inputs come from ops that are not local")
    if len(layouts) > 1:
        raise Blocked(f"inputs are laid out differently: {[value.axes for value in values]}")
    pixels_per_axis(values)
    axes = layouts.pop()
    assert axes is not None
    return values, axes
