"""Does a model scale its input itself, before its first layer, and how?

Some models divide by 255 or subtract a mean in ``forward``.  Whoever feeds them normalised pixels
normalises twice.  The chain of sums and products with constants behind the image is computed for
two values; since it is a straight line in each channel, these two tell all of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from gigafcn.geometry import Box

if TYPE_CHECKING:
    from torch import Tensor

    from gigafcn.graph.model_graph import ModelGraph, Node

LINEAR = {
    "aten.add.Tensor", "aten.add.Scalar", "aten.sub.Tensor", "aten.sub.Scalar", "aten.rsub.Scalar",
    "aten.mul.Tensor", "aten.mul.Scalar", "aten.div.Tensor", "aten.div.Scalar", "aten.neg.default",
}  # fmt: skip
"""Ops that are a straight line in the image when all else is constant."""

ALIASES = {"aten._to_copy.default", "aten.to.dtype", "aten.clone.default"}


@dataclass(frozen=True, slots=True)
class OwnScaling:
    """What a model does to its input before its first layer: factor * x + offset per channel."""

    factor: tuple[float, ...]
    offset: tuple[float, ...]


def own_scaling(graph: ModelGraph) -> OwnScaling | None:
    """The model's own scaling of its input; None if its first op is no sum or product.

    Weights must be on the CPU.
    """
    chain = _chain(graph)
    if not any(node.op in LINEAR for node in chain):
        return None
    values = torch.zeros(1, graph.image.channels, 1, 2)
    values[..., 1] = 1
    box = Box(0, 0, 1, 2)
    for node in chain:
        assert node.rule is not None
        values = node.rule.run([values], [box], box)
    low, high = values[0, :, 0, 0], values[0, :, 0, 1]
    return OwnScaling(_numbers(high - low), _numbers(low))


def _chain(graph: ModelGraph) -> list[Node]:
    """The ops behind the image that are sums and products with constants, in order."""
    found: list[Node] = []
    at = 0
    while len(graph.consumers[at]) == 1:
        at = graph.consumers[at][0]
        node = graph.nodes[at]
        if node.op not in LINEAR | ALIASES or len(node.inputs) != 1 or node.axes != _AXES:
            break
        found.append(node)
    return found


_AXES = ("b", "c", "y", "x")


def _numbers(tensor: Tensor) -> tuple[float, ...]:
    return tuple(float(value) for value in tensor)
