"""Convolutions of enlarged maps, computed on the small maps: fewer multiplications, no copies.

A decoder enlarges a map by repeating pixels and convolves the result, often beside a skip
connection that is concatenated to it.  Within one enlarged pixel the kernel meets the same number
several times, so its taps may be added up once: the two layers together are one transposed
convolution of the small map, with kernel k + r - 1 for a factor r.  For k = 3 and r = 2 that is 16
multiplications per small pixel instead of 36, and neither the enlarged map nor the concatenation
is written.  A concatenated skip keeps a convolution of its own, and the two results are added.

The taps are added up in double precision, so the result is the same up to rounding.  As with
folded norms, only the graph that runs is rewritten, never the one that is analysed.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import torch

from gigafcn.graph.model_graph import ModelGraph, Node
from gigafcn.graph.rules.merge import Concatenation
from gigafcn.graph.rules.pointwise import Pointwise, Slot
from gigafcn.graph.rules.registry import IMAGE_AXES
from gigafcn.graph.rules.resample import Nearest
from gigafcn.graph.rules.window import Convolution, TransposedConvolution

if TYPE_CHECKING:
    from torch import Tensor

Pair = tuple[int, int]

EXACT_POSITIONS = 1 << 23
"""Output positions below this are exact in float32, in which torch finds their sources."""


@dataclass(frozen=True, slots=True)
class _Part:
    """Channels that a convolution reads from one node."""

    source: int
    channels: slice
    factor: Pair | None
    """By how much the source is to be enlarged; None if it already has the right size."""


@dataclass(slots=True)
class _Nodes:
    """The new graph's nodes, and where those of the old one went."""

    made: list[Node] = field(default_factory=list)
    position: dict[int, int] = field(default_factory=dict)

    def add(self, node: Node) -> int:
        """Append a node and return its index."""
        self.made.append(node)
        return len(self.made) - 1


def convolve_before_enlarging(graph: ModelGraph) -> ModelGraph:
    """Graph in which convolutions read small maps instead of enlarged ones."""
    nodes = _Nodes()
    for index, node in enumerate(graph.nodes):
        moved = replace(node, inputs=tuple(nodes.position[s] for s in node.inputs))
        parts = _parts(graph, node)
        nodes.position[index] = nodes.add(moved) if parts is None else _split(moved, parts, nodes)
    return _used(ModelGraph(tuple(nodes.made), nodes.position[graph.output], graph.size))


def _parts(graph: ModelGraph, node: Node) -> list[_Part] | None:
    """What a convolution reads; None unless some of it is an enlarged map read by it alone."""
    rule = node.rule
    if not isinstance(rule, Convolution) or not _simple(rule):
        return None
    source = node.inputs[0]
    joined = graph.nodes[source]
    sources: tuple[int, ...] = (source,)
    if isinstance(joined.rule, Concatenation):
        if not _plain(joined.rule) or len(graph.consumers[source]) > 1 or source == graph.output:
            return None
        sources = joined.inputs
    parts, first = [], 0
    for number in sources:
        channels = graph.nodes[number].channels
        factor = _factor(graph, number)
        held = number if factor is None else graph.nodes[number].inputs[0]
        parts.append(_Part(held, slice(first, first + channels), factor))
        first += channels
    return parts if any(part.factor for part in parts) else None


def _simple(rule: Convolution) -> bool:
    """Whether a convolution with these settings can be a transposed one."""
    reaches = [k - 1 for k in rule.kernel]
    return (
        rule.stride == rule.dilation == (1, 1)
        and rule.groups == 1
        and max(reaches) > 0
        and all(p <= r for p, r in zip(rule.padding, reaches, strict=True))
    )


def _plain(rule: Concatenation) -> bool:
    return rule.axes == IMAGE_AXES and rule.dim == 1 and not rule.stacked and not rule.parts


def _factor(graph: ModelGraph, index: int) -> Pair | None:
    """By how much a node repeats each pixel, if that is all it does and one node reads it."""
    node = graph.nodes[index]
    rule = node.rule
    if not isinstance(rule, Nearest) or len(graph.consumers[index]) > 1 or index == graph.output:
        return None
    factors = []
    for size, out_size, given in zip(rule.grid, rule.out_grid, rule.scales, strict=True):
        factor = out_size // size
        # Of other factors float32 has no exact reciprocal, and torch may pick a neighbour.
        power_of_two = factor > 1 and factor & (factor - 1) == 0
        if out_size != factor * size or given not in (None, factor) or not power_of_two:
            return None
        factors.append(factor)
    return (factors[0], factors[1]) if max(rule.out_grid) < EXACT_POSITIONS else None


def _split(node: Node, parts: list[_Part], nodes: _Nodes) -> int:
    """Index of the sum of a convolution's terms: one per enlarged part, one for the rest."""
    rule = node.rule
    assert isinstance(rule, Convolution)
    bias = rule.bias
    terms: list[int] = []
    rest = [part for part in parts if part.factor is None]
    if rest:
        terms.append(_unenlarged(node, rule, rest, nodes))
        bias = None
    for part in parts:
        if part.factor is not None:
            source = nodes.position[part.source]
            grid = nodes.made[source].grid
            own = _enlarging(rule, rule.weight[:, part.channels], bias, part.factor, grid)
            terms.append(nodes.add(replace(node, rule=own, inputs=(source,))))
            bias = None
    total = terms[0]
    for term in terms[1:]:
        total = nodes.add(replace(node, rule=_SUM, inputs=(total, term)))
    return total


def _unenlarged(node: Node, rule: Convolution, parts: list[_Part], nodes: _Nodes) -> int:
    """Index of the convolution of what has the right size already."""
    weight = torch.cat([rule.weight[:, part.channels] for part in parts], dim=1)
    sources = tuple(nodes.position[part.source] for part in parts)
    if len(sources) > 1:
        joined = nodes.made[node.inputs[0]]
        shape = (joined.shape[0], weight.shape[1], *joined.shape[2:])
        sources = (nodes.add(replace(joined, inputs=sources, shape=shape)),)
    return nodes.add(replace(node, rule=replace(rule, weight=weight), inputs=sources))


_SUM = Pointwise(
    torch.ops.aten.add.Tensor, (Slot(0), Slot(1)), (("alpha", 1),), (IMAGE_AXES, IMAGE_AXES)
)


def _enlarging(
    rule: Convolution, weight: Tensor, bias: Tensor | None, factor: Pair, grid: Pair
) -> TransposedConvolution:
    """Enlarging by ``factor``, then convolving, as one transposed convolution.

    Enlarged pixel u repeats input u // r, so with kernel w, padding p and size k the output o is
    the sum over inputs q of x[q] * K[o + P - r * q], where P = k - 1 - p and
    K[m] = sum of w[t] over the t with 0 <= m - (k - 1) + t < r.
    """
    taps = weight.double().transpose(0, 1)
    for dim, repeats in ((2, factor[0]), (3, factor[1])):
        taps = _summed(taps, dim, repeats)
    padding = [k - 1 - p for k, p in zip(rule.kernel, rule.padding, strict=True)]
    return TransposedConvolution(taps, bias, factor, (padding[0], padding[1]), (1, 1), 1, grid)


def _summed(weight: Tensor, dim: int, repeats: int) -> Tensor:
    """K of :func:`_enlarging` along one dimension."""
    size = weight.shape[dim]
    shape = list(weight.shape)
    shape[dim] = size + repeats - 1
    total = weight.new_zeros(shape)
    flipped = weight.flip(dim)
    for shift in range(repeats):
        total.narrow(dim, shift, size).add_(flipped)
    return total


def _used(graph: ModelGraph) -> ModelGraph:
    """The graph without nodes that nothing reads any more."""
    needed = {graph.output, 0}
    for index in range(len(graph.nodes) - 1, -1, -1):
        if index in needed:
            needed.update(graph.nodes[index].inputs)
    kept = sorted(needed)
    position = {old: new for new, old in enumerate(kept)}
    nodes = tuple(
        replace(graph.nodes[i], inputs=tuple(position[s] for s in graph.nodes[i].inputs))
        for i in kept
    )
    return ModelGraph(nodes, position[graph.output], graph.size)
