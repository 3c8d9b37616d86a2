"""How far does an output pixel reach into the image: lost margin, footprint of every layer.

All by composing needs backward at a size whose middle pixels see no border.  A graph is brought
to such a size without tracing again: at multiples of the period every tensor's size is affine in
the image's, so the sizes that rules hold follow from the strides.
"""

from __future__ import annotations

from dataclasses import fields, replace
from fractions import Fraction
from typing import TYPE_CHECKING

from gigafcn.geometry import Span
from gigafcn.graph.model_graph import ModelGraph, Node
from gigafcn.graph.rules.shape import Crop
from gigafcn.graph.strides import node_strides, period

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gigafcn.graph.rules import Rule

MAX_SIZE = 1 << 20
"""Largest size, in px, at which a halo is looked for."""

Halo = tuple[int, int, int, int]


def output_period(graph: ModelGraph, axis: int) -> int:
    """Output px after which the pattern of needs repeats."""
    strides = node_strides(graph, axis)
    return max(1, int(period(graph, axis) / strides[graph.output]))


def far_from_borders(graph: ModelGraph) -> ModelGraph:
    """The graph at a size whose middle pixels see no border, if there is such a size."""
    for _ in range(3):
        extents = [_middle_need(graph, axis).size for axis in (0, 1)]
        if all(2 * e < n for e, n in zip(extents, graph.size, strict=True)):
            return graph
        periods = (period(graph, 0), period(graph, 1))
        size = [
            n + -(-max(0, 3 * e - n) // p) * p
            for n, e, p in zip(graph.size, extents, periods, strict=True)
        ]
        larger = enlarged(graph, (size[0], size[1])) if max(size) <= MAX_SIZE else None
        if larger is None:
            return graph
        graph = larger
    return graph


def enlarged(graph: ModelGraph, size: tuple[int, int]) -> ModelGraph | None:
    """The graph for an image larger by whole periods; None if some size does not follow.

    Structure and weights are those of the given graph: it answers questions about needs.  Without
    a period no size follows from another.
    """
    if graph.scales is not None:
        return None
    strides = [node_strides(graph, axis) for axis in (0, 1)]
    nodes: list[Node] = []
    for index, node in enumerate(graph.nodes):
        grid = [
            _grown(node.grid[axis], size[axis] - graph.size[axis], strides[axis][index])
            for axis in (0, 1)
        ]
        if grid[0] is None or grid[1] is None or _starts_at_the_end(node, graph):
            return None
        shape = tuple(
            {"y": grid[0], "x": grid[1]}.get(label, n)
            for label, n in zip(node.axes, node.shape, strict=True)
        )
        rule = node.rule and _resized(node.rule, nodes, node.inputs, shape, (grid[0], grid[1]))
        nodes.append(replace(node, rule=rule, shape=shape))
    return ModelGraph(tuple(nodes), graph.output, size)


def _grown(length: int, by: int, stride: Fraction) -> int | None:
    more = by / stride
    return length + more.numerator if more.denominator == 1 else None


def _starts_at_the_end(node: Node, graph: ModelGraph) -> bool:
    """Whether a slice starts so late that it may count from the end of a tensor."""
    rule = node.rule
    return isinstance(rule, Crop) and 2 * rule.start > graph.nodes[node.inputs[0]].grid[rule.axis]


def _resized(
    rule: Rule,
    nodes: Sequence[Node],
    inputs: Sequence[int],
    shape: tuple[int, ...],
    grid: tuple[int, int],
) -> Rule:
    """A rule whose sizes are those of its enlarged input and output."""
    names = {f.name for f in fields(rule)}  # type: ignore[arg-type]
    changes = {"grid": nodes[inputs[0]].grid, "out_grid": grid, "shape": shape}
    found = {name: value for name, value in changes.items() if name in names}
    resized: Rule = replace(rule, **found) if found else rule  # type: ignore[type-var]
    return resized


def _middle(graph: ModelGraph, axis: int) -> tuple[int, int]:
    """First output position of a whole period in the middle, and that period's length."""
    length = output_period(graph, axis)
    return graph.result.grid[axis] // 2 // length * length, length


def _middle_need(graph: ModelGraph, axis: int) -> Span:
    start, length = _middle(graph, axis)
    return graph.need(Span(start, start + length), axis, clip=False)


def lost_margin(graph: ModelGraph, axis: int) -> int:
    """Input px by which the map falls short of the image, 0 for size-preserving nets."""
    stride = node_strides(graph, axis)[graph.output]
    size, out = graph.size[axis], graph.result.grid[axis]
    if out * stride == size or (graph.scales is not None and abs(size - out * stride) <= stride):
        return 0
    if size < out * stride and stride > 1 and _first_cell_fits(graph, axis):
        return 0
    used = graph.need(Span(0, out), axis).stop
    return int(used - out * stride)


def _first_cell_fits(graph: ModelGraph, axis: int) -> bool:
    """Whether map px j looks around image px ``j * stride``, so that px too many lie at the end."""
    stride, j = node_strides(graph, axis)[graph.output], graph.result.grid[axis] // 2
    need = graph.need(Span(j, j + 1), axis, clip=False)
    centre = Fraction(need.start + need.stop, 2)
    return abs(centre - (j + Fraction(1, 2)) * stride) < stride


def layer_footprints(graph: ModelGraph) -> list[tuple[int, int]]:
    """Image px (y, x) that one pixel in the middle of every node depends on."""
    found: list[tuple[int, int]] = []
    for index, node in enumerate(graph.nodes):
        if node.rule is None:
            found.append((1, 1))
        elif _repeats(node, graph):
            found.append(found[node.inputs[0]])
        else:
            part = ModelGraph(graph.nodes[: index + 1], index, graph.size)
            sizes = [
                part.need(Span(n // 2, n // 2 + 1), axis, clip=False).size
                for axis, n in enumerate(node.grid)
            ]
            found.append((sizes[0], sizes[1]))
    return found


def _repeats(node: Node, graph: ModelGraph) -> bool:
    """Whether the middle pixel reads just the middle pixel of one input."""
    if node.rule is None or len(node.inputs) != 1 or node.grid != graph.nodes[node.inputs[0]].grid:
        return False
    return all(
        node.rule.need(Span(n // 2, n // 2 + 1), axis) == Span(n // 2, n // 2 + 1)
        for axis, n in enumerate(node.grid)
    )
