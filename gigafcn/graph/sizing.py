"""Is there a period?  How the sizes of a model's tensors follow from the size of the image.

At multiples of a period P a tensor of stride S has n / S px and a constant, and a resize has the
same ratio at all of them.  Where a resize is to a size that the layers before it do not reach by
their strides (valid convolutions, or pools in ceil mode, resized to the image), its ratio is
another for every image: (n - 2) / n.  Padding mends nothing there: such a model runs on the image
itself.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING

from gigafcn.errors import ModelError
from gigafcn.graph.dry_run import dry_run
from gigafcn.graph.locality import compared
from gigafcn.graph.model_graph import Blocker, ModelGraph
from gigafcn.graph.strides import node_strides, period

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gigafcn.graph.dry_run import DryRun
    from gigafcn.graph.locality import Comparison
    from gigafcn.graph.programs import Programs

MAX_PERIOD = 1024
"""Px to whose multiples images are padded at most; a longer period is none that one could use."""

ODD_PX = (1, 3)
"""Px more than a multiple of the period, at which a model shows how it pads by itself."""

UNEVEN_PX = (1, 2, 3, 5)
"""Px more at which halos of models without a period are looked at too."""

MOST_PARTS = 64
"""Of which a scale may be a whole number."""

Pair = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Sizing:
    """How sizes follow from the image's."""

    graph: ModelGraph
    """At a multiple of its period; without one it knows the scales of its nodes."""

    compared: Comparison
    """With graphs at other sizes."""

    blockers: tuple[Blocker, ...] = ()
    """What grows with the image, or does not follow it."""

    no_period: str = ""
    """Why there is no period."""

    pads_itself: bool = False
    """Whether padding moves what the model does: see :func:`moves_its_own_grid`."""


def sizing(programs: Programs, graph: ModelGraph, output: str) -> Sizing:
    """How the sizes of a model's tensors follow from the image's."""
    why = ""
    for by_ratio in (False, True):
        periods = (period(graph, 0, sized=by_ratio), period(graph, 1, sized=by_ratio))
        if max(periods) > MAX_PERIOD:
            why = f"sizes repeat after {periods[0]} x {periods[1]} px at the earliest"
            break
        y, x = (-(-n // p) * p for n, p in zip(graph.size, periods, strict=True))
        if (y, x) != graph.size:
            graph = _retraced(programs, (y, x), output) or graph
    found = compared(programs, graph, output)
    if found.blockers:
        return Sizing(graph, found, found.blockers)
    why = why or _changing_ratio((graph, *found.others))
    if why:
        return _without_period(graph, found, why)
    padded = period(graph, 0) * period(graph, 1) > 1
    return Sizing(graph, found, pads_itself=padded and moves_its_own_grid(programs, graph))


def moves_its_own_grid(programs: Programs, graph: ModelGraph) -> bool:
    """Whether the model pads images on both sides by itself and cuts that off, as sizes ask for.

    Its layers then begin at another place of each image, and padding the image first moves them.
    """
    y, x = graph.size

    def seen(more: int) -> DryRun | None:
        return dry_run(programs.module, programs.channels, (y + more, x + more))

    one = seen(ODD_PX[0])
    if one is None or not (one.padded_before and one.cut_before):
        return False
    other = seen(ODD_PX[1])
    return other is not None and one.padded_before != other.padded_before


def _retraced(programs: Programs, size: Pair, output: str) -> ModelGraph | None:
    """The graph at another size; None if the model does not take it."""
    try:
        return programs.at(size).choose(output).graph
    except ModelError:
        return None


def _changing_ratio(graphs: Sequence[ModelGraph]) -> str:
    """The first op whose stride is another at another size, in words; "" if there is none."""
    for axis in (0, 1):
        strides = [node_strides(graph, axis) for graph in graphs]
        for index, each in enumerate(zip(*strides, strict=True)):
            if len(set(each)) > 1:
                sizes = [
                    f"{graph.nodes[graph.nodes[index].inputs[0]].grid[axis]} to "
                    f"{graph.nodes[index].grid[axis]} px"
                    for graph in graphs
                ]
                at = next(i for i, stride in enumerate(each) if stride != each[0])
                node = graphs[0].nodes[index]
                return (
                    f"{node.layer or 'model'}: {node.op} resizes {sizes[0]} of an image of "
                    f"{graphs[0].size[axis]} px and {sizes[at]} of one of {graphs[at].size[axis]}, "
                    f"which is another ratio"
                )
    return ""


def _without_period(graph: ModelGraph, found: Comparison, why: str) -> Sizing:
    """The graph with the scales of its nodes, as they show between sizes."""
    graphs = (graph, *found.others)
    scales = []
    for axis in (0, 1):
        strides = node_strides(graph, axis)
        shown = [_scale(graphs, index, axis) for index in range(len(graph.nodes))]
        if found.others and shown[graph.output] is None:
            blocker = _does_not_follow(graphs, shown.index(None), axis)
            return Sizing(graph, found, (blocker,), why)
        scales.append([one or stride for one, stride in zip(shown, strides, strict=True)])
    return Sizing(replace(graph, scales=tuple(zip(*scales, strict=True))), found, (), why)


def _scale(graphs: Sequence[ModelGraph], index: int, axis: int) -> Fraction | None:
    """Image px per px of a node, simple, by which its sizes follow up to rounding; None if none."""
    (image, size), *others = [(g.size[axis], g.nodes[index].grid[axis]) for g in graphs]
    more = [(n - image, m - size) for n, m in others if n != image]
    by, grown = max(more, default=(0, 0), key=lambda one: abs(one[0]))
    if by * grown <= 0:
        return None
    for denominator in range(1, MOST_PARTS + 1):
        scale = Fraction(round(Fraction(by * denominator, grown)), denominator)
        if scale and all(abs(n / scale - m) <= 1 for n, m in more):
            return scale
    return None


def _does_not_follow(graphs: Sequence[ModelGraph], index: int, axis: int) -> Blocker:
    node = graphs[0].nodes[index]
    sizes = ", ".join(f"{g.nodes[index].grid[axis]} px for {g.size[axis]}" for g in graphs)
    reason = f"its size along {'yx'[axis]} does not follow the image's: {sizes}"
    return Blocker(node.layer, node.op, reason)


def carried_scales(
    scales: tuple[tuple[Fraction, Fraction], ...],
    graph: ModelGraph,
    stride: tuple[Fraction, Fraction],
) -> tuple[tuple[Fraction, Fraction], ...]:
    """Scales of a graph at another size, where the model may pad and cut by other ops."""
    if len(scales) == len(graph.nodes):
        return scales
    rows, columns = (node_strides(graph, axis) for axis in (0, 1))
    own = list(zip(rows, columns, strict=True))
    own[graph.output] = stride
    return tuple(own)


def uneven_graphs(
    programs: Programs, graph: ModelGraph, output: str, stride: tuple[Fraction, Fraction]
) -> tuple[ModelGraph, ...]:
    """Graphs of a model without a period at sizes some px larger, which round otherwise."""
    found = []
    for more in UNEVEN_PX:
        other = _retraced(programs, (graph.size[0] + more, graph.size[1] + more), output)
        if graph.scales is not None and other is not None:
            found.append(replace(other, scales=carried_scales(graph.scales, other, stride)))
    return tuple(found)
