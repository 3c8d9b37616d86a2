"""Convolutions with weights laid out once for the processor, instead of at every call.

oneDNN wants weights in a layout of its own and reorders them whenever it is handed plain ones.
For the deep layers of a net, whose maps are small within a block, that takes as long as the
convolution.  The packed form says the same up to rounding; it exists on the CPU alone, in fp32 and
on some processors in bf16.

A vector register holds the outputs of one px, so a layer with few of them leaves most of it idle.
There, neighbouring px of a row are computed as channels of one: with kernel k, n neighbours take a
kernel of k + n - 1, shifted zeros around each one's taps, and a stride of n.  In memory, channels
last, the result is the row itself.  Such layers are 1.3 to 2.6 times as
fast (``python -m benchmarks.narrow``).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gigafcn.engine.phased import TYPICAL_PX, phased
from gigafcn.graph.model_graph import ModelGraph, Node
from gigafcn.graph.rules.window import Convolution, TransposedConvolution

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gigafcn.geometry import Box, Span

Pair = tuple[int, int]

NEIGHBOURS = (1, 2, 4, 8)
"""Px of a row that may be computed as channels of one."""

CLEARLY_LESS = 0.7
"""Part of the arithmetic that must be left for neighbours to be computed together."""


@dataclass(frozen=True, slots=True)
class PackedWeights:
    """A convolution's numbers as oneDNN reads them."""

    packed: Tensor
    """Opaque; only oneDNN can read it."""

    bias: Tensor | None
    """Once per neighbour."""

    taps: int
    """Width of the kernel, without neighbours."""

    stride: Pair
    """Without neighbours."""

    dilation: Pair
    groups: int
    neighbours: int

    def convolve(self, window: Tensor, padding: Pair) -> Tensor:
        """Convolve (b, c, y, x), with zeros on both sides of each axis."""
        if self.neighbours == 1:
            return self._convolve(window, padding, self.stride)
        width = window.shape[3] + 2 * padding[1] - self.taps + 1
        # Zeros come on both sides alike: some results too many on the left complete the last group.
        before = -width % self.neighbours
        stride = (self.stride[0], self.neighbours)
        grouped = self._convolve(window, (padding[0], padding[1] + before), stride)
        batch, channels, height, groups = grouped.shape
        rows = grouped.permute(0, 2, 3, 1).reshape(batch, height, groups * self.neighbours, -1)
        assert rows.shape[3] * self.neighbours == channels
        return rows.permute(0, 3, 1, 2)[..., before : before + width]

    def _convolve(self, window: Tensor, padding: Pair, stride: Pair) -> Tensor:
        result: Tensor = torch.ops.mkldnn._convolution_pointwise.default(
            window,
            self.packed,
            self.bias,
            padding,
            stride,
            self.dilation,
            self.groups,
            "none",
            [],
            "",
        )
        return result


def packed_weights(
    weight: Tensor, bias: Tensor | None, stride: Pair, dilation: Pair, groups: int
) -> PackedWeights:
    """Lay the weights (c_out, c_in / groups, k_y, k_x) of a convolution out."""
    taps = weight.shape[3]
    plain = (groups, stride[1], dilation[1]) == (1, 1, 1) and weight.dtype == torch.float32
    count = _neighbours(weight.shape[0], taps, vector_lanes()) if plain else 1
    count = 1 if misread(weight, (stride[0], count), groups) else count
    # A dilated kernel may be wider than a typical window.
    reach = [d * (k - 1) for d, k in zip(dilation, weight.shape[2:], strict=True)]
    shape = [1, weight.shape[1] * groups, *(max(TYPICAL_PX, 2 * r) for r in reach)]
    packed = torch.ops.mkldnn._reorder_convolution_weight(
        _side_by_side(weight, count),
        (0, 0),
        (stride[0], count * stride[1]),
        dilation,
        groups,
        shape,
    )
    bias = bias if bias is None or count == 1 else bias.repeat(count)
    return PackedWeights(packed, bias, taps, stride, dilation, groups, count)


def misread(weight: Tensor, stride: Pair, groups: int) -> bool:
    """Whether oneDNN may get results wrong with weights laid out.

    It does for one channel, a stride along x alone and a result that is one px wide (torch 2.13,
    AVX-512).
    """
    return weight.shape[1] * groups == 1 and stride[0] == 1 and stride[1] > 1


def vector_lanes() -> int:
    """Numbers of fp32 in a vector register of this processor."""
    return 16 if torch.backends.cpu.get_cpu_capability() == "AVX512" else 8


def _neighbours(outputs: int, taps: int, lanes: int) -> int:
    """How many px of a row are best computed together."""

    def arithmetic(count: int) -> float:
        """Of a px: full registers for each tap."""
        return ceil(outputs * count / lanes) * (taps + count - 1) / count

    best = min(NEIGHBOURS, key=arithmetic)
    return best if arithmetic(best) <= CLEARLY_LESS * arithmetic(1) else 1


def _side_by_side(weight: Tensor, count: int) -> Tensor:
    """Weights of ``count`` neighbours as outputs of one convolution, the first one's first."""
    outputs, inputs, rows, taps = weight.shape
    wide = weight.new_zeros(count, outputs, inputs, rows, taps + count - 1)
    for place in range(count):
        wide[place, ..., place : place + taps] = weight
    return wide.flatten(0, 1).contiguous(memory_format=torch.channels_last)


@dataclass(frozen=True, slots=True)
class PackedConvolution:
    """A convolution rule whose weights oneDNN need not reorder."""

    rule: Convolution
    weights: PackedWeights

    def need(self, out: Span, axis: int) -> Span:
        """See :class:`gigafcn.graph.rules.Rule`."""
        return self.rule.need(out, axis)

    def run(self, inputs: Sequence[Tensor], boxes: Sequence[Box], out: Box) -> Tensor:
        """See :class:`gigafcn.graph.rules.Rule`."""
        return self.rule.convolve(self.weights.convolve, inputs[0], boxes[0], out)


def packable() -> tuple[torch.dtype, ...]:
    """Precisions in which oneDNN has packed convolutions on this processor."""
    half = torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return (torch.float32, torch.bfloat16) if half else (torch.float32,)


def pack_convolutions(graph: ModelGraph) -> ModelGraph:
    """The placed graph with packed convolutions where that is possible."""
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return graph
    return ModelGraph(tuple(_packed(node) for node in graph.nodes), graph.output, graph.size)


def _packed(node: Node) -> Node:
    rule = node.rule
    if not isinstance(rule, Convolution | TransposedConvolution):
        return node
    weight = rule.weight
    if weight.device.type != "cpu" or weight.dtype not in packable():
        return node
    if isinstance(rule, TransposedConvolution):
        return replace(node, rule=phased(rule) or rule)
    if misread(weight, rule.stride, rule.groups):
        return node
    weights = packed_weights(weight, rule.bias, rule.stride, rule.dilation, rule.groups)
    return replace(node, rule=PackedConvolution(rule, weights))
