"""Transposed convolutions with few outputs as one ordinary convolution, for the CPU.

With stride s, the outputs of one phase (position modulo s) are an ordinary convolution of the
input with every s-th tap of the kernel.  All s * s phases together are one convolution with
s * s times the channels, whose result is then interleaved.  It multiplies by some zeros, but the
processor works on 16 channels at once, and a transposed convolution to 3 classes leaves 13 of
them idle: for the last layer of a MONAI UNet this form takes less than half the time.
"""

from __future__ import annotations

from dataclasses import dataclass
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

TYPICAL_PX = 64
"""Side of the map that the layout of the weights is chosen for."""


@dataclass(frozen=True, slots=True)
class PhasedConvolution:
    """A transposed convolution computed phase by phase."""

    rule: TransposedConvolution
    packed: Tensor
    """Weights of all phases; opaque, only oneDNN can read it."""

    bias: Tensor | None
    """Once per phase."""

    taps: tuple[int, int]
    """Kernel size (y, x) of one phase."""

    def need(self, out: Span, axis: int) -> Span:
        """See :class:`gigafcn.graph.rules.Rule`."""
        return self.rule.need(out, axis)

    def run(self, inputs: Sequence[Tensor], boxes: Sequence[Box], out: Box) -> Tensor:
        """See :class:`gigafcn.graph.rules.Rule`."""
        rule = self.rule
        source = Box.of(rule.need(out.y, 0), rule.need(out.x, 1)).clip(rule.grid)
        # Position q of the convolution holds the outputs q * stride - padding and the next.
        first = [(out.spans[a].start + rule.padding[a]) // rule.stride[a] for a in (0, 1)]
        last = [(out.spans[a].stop - 1 + rule.padding[a]) // rule.stride[a] for a in (0, 1)]
        reached = [
            (s.start, s.stop - 1 + k - 1) for s, k in zip(source.spans, self.taps, strict=True)
        ]
        if source.is_empty or any(
            first[a] < reached[a][0] or last[a] > reached[a][1] for a in (0, 1)
        ):
            return rule.run(inputs, boxes, out)
        window = window_of(inputs[0], boxes[0], source)
        margin = [k - 1 for k in self.taps]
        phases: Tensor = torch.ops.mkldnn._convolution_pointwise.default(
            window, self.packed, self.bias, margin, (1, 1), (1, 1), 1, "none", [], ""
        )
        rows, columns = (
            slice(first[a] - reached[a][0], last[a] - reached[a][0] + 1) for a in (0, 1)
        )
        pixels = self._interleaved(phases[:, :, rows, columns])
        skipped = [out.spans[a].start + rule.padding[a] - first[a] * rule.stride[a] for a in (0, 1)]
        height, width = out.shape
        return pixels[:, :, skipped[0] : skipped[0] + height, skipped[1] : skipped[1] + width]

    def _interleaved(self, phases: Tensor) -> Tensor:
        """(b, s_y * s_x * c, y, x) to (b, c, y * s_y, x * s_x), channels-last."""
        batch, _, height, width = phases.shape
        down, across = self.rule.stride
        split = phases.permute(0, 2, 3, 1).view(batch, height, width, down, across, -1)
        pixels = split.permute(0, 1, 3, 2, 4, 5).reshape(batch, height * down, width * across, -1)
        return pixels.permute(0, 3, 1, 2)


def phased(rule: TransposedConvolution) -> PhasedConvolution | None:
    """The phased form of a rule, where it is the faster one."""
    inputs, outputs, *kernel = rule.weight.shape
    taps = [ceil(k / s) for k, s in zip(kernel, rule.stride, strict=True)]
    phases = rule.stride[0] * rule.stride[1]
    here = ceil(phases * outputs / LANES) * taps[0] * taps[1]
    there = ceil(outputs / LANES) * kernel[0] * kernel[1]
    if rule.groups > 1 or rule.dilation != (1, 1) or here >= there:
        return None
    weight = _phase_weights(rule.weight, rule.stride, (taps[0], taps[1]))
    shape = [1, inputs, TYPICAL_PX, TYPICAL_PX]
    packed = torch.ops.mkldnn._reorder_convolution_weight(weight, (0, 0), (1, 1), (1, 1), 1, shape)
    bias = None if rule.bias is None else rule.bias.repeat(phases)
    return PhasedConvolution(rule, packed, bias, (taps[0], taps[1]))


def _phase_weights(weight: Tensor, stride: tuple[int, int], taps: tuple[int, int]) -> Tensor:
    """Weights (s_y * s_x * c_out, c_in, t_y, t_x) of all phases.

    Output r + s * q reads input q - t through tap r + s * t of the transposed convolution.  A
    convolution reads its window in ascending order, so the taps are reversed.
    """
    inputs, outputs, height, width = weight.shape
    full = weight.new_zeros(inputs, outputs, taps[0] * stride[0], taps[1] * stride[1])
    full[:, :, :height, :width] = weight
    split = full.view(inputs, outputs, taps[0], stride[0], taps[1], stride[1]).flip(2, 4)
    return split.permute(3, 5, 1, 0, 2, 4).reshape(-1, inputs, *taps).contiguous()
