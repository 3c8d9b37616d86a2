"""Convolutions with weights laid out once for the processor, instead of at every call.

oneDNN wants weights in a layout of its own and reorders them whenever it is handed plain ones.
For the deep layers of a net, whose maps are small within a block, that takes as long as the
convolution.  The packed form says the same up to rounding; it exists on the CPU in fp32 only.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gigafcn.engine.phased import TYPICAL_PX, phased
from gigafcn.geometry import Box, Span
from gigafcn.graph.model_graph import ModelGraph, Node
from gigafcn.graph.rules.window import Convolution, TransposedConvolution

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class PackedConvolution:
    """A convolution rule whose weights oneDNN need not reorder."""

    rule: Convolution
    packed: Tensor
    """Opaque; only oneDNN can read it."""

    def need(self, out: Span, axis: int) -> Span:
        """See :class:`gigafcn.graph.rules.Rule`."""
        return self.rule.need(out, axis)

    def run(self, inputs: Sequence[Tensor], boxes: Sequence[Box], out: Box) -> Tensor:
        """See :class:`gigafcn.graph.rules.Rule`."""
        rule = self.rule
        want = Box.of(rule.need(out.y, 0), rule.need(out.x, 1))
        window, padding = rule.window(inputs[0], boxes[0], want)
        result: Tensor = torch.ops.mkldnn._convolution_pointwise.default(
            window,
            self.packed,
            rule.bias,
            padding,
            rule.stride,
            rule.dilation,
            rule.groups,
            "none",
            [],
            "",
        )
        return result


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
    shape = [1, weight.shape[1] * rule.groups, TYPICAL_PX, TYPICAL_PX]
    packed = torch.ops.mkldnn._reorder_convolution_weight(
        weight, (0, 0), rule.stride, rule.dilation, rule.groups, shape
    )
    return replace(node, rule=PackedConvolution(rule, packed))
