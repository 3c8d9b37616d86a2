"""Max pooling's indices, and max-unpooling, which puts values back where the maxima were.

Indices are int64 positions ``y * width + x`` in the pooled tensor.  They are computed and carried
like any other values and stay global: a box rebases them just while it is computed.  Unpooling
takes its footprint from the pool whose indices feed it unchanged: a pixel is written by the
windows that contain it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from gigafcn.geometry import EMPTY, Box, Span
from gigafcn.graph.rules.padding import padded
from gigafcn.graph.rules.registry import (
    IMAGE_AXES,
    Blocked,
    Built,
    OpCall,
    pixels_per_axis,
    register,
    window_of,
)
from gigafcn.graph.rules.window import MaxPool, pool_stride, window_need

if TYPE_CHECKING:
    from collections.abc import Sequence

aten = torch.ops.aten
Pair = tuple[int, int]


@dataclass(frozen=True, slots=True)
class MaxPoolIndices:
    """Where max_pool2d found its maxima."""

    kernel: Pair
    stride: Pair
    padding: Pair
    dilation: Pair
    grid: Pair
    """Size (y, x) of the pooled tensor, in which the indices count."""

    def need(self, out: Span, axis: int) -> Span:
        """See :class:`Rule`."""
        return window_need(
            out,
            kernel=self.kernel[axis],
            stride=self.stride[axis],
            padding=self.padding[axis],
            dilation=self.dilation[axis],
        )

    def run(self, inputs: Sequence[Tensor], boxes: Sequence[Box], out: Box) -> Tensor:
        """See :class:`Rule`."""
        want = Box.of(self.need(out.y, 0), self.need(out.x, 1))
        window = padded(inputs[0], boxes[0], want, self.grid, float("-inf"))
        _, local = functional.max_pool2d(
            window, self.kernel, self.stride, 0, self.dilation, return_indices=True
        )
        width = want.x.size
        # All-infinite windows name their first position, which may be padding.
        y = (local // width + want.y0).clamp(min=0)
        x = (local % width + want.x0).clamp(min=0)
        found: Tensor = y * self.grid[1] + x
        return found


@dataclass(frozen=True, slots=True)
class MaxUnpool:
    """max_unpool2d of windows that do not overlap: zeros where no maximum was."""

    kernel: Pair
    stride: Pair
    padding: Pair
    grid: Pair
    """Size (y, x) of the tensor that is unpooled."""

    out_grid: Pair
    """Size (y, x) of the result; as wide as what was pooled."""

    def need(self, out: Span, axis: int) -> Span:
        """See :class:`Rule`."""
        if out.is_empty:
            return EMPTY
        stride, padding = self.stride[axis], self.padding[axis]
        start = -((self.kernel[axis] - 1 - out.start - padding) // stride)
        stop = (out.stop - 1 + padding) // stride + 1
        return Span(start, stop) if start < stop else EMPTY

    def _covered(self, source: Span, axis: int) -> Span:
        """Positions of the result that the windows of ``source`` cover."""
        start = source.start * self.stride[axis] - self.padding[axis]
        last = (source.stop - 1) * self.stride[axis] - self.padding[axis]
        return Span(start, last + self.kernel[axis]).clip(self.out_grid[axis])

    def run(self, inputs: Sequence[Tensor], boxes: Sequence[Box], out: Box) -> Tensor:
        """See :class:`Rule`."""
        source = Box.of(self.need(out.y, 0), self.need(out.x, 1)).clip(self.grid)
        result = inputs[0].new_zeros((*inputs[0].shape[:2], *out.shape))
        if source.is_empty:
            return result
        covered = Box.of(self._covered(source.y, 0), self._covered(source.x, 1))
        values = window_of(inputs[0], boxes[0], source)
        index = window_of(inputs[1], boxes[1], source)
        y = index // self.out_grid[1] - covered.y0
        x = index % self.out_grid[1] - covered.x0
        flat = (y * covered.x.size + x).contiguous()
        spread = aten.max_unpool2d.default(values.contiguous(), flat, list(covered.shape))
        inside = covered.intersect(out)
        if not inside.is_empty:
            rows, columns = inside.relative_to(out)
            result[:, :, rows, columns] = window_of(spread, covered, inside)
        return result


@register(aten.max_pool2d.default, aten.max_pool2d_with_indices.default)
def _max_pool2d(call: OpCall) -> Built:
    source = call.image("self")
    make = MaxPool if call.index == 0 else MaxPoolIndices
    rule = make(
        call.pair("kernel_size"),
        pool_stride(call),
        call.pair("padding"),
        call.pair("dilation"),
        source.grid,
    )
    return Built(rule, (source,), IMAGE_AXES)


@register(aten.max_unpool2d.default)
def _max_unpool2d(call: OpCall) -> Built:
    source, indices = call.image("self"), call.image("indices")
    pool = indices.rule
    if not isinstance(pool, MaxPoolIndices):
        raise Blocked("its indices do not come straight from a max pool of this model")
    pixels_per_axis([source, indices])
    if max(pool.dilation) > 1 or any(k > s for k, s in zip(pool.kernel, pool.stride, strict=True)):
        raise Blocked(
            f"unpools windows of {pool.kernel} px at steps of {pool.stride} px, which overlap: "
            f"torch leaves open which value wins"
        )
    out_grid = (call.shape[2], call.shape[3])
    if out_grid[1] != pool.grid[1] or out_grid[0] < pool.grid[0]:
        raise Blocked(
            f"unpools to {out_grid} px indices that count in {pool.grid} px: pixels would move"
        )
    rule = MaxUnpool(pool.kernel, pool.stride, pool.padding, source.grid, out_grid)
    return Built(rule, (source, indices), IMAGE_AXES)
