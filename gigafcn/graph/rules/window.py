"""Rules of ops that look through a window: convolution, transposed convolution, pooling.

Index maps, per axis, with stride s, padding p, dilation d, kernel k:

- convolution and pooling: output o reads ``o*s - p + d*j`` for ``0 <= j < k``;
- transposed convolution: input i reaches ``i*s - p + d*j``, so output o depends on the inputs
  from ``ceil((o + p - d*(k-1)) / s)`` to ``floor((o + p) / s)`` (sufficient for every d, minimal
  for d = 1).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional

from gigafcn.geometry import EMPTY, Box, Span
from gigafcn.graph.rules.padding import OwnPadding, apply_padded, padded
from gigafcn.graph.rules.registry import (
    IMAGE_AXES,
    Built,
    OpCall,
    Rule,
    register,
    window_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

aten = torch.ops.aten
Pair = tuple[int, int]


def window_need(out: Span, *, kernel: int, stride: int, padding: int, dilation: int) -> Span:
    """Input span of a sliding window, before clipping."""
    if out.is_empty:
        return EMPTY
    start = out.start * stride - padding
    return Span(start, (out.stop - 1) * stride - padding + dilation * (kernel - 1) + 1)


@dataclass(frozen=True, slots=True)
class Convolution:
    """conv2d with zero padding."""

    weight: Tensor
    """(c_out, c_in / groups, k_y, k_x)."""

    bias: Tensor | None
    stride: Pair
    padding: Pair
    """Zeros before the first row and column; those behind follow from the output size."""

    dilation: Pair
    groups: int
    grid: Pair
    """Input size (y, x)."""

    @property
    def kernel(self) -> Pair:
        """Kernel size (y, x)."""
        return self.weight.shape[2], self.weight.shape[3]

    def need(self, out: Span, axis: int) -> Span:
        """See :class:`Rule`."""
        return window_need(
            out,
            kernel=self.weight.shape[2 + axis],
            stride=self.stride[axis],
            padding=self.padding[axis],
            dilation=self.dilation[axis],
        )

    def run(self, inputs: Sequence[Tensor], boxes: Sequence[Box], out: Box) -> Tensor:
        """See :class:`Rule`."""
        return self.convolve(self._plainly, inputs[0], boxes[0], out)

    def convolve(
        self, op: Callable[[Tensor, Pair], Tensor], tensor: Tensor, held: Box, out: Box
    ) -> Tensor:
        """Apply an op that convolves a tensor with so many zeros (y, x) on both sides."""
        want = Box.of(self.need(out.y, 0), self.need(out.x, 1))
        most = [d * (k - 1) for d, k in zip(self.dilation, self.kernel, strict=True)]
        zeros = OwnPadding(self.grid, self.stride, (most[0], most[1]))
        return apply_padded(op, tensor, held, want, out, zeros)

    def _plainly(self, window: Tensor, padding: Pair) -> Tensor:
        return functional.conv2d(
            window, self.weight, self.bias, self.stride, padding, self.dilation, self.groups
        )


@dataclass(frozen=True, slots=True)
class TransposedConvolution:
    """conv_transpose2d; positions that no input reaches hold the bias."""

    weight: Tensor
    """(c_in, c_out / groups, k_y, k_x)."""

    bias: Tensor | None
    stride: Pair
    padding: Pair
    dilation: Pair
    groups: int
    grid: Pair

    @property
    def kernel(self) -> Pair:
        """Kernel size (y, x)."""
        return self.weight.shape[2], self.weight.shape[3]

    def need(self, out: Span, axis: int) -> Span:
        """See :class:`Rule`."""
        if out.is_empty:
            return EMPTY
        stride, reach = self.stride[axis], self.dilation[axis] * (self.weight.shape[2 + axis] - 1)
        start = -((reach - out.start - self.padding[axis]) // stride)
        stop = (out.stop - 1 + self.padding[axis]) // stride + 1
        return Span(start, stop) if start < stop else EMPTY

    def _reached(self, source: Span, axis: int) -> Span:
        """Output positions that the inputs ``source`` write to."""
        reach = self.dilation[axis] * (self.weight.shape[2 + axis] - 1)
        stride, padding = self.stride[axis], self.padding[axis]
        return Span(
            source.start * stride - padding, (source.stop - 1) * stride - padding + reach + 1
        )

    def run(self, inputs: Sequence[Tensor], boxes: Sequence[Box], out: Box) -> Tensor:
        """See :class:`Rule`."""
        source = Box.of(self.need(out.y, 0), self.need(out.x, 1)).clip(self.grid)
        if source.is_empty:
            return self._unreached(len(inputs[0]), out)
        window = window_of(inputs[0], boxes[0], source)
        reached = Box.of(self._reached(source.y, 0), self._reached(source.x, 1))
        inside = reached.intersect(out)
        if inside == out:
            return self._transposed(window, reached, out)
        result = self._unreached(len(inputs[0]), out)
        if not inside.is_empty:
            rows, columns = inside.relative_to(out)
            result[:, :, rows, columns] = self._transposed(window, reached, inside)
        return result

    def _transposed(self, window: Tensor, reached: Box, out: Box) -> Tensor:
        """Transposed convolution of a window, cropped to ``out`` by its own padding if possible.

        The op's padding crops both sides alike and output_padding gives back at the far side, so
        only a far crop larger than the near one is left to a slice.
        """
        near = (out.y0 - reached.y0, out.x0 - reached.x0)
        far = (reached.y1 - out.y1, reached.x1 - out.x1)
        back = tuple(
            n - f if 0 < n - f < max(s, d) else 0
            for n, f, s, d in zip(near, far, self.stride, self.dilation, strict=True)
        )
        crop = tuple(
            n if n - f == b else min(n, f) for n, f, b in zip(near, far, back, strict=True)
        )
        result = functional.conv_transpose2d(
            window, self.weight, self.bias, self.stride, crop, back, self.groups, self.dilation
        )
        origin = Box(reached.y0 + crop[0], reached.x0 + crop[1], 0, 0)
        rows, columns = out.relative_to(origin)
        return result[:, :, rows, columns]

    def _unreached(self, batch: int, out: Box) -> Tensor:
        channels = self.weight.shape[1] * self.groups
        result = self.weight.new_zeros((batch, channels, *out.shape))
        if self.bias is not None:
            result += self.bias.view(1, -1, 1, 1)
        return result


@dataclass(frozen=True, slots=True)
class MaxPool:
    """max_pool2d; the outside counts as minus infinity."""

    kernel: Pair
    stride: Pair
    padding: Pair
    dilation: Pair
    grid: Pair

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
        most = (self.kernel[0] // 2, self.kernel[1] // 2)
        infinities = OwnPadding(self.grid, self.stride, most, float("-inf"))
        return apply_padded(self._pooled, inputs[0], boxes[0], want, out, infinities)

    def _pooled(self, window: Tensor, padding: Pair) -> Tensor:
        return functional.max_pool2d(window, self.kernel, self.stride, padding, self.dilation)


@dataclass(frozen=True, slots=True)
class AveragePool:
    """avg_pool2d; divisors follow the whole tensor's edges, never the box's."""

    kernel: Pair
    stride: Pair
    padding: Pair
    count_include_pad: bool
    divisor: int | None
    """divisor_override."""

    grid: Pair

    def need(self, out: Span, axis: int) -> Span:
        """See :class:`Rule`."""
        return window_need(
            out,
            kernel=self.kernel[axis],
            stride=self.stride[axis],
            padding=self.padding[axis],
            dilation=1,
        )

    def run(self, inputs: Sequence[Tensor], boxes: Sequence[Box], out: Box) -> Tensor:
        """See :class:`Rule`."""
        want = Box.of(self.need(out.y, 0), self.need(out.x, 1))
        window = padded(inputs[0], boxes[0], want, self.grid)
        if want.clip(self.grid) == want or self.divisor is not None:
            return functional.avg_pool2d(
                window, self.kernel, self.stride, divisor_override=self.divisor
            )
        total = functional.avg_pool2d(window, self.kernel, self.stride, divisor_override=1)
        counts = [self._counts(span, axis, total) for axis, span in enumerate(out.spans)]
        return total / (counts[0][:, None] * counts[1][None, :])

    def _counts(self, out: Span, axis: int, like: Tensor) -> Tensor:
        """Positions that each window is divided by: clipped at n + p, then perhaps to [0, n)."""
        size, padding = self.grid[axis], self.padding[axis]
        start = torch.arange(out.start, out.stop, device=like.device) * self.stride[axis] - padding
        stop = (start + self.kernel[axis]).clamp(max=size + padding)
        if not self.count_include_pad:
            start, stop = start.clamp(min=0), stop.clamp(max=size)
        return (stop - start).to(like.dtype)


def _built(call: OpCall, rule: Rule, name: str = "input") -> Built:
    return Built(rule, (call.image(name),), IMAGE_AXES)


@register(aten.conv2d.default, aten.conv2d.padding)
def _conv2d(call: OpCall) -> Built:
    source, weight = call.image("input"), call.constant("weight")
    assert weight is not None
    dilation = call.pair("dilation")
    padding = call.arguments["padding"]
    if padding == "same":
        # torch puts the odd pixel at the right and bottom.
        reach = [d * (k - 1) for d, k in zip(dilation, weight.shape[2:], strict=True)]
        before = (reach[0] // 2, reach[1] // 2)
    else:
        before = (0, 0) if padding == "valid" else call.pair("padding")
    return _built(
        call,
        Convolution(
            weight,
            call.constant("bias"),
            call.pair("stride"),
            before,
            dilation,
            call.arguments["groups"],
            source.grid,
        ),
    )


@register(aten.conv_transpose2d.input)
def _conv_transpose2d(call: OpCall) -> Built:
    source, weight = call.image("input"), call.constant("weight")
    assert weight is not None
    rule = TransposedConvolution(
        weight,
        call.constant("bias"),
        call.pair("stride"),
        call.pair("padding"),
        call.pair("dilation"),
        call.arguments["groups"],
        source.grid,
    )
    return _built(call, rule)


def pool_stride(call: OpCall) -> Pair:
    """Pooling's stride, which defaults to its kernel."""
    return call.pair("stride") if call.arguments["stride"] else call.pair("kernel_size")


@register(aten.avg_pool2d.default)
def _avg_pool2d(call: OpCall) -> Built:
    arguments: dict[str, Any] = call.arguments
    rule = AveragePool(
        call.pair("kernel_size"),
        pool_stride(call),
        call.pair("padding"),
        arguments["count_include_pad"],
        arguments["divisor_override"],
        call.image("self").grid,
    )
    return _built(call, rule, "self")
