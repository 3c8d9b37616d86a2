"""How does the footprint grow through the layers?  Image px on either side, for every tensor."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from gigafcn.geometry import Span
from gigafcn.graph.model_graph import ModelGraph
from gigafcn.graph.strides import node_strides, period

PHASES = 32
"""Pixels of a period that are looked at; the worst counts."""


@dataclass(frozen=True, slots=True)
class Reach:
    """How far a px of a tensor, in the middle, looks beyond its own place in the image."""

    before: float
    """Image px above, or to the left."""

    after: float
    """Image px below, or to the right."""


def reaches(graph: ModelGraph, axis: int) -> list[Reach]:
    """Reach of every node along an axis; the graph's middle must see no border."""
    strides, whole = node_strides(graph, axis), period(graph, axis)
    found = [Reach(0.0, 0.0)]
    for index, node in enumerate(graph.nodes[1:], start=1):
        rule, middle = node.rule, node.grid[axis] // 2
        assert rule is not None
        at = Span(middle, middle + 1)
        if len(node.inputs) == 1 and rule.need(at, axis) == at:
            found.append(found[node.inputs[0]])
            continue
        part = ModelGraph(graph.nodes[: index + 1], index, graph.size)
        length = max(1, int(whole / strides[index]))
        first = middle // length * length
        each = [_reach(part, axis, first + phase, strides[index]) for phase in _phases(length)]
        found.append(Reach(max(r.before for r in each), max(r.after for r in each)))
    return found


def _phases(length: int) -> list[int]:
    """Positions within a period, both ends among them."""
    return sorted({round(i * (length - 1) / (PHASES - 1)) for i in range(PHASES)})


def _reach(graph: ModelGraph, axis: int, at: int, stride: Fraction) -> Reach:
    """Need of a px less its own place; what a net without padding loses is half on each side."""
    need = graph.need(Span(at, at + 1), axis, clip=False)
    if need.is_empty:
        return Reach(0.0, 0.0)
    lost = max(Fraction(0), graph.size[axis] - graph.result.grid[axis] * stride) / 2
    start, stop = at * stride + lost, (at + 1) * stride + lost
    before, after = float(start) - need.start, need.stop - float(stop)
    return Reach(max(0.0, before), max(0.0, after))
