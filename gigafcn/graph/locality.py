"""Does what a model computes grow with the image?  Its graphs at several image sizes, compared.

Sizes are baked into an exported graph: a pool over a sixteenth of a 256 px image looks like one
over 16 px, a thumbnail of 256 px like no resize at all.  So the model is traced at other sizes too,
multiples of its period that are coprime and differ between y and x.  It is local if at all of them
it does the same ops with the same parameters, and each op makes tensors whose size follows from
its input's by its stride: then every read lies within a fixed distance of its own place.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from fractions import Fraction
from math import lcm
from typing import TYPE_CHECKING, Any

from torch import Tensor

from gigafcn.errors import ModelError
from gigafcn.graph.model_graph import Blocker, ModelGraph
from gigafcn.graph.strides import Resize, period, rule_stride

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gigafcn.graph.model_graph import Node
    from gigafcn.graph.programs import Programs

Pair = tuple[int, int]
Sizes = tuple[Pair, Pair]

LEAST_UNIT, LEAST = 96, 192
"""Px of which sizes are made, and of the smallest: deep layers of smaller images may have none."""

DIVISIBLE = 192
"""Px: what a model pads to most likely divides it."""

LARGEST_PERIOD = 4096
"""Px: images of larger periods hold too many px for the constants that some models make of them."""

ROUNDED_FROM = 16
"""Px from which on rounding of a size is told apart from a size that stays."""

APART, ROUNDED_BY = 64, 2
"""Px from which on two sizes are far apart, and by which rounding may move sizes in deep layers."""

GENERAL = ("arguments", "options")
"""Fields of rules in which arguments of any op are kept, without names."""

FOLLOWING = ("grid", "out_grid", "shape", "scales", "precision")
"""Fields of rules that follow from sizes of tensors, which are compared on their own."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """What comparing a model's graph with those at other image sizes showed."""

    others: tuple[ModelGraph, ...]
    """Graphs at other sizes that do the same."""

    blockers: tuple[Blocker, ...] = ()
    """What grows with the image, or what is done at some sizes only."""

    only: Pair | None = None
    """The one image size (y, x) that the model takes, if it takes none of the others."""


def compared(programs: Programs, graph: ModelGraph, output: str) -> Comparison:
    """Trace a model at other sizes than a graph's, and compare.

    Parameters
    ----------
    programs
        Traces of the model.
    graph
        Of one of its outputs.
    output
        Name of that output.
    """
    refused: tuple[Blocker, ...] = ()
    for sizes in _likely_sizes(graph):
        found = _compared(programs, graph, output, sizes)
        if found is not None and not found.blockers:
            return found
        refused = refused or (found.blockers if found else ())
    if refused:
        return Comparison((), refused)
    tried = (_compared(programs, graph, output, sizes) for sizes in _other_sizes(graph))
    return next(filter(None, tried), Comparison((), only=graph.size))


def _compared(
    programs: Programs, graph: ModelGraph, output: str, sizes: Sizes
) -> Comparison | None:
    """What two other sizes show; None if the model does not take such images."""
    try:
        found = [programs.at(size).choose(output) for size in sizes]
    except ModelError:
        return None
    others = tuple(other.graph for other in found if other.graph is not None)
    blockers = dict.fromkeys(blocker for other in found for blocker in other.blockers)
    return Comparison(others, tuple(blockers) or growing((graph, *others)))


def _likely_sizes(graph: ModelGraph) -> Iterator[Sizes]:
    """Pairs of sizes (y, x) in px to trace at, until the model does the same at one.

    First sizes alike modulo the period; then modulo more, for models that pad or round by other
    numbers than their strides.  Heights, widths, shorter and longer sides of a pair all differ.
    """
    periods, units = _units(graph)
    rests = [n % p for n, p in zip(graph.size, periods, strict=True)]
    yield _sizes(rests, units, ((3, 4), (7, 5)))
    larger = [lcm(unit, DIVISIBLE) for unit in units]
    rests = [n % u for n, u in zip(graph.size, larger, strict=True)]
    least = [n if n >= LEAST else n + u for n, u in zip(rests, larger, strict=True)]
    yield _sizes(least, larger, ((0, 1), (2, 3)))


def _other_sizes(graph: ModelGraph) -> Iterator[Sizes]:
    """The same for models that take none of those: multiples of the graph's size, and squares."""
    yield _sizes((0, 0), graph.size, ((1, 2), (3, 2)))
    if graph.size[0] == graph.size[1]:
        _, units = _units(graph)
        yield _sizes((0, 0), units, ((3, 3), (7, 7)))
        yield _sizes((0, 0), graph.size, ((2, 2), (3, 3)))


def _units(graph: ModelGraph) -> tuple[list[int], list[int]]:
    """Periods (y, x) in px, and multiples of them of which sizes are made."""
    given = [period(graph, axis, sized=False) for axis in (0, 1)]
    periods = [p if p <= LARGEST_PERIOD else 1 for p in given]
    return periods, [-(-LEAST_UNIT // p) * p for p in (lcm(p, 32) for p in periods)]


def _sizes(rest: Sequence[int], unit: Sequence[int], times: Sizes) -> Sizes:
    """Two sizes: a rest and so many units."""
    first, second = (
        [r + u * n for r, u, n in zip(rest, unit, each, strict=True)] for each in times
    )
    return (first[0], first[1]), (second[0], second[1])


def growing(graphs: Sequence[ModelGraph]) -> tuple[Blocker, ...]:
    """The first op that is not the same in all graphs of a model, if there is one."""
    sizes = [graph.size for graph in graphs]
    for index in range(1, max(len(graph.nodes) for graph in graphs)):
        nodes = [graph.nodes[index] for graph in graphs if index < len(graph.nodes)]
        reason = _other_op(nodes, graphs) or _other_parameter(nodes, sizes)
        reason = reason or _other_extent(nodes, graphs)
        if reason:
            return (Blocker(nodes[0].layer, nodes[0].op, reason),)
    return ()


def _other_op(nodes: Sequence[Node], graphs: Sequence[ModelGraph]) -> str | None:
    """Whether the model does something else at another size."""
    kinds = {
        (node.op, node.layer, node.inputs, node.axes, type(node.rule), _channels(node))
        for node in nodes
    }
    if len(kinds) == 1 and len(nodes) == len(graphs):
        return None
    sizes = " and ".join(f"{y} x {x}" for y, x in dict.fromkeys(graph.size for graph in graphs))
    return f"the model does not do the same at all image sizes: it differs between {sizes} px"


def _channels(node: Node) -> tuple[int, ...]:
    """Sizes of all dimensions but y and x."""
    sizes = zip(node.axes, node.shape, strict=True)
    return tuple(size for label, size in sizes if label not in ("y", "x"))


def _other_parameter(nodes: Sequence[Node], sizes: Sequence[Pair]) -> str | None:
    """The first parameter that depends on the image's size, and how."""
    first, *others = (node.rule for node in nodes)
    names = [f.name for f in fields(first)]  # type: ignore[arg-type]  # all rules are dataclasses
    for name in names:
        if name in FOLLOWING:
            continue
        for other, size in zip(others, sizes[1:], strict=True):
            given, there = _differing(getattr(first, name), getattr(other, name))
            if given is not there:
                what = "a number or constant in it" if name in GENERAL else f"its {name}"
                return (
                    f"{what} is {_shown(given)} for an image of {sizes[0][0]} x {sizes[0][1]} px "
                    f"and {_shown(there)} for one of {size[0]} x {size[1]} px: it changes with "
                    f"the image"
                )
    return None


def _differing(one: Any, other: Any) -> tuple[Any, Any]:
    """The first items in which two parameters differ; twice the same if they are equal."""
    if isinstance(one, tuple | list) and isinstance(other, tuple | list) and len(one) == len(other):
        if all(isinstance(item, int) for item in (*one, *other)):
            return (one, one) if one == other else (one, other)
        pairs = (_differing(*items) for items in zip(one, other, strict=True))
        return next(((a, b) for a, b in pairs if a is not b), (one, one))
    return (one, one) if _same(one, other) else (one, other)


def _same(one: Any, other: Any) -> bool:
    """Whether two numbers or tensors are equal, the latter by value."""
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        if one.shape != other.shape or one.dtype != other.dtype:
            return False
        if one.data_ptr() == other.data_ptr() and one.stride() == other.stride():
            return True
        return bool(((one == other) | ((one != one) & (other != other))).all())
    if type(one) is not type(other) or isinstance(one, tuple | list):  # of other lengths
        return False
    return bool(one == other or (one != one and other != other))


def _shown(value: Any) -> str:
    if isinstance(value, Tensor):
        if value.numel() == 1:
            return f"{value.item():g}"
        return f"a tensor of shape {tuple(value.shape)} with sum {float(value.sum()):g}"
    return str(value)


def _other_extent(nodes: Sequence[Node], graphs: Sequence[ModelGraph]) -> str | None:
    """Whether a tensor's size does not follow from its input's by the op's stride."""
    for axis in (0, 1):
        before = [
            graph.nodes[node.inputs[0]].grid[axis]
            for node, graph in zip(nodes, graphs, strict=True)
        ]
        after = [node.grid[axis] for node in nodes]
        if not _follows(nodes[0], axis, before, after):
            pairs = ", ".join(f"{n} of {m}" for m, n in zip(before, after, strict=True))
            return (
                f"makes px along {'yx'[axis]} that do not follow from the image's size by one "
                f"stride ({pairs}): it takes a part of the image or gives a fixed size"
            )
    return None


def _follows(node: Node, axis: int, before: Sequence[int], after: Sequence[int]) -> bool:
    more = [(m - before[0], n - after[0]) for m, n in zip(before, after, strict=True)]
    if isinstance(node.rule, Resize):
        largest = max(more, key=lambda grown: abs(grown[0]))
        affine = all(n * largest[0] == m * largest[1] for m, n in more)
        if affine and (largest[0] == 0) == (largest[1] == 0):
            return True
        if min(*before, *after) >= ROUNDED_FROM and _one_ratio(before, after):
            return True
        return min(map(abs, largest)) >= APART and _rounded(more, Fraction(*reversed(largest)))
    assert node.rule is not None
    stride = rule_stride(node.rule, axis)
    return all(abs(n * stride - m) < max(Fraction(1), stride) for m, n in more)


def _rounded(more: Sequence[Pair], ratio: Fraction) -> bool:
    """Whether sizes that are far apart grow in one ratio, each rounded."""
    return all(abs(n - m * ratio) <= ROUNDED_BY for m, n in more)


def _one_ratio(before: Sequence[int], after: Sequence[int]) -> bool:
    """Whether sizes have one ratio, both rounded to whole px."""
    pairs = list(zip(before, after, strict=True))
    return max((n - 1) / (m + 1) for m, n in pairs) < min((n + 1) / (m - 1) for m, n in pairs)
