"""Transposed convolutions as ordinary convolutions, one or a few for all phases, for the CPU.

With stride s, the outputs of one phase (position modulo s) are an ordinary convolution of the
input with every s-th tap of the kernel.  Each phase is computed so, and the results are
interleaved: as many multiplications as before, but by the processor's best code.  The processor
works on many channels at once, and a layer with few outputs leaves most of that idle.  There, the
phases of a row, or all of them, are one convolution with as many times the channels: it multiplies
by some zeros, and still takes less time.

It pays where oneDNN's own transposed convolution is slow: kernels that the stride does not divide
(half the time for the 3 x 3 kernels of a MONAI UNet), few outputs (a third), deep layers (three
quarters).  Elsewhere interleaving costs more than it gains.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from math import ceil
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gigafcn.geometry import Box, Span
from gigafcn.graph.rules.registry import window_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gigafcn.graph.rules.window import TransposedConvolution

LANES = 16
"""Numbers of fp32 in a vector register."""

BUSY_LANES = 32
"""Output channels from which on a convolution's time is in proportion to their number."""

TYPICAL_PX = 64
"""Side of the map that the layout of the weights is chosen for."""

DEEP = 512
"""Multiplications per output number beyond which interleaving hardly counts."""

Pair = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Phases:
    """Neighbouring phases that are computed as one convolution."""

    first: Pair
    """The first phase (y, x)."""

    count: Pair
    """How many (y, x): 1, or all of the axis."""

    taps: Pair
    """Kernel size (y, x)."""

    packed: Tensor
    """Weights, the outputs of all phases side by side; opaque, only oneDNN can read it."""


@dataclass(frozen=True, slots=True)
class PhasedConvolution:
    """A transposed convolution computed phase by phase.

    Output position ``o`` with ``o + padding = q * stride + r`` is phase ``r`` of cell ``q``; it
    reads the inputs ``q - t`` through the taps ``r + stride * t``.
    """

    rule: TransposedConvolution
    parts: tuple[Phases, ...]
    bias: Tensor | None
    """Once per phase of a part."""

    def need(self, out: Span, axis: int) -> Span:
        """See :class:`gigafcn.graph.rules.Rule`."""
        return self.rule.need(out, axis)

    def run(self, inputs: Sequence[Tensor], boxes: Sequence[Box], out: Box) -> Tensor:
        """See :class:`gigafcn.graph.rules.Rule`."""
        source = Box.of(self.need(out.y, 0), self.need(out.x, 1)).clip(self.rule.grid)
        if source.is_empty or len(inputs[0]) != 1:
            return self.rule.run(inputs, boxes, out)
        window = window_of(inputs[0], boxes[0], source)
        # Along an axis whose phases are computed together, whole cells are written, then cut.
        whole = Box.of(*(self._written(out, axis) for axis in (0, 1)))
        channels = self.rule.weight.shape[1]
        pixels = window.new_empty((*whole.shape, channels))
        for part in self.parts:
            self._compute(part, window, source, pixels, whole)
        rows, columns = out.relative_to(whole)
        return pixels[rows, columns].permute(2, 0, 1).unsqueeze(0)

    def _written(self, out: Box, axis: int) -> Span:
        span = out.spans[axis]
        if self.parts[0].count[axis] == 1:
            return span
        stride, padding = self.rule.stride[axis], self.rule.padding[axis]
        first = (span.start + padding) // stride
        last = (span.stop - 1 + padding) // stride
        return Span(first * stride - padding, (last + 1) * stride - padding)

    def _compute(
        self, part: Phases, window: Tensor, source: Box, pixels: Tensor, whole: Box
    ) -> None:
        """Compute the phases of a part and put them where they belong in ``pixels`` (y, x, c)."""
        cells = Box.of(*(self._cells(part, whole.spans[axis], axis) for axis in (0, 1)))
        if cells.is_empty:
            return
        found = _convolved(part, self.bias, window, source, cells)
        place = pixels
        for axis, dim in ((0, 0), (1, 2)):
            stride = self.rule.stride[axis]
            if part.count[axis] > 1:
                place = place.view(*place.shape[:dim], -1, stride, *place.shape[dim + 1 :])
                continue
            first = cells.spans[axis].start * stride + part.first[axis] - self.rule.padding[axis]
            index = [slice(None)] * dim + [slice(first - whole.spans[axis].start, None, stride)]
            place = place[tuple(index)].unsqueeze(dim + 1)
        if found is None:
            place.copy_(place.new_zeros(()) if self.rule.bias is None else self.rule.bias)
            return
        split = found.permute(0, 2, 3, 1).reshape(*cells.shape, *part.count, -1)
        place.copy_(split.permute(0, 2, 1, 3, 4))

    def _cells(self, part: Phases, written: Span, axis: int) -> Span:
        """Cells in which an output of the part is written."""
        stride = self.rule.stride[axis]
        start = written.start + self.rule.padding[axis] - part.first[axis]
        return Span(-(-start // stride), (start + written.size - 1) // stride + 1)


def _convolved(
    part: Phases, bias: Tensor | None, window: Tensor, source: Box, cells: Box
) -> Tensor | None:
    """A part's outputs (1, phases * c, y, x) in the given cells; None if no input reaches them.

    Inputs outside ``source`` count as zeros: they lie outside the image, or only zeros of the
    kernel fall on them.
    """
    want = Box.of(
        *(Span(s.start - t + 1, s.stop) for s, t in zip(cells.spans, part.taps, strict=True))
    )
    held = want.intersect(source)
    if held.is_empty:
        return None
    # The convolution's own zeros are as many on both sides; what is too much is cut.
    margin = [
        max(h.start - w.start, w.stop - h.stop) for h, w in zip(held.spans, want.spans, strict=True)
    ]
    result: Tensor = torch.ops.mkldnn._convolution_pointwise.default(
        window_of(window, source, held),
        part.packed,
        bias,
        margin,
        (1, 1),
        (1, 1),
        1,
        "none",
        [],
        "",
    )
    rows, columns = want.relative_to(Box(held.y0 - margin[0], held.x0 - margin[1], 0, 0))
    height, width = cells.shape
    return result[:, :, rows.start : rows.start + height, columns.start : columns.start + width]


def phased(rule: TransposedConvolution) -> PhasedConvolution | None:
    """The phased form of a rule, where it is the faster one."""
    if rule.groups > 1 or rule.dilation != (1, 1) or not _pays(rule):
        return None
    rows, columns = (
        (1, s) if k >= s else (s,) for k, s in zip(rule.kernel, rule.stride, strict=True)
    )
    count = min(product(rows, columns), key=lambda counts: _cost(rule, counts))
    firsts = product(*(range(0, s, c) for s, c in zip(rule.stride, count, strict=True)))
    parts = tuple(_part(rule, (y, x), count) for y, x in firsts)
    bias = None if rule.bias is None else rule.bias.repeat(count[0] * count[1])
    return PhasedConvolution(rule, parts, bias)


def _pays(rule: TransposedConvolution) -> bool:
    inputs, outputs = rule.weight.shape[:2]
    taps = [ceil(k / s) for k, s in zip(rule.kernel, rule.stride, strict=True)]
    ragged = any(k % s for k, s in zip(rule.kernel, rule.stride, strict=True))
    few = outputs < LANES and rule.stride != (1, 1)
    deep = rule.stride != (1, 1) and inputs * taps[0] * taps[1] > DEEP
    # In bf16 torch has no transposed convolution of oneDNN's at all.
    return ragged or few or deep or rule.weight.dtype == torch.bfloat16


def _cost(rule: TransposedConvolution, count: Pair) -> int:
    """Time of a cell in some unit, for phases taken together as ``count`` says."""
    outputs = ceil(rule.weight.shape[1] * count[0] * count[1] / LANES) * LANES
    taps = [
        sum(ceil((k - r) / s) for r in range(0, s, c))
        for k, s, c in zip(rule.kernel, rule.stride, count, strict=True)
    ]
    return taps[0] * taps[1] * max(outputs, BUSY_LANES)


def _part(rule: TransposedConvolution, first: Pair, count: Pair) -> Phases:
    inputs, outputs = rule.weight.shape[:2]
    taps = [ceil((k - r) / s) for k, r, s in zip(rule.kernel, first, rule.stride, strict=True)]
    # Phase r of a cell reads input q - t through tap r + s * t.  A convolution reads its window
    # in ascending order, so the taps are reversed.
    weight = rule.weight.new_zeros(*count, outputs, inputs, *taps)
    for y, x in product(*(range(c) for c in count)):
        own = rule.weight[:, :, first[0] + y :: rule.stride[0], first[1] + x :: rule.stride[1]]
        reversed_taps = own.flip(2, 3).transpose(0, 1)
        weight[y, x, :, :, taps[0] - own.shape[2] :, taps[1] - own.shape[3] :] = reversed_taps
    flat = weight.view(-1, inputs, *taps).contiguous(memory_format=torch.channels_last)
    shape = [1, inputs, TYPICAL_PX, TYPICAL_PX]
    packed = torch.ops.mkldnn._reorder_convolution_weight(flat, (0, 0), (1, 1), (1, 1), 1, shape)
    return Phases(first, count, (taps[0], taps[1]), packed)
