"""Rule of concatenation along channels: inputs on one grid, each pixel read where it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gigafcn.graph.rules.registry import (
    Axes,
    Blocked,
    Built,
    OpCall,
    Value,
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
    """cat along the channel dimension."""

    axes: Axes

    def need(self, out: Span, axis: int) -> Span:
        """See :class:`Rule`."""
        return out

    def run(self, inputs: Sequence[Tensor], boxes: Sequence[Box], out: Box) -> Tensor:
        """See :class:`Rule`."""
        return torch.cat(self._windows(inputs, boxes, out), dim=self.axes.index("c"))

    def run_into(
        self, inputs: Sequence[Tensor], boxes: Sequence[Box], out: Box, place: Tensor
    ) -> Tensor:
        """Like :meth:`run`, but the result is written to ``place``, which is returned."""
        start, dim = 0, self.axes.index("c")
        for window in self._windows(inputs, boxes, out):
            place.narrow(dim, start, window.shape[dim]).copy_(window)
            start += window.shape[dim]
        return place

    def _windows(self, inputs: Sequence[Tensor], boxes: Sequence[Box], out: Box) -> list[Tensor]:
        return [
            window_of(tensor, held, out, self.axes)
            for tensor, held in zip(inputs, boxes, strict=True)
        ]


@register(aten.cat.default)
def _cat(call: OpCall) -> Built:
    values = call.arguments["tensors"]
    if not all(isinstance(value, Value) for value in values):
        raise Blocked("concatenates constants with pixels")
    known = [value for value in values if value.axes is not None]
    if len(known) < len(values):
        raise Blocked("its inputs come from ops that are not local")
    axes = known[0].axes
    if any(value.axes != axes for value in known):
        raise Blocked(f"inputs are laid out differently: {[value.axes for value in known]}")
    label = axes[call.arguments["dim"] % len(axes)]
    if label != "c":
        raise Blocked(f"concatenates along {label!r}, not along channels")
    pixels_per_axis(known)
    return Built(Concatenation(axes), tuple(known), axes)
