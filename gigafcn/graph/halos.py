"""How far does an output pixel, or a tile of whole periods, reach beyond its own place at most?

Where every place of a phase is like any other, one period in the middle shows it.  Resizes with
weights that depend on the place, resizes at the border, and mirrored borders are not alike: there
the needs of every output position are composed backward at once, as arrays of first and last.
"""

from __future__ import annotations

from math import ceil, floor
from typing import TYPE_CHECKING

import numpy as np

from gigafcn.geometry import Span
from gigafcn.graph.reach import Halo, output_period
from gigafcn.graph.rules.regroup import PixelView
from gigafcn.graph.rules.resample import Bilinear
from gigafcn.graph.rules.shape import BorderPad
from gigafcn.graph.rules.taps import TapResize
from gigafcn.graph.strides import Resize, rule_stride, shift_invariant

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from fractions import Fraction

    from numpy.typing import NDArray

    from gigafcn.graph.model_graph import ModelGraph
    from gigafcn.graph.rules import Rule

    Positions = NDArray[np.int64]

FAR = np.iinfo(np.int64).max // 4
"""Beyond any position: an empty need starts there and ends at its negative."""


def halo(graphs: Sequence[ModelGraph], stride: tuple[Fraction, Fraction], *, aligned: bool) -> Halo:
    """(top, bottom, left, right) input px of an output pixel, or of a tile of whole periods.

    For output px j with input cell ``[floor(j * stride), ceil((j + 1) * stride))`` these are
    ``cell.start - need.start`` and ``need.stop - cell.stop``, the most of all places; px that read
    nothing count for none.

    Parameters
    ----------
    graphs
        Of one model at one image size or several; the most of all counts.
    stride
        Input px (y, x) per output px.
    aligned
        Whether tiles of whole periods are meant.
    """
    y, x = (
        [_margins(graph, axis, stride[axis], aligned=aligned) for graph in graphs]
        for axis in (0, 1)
    )
    return max(y)[0], max(after for _, after in y), max(x)[0], max(after for _, after in x)


def _margins(graph: ModelGraph, axis: int, stride: Fraction, *, aligned: bool) -> tuple[int, int]:
    """The most (before, after) of all pixels, or of all tiles of one whole period."""
    length, size = output_period(graph, axis), graph.result.grid[axis]
    width = length if aligned else 1
    found: list[tuple[int, int]] = []
    if not _alike_everywhere(graph):
        found.append(_everywhere(graph, axis, stride, width))
    reach = sum(found[0]) + length * stride if found else 0
    if not found or (length <= size and 2 * reach >= graph.size[axis]):
        # Of images smaller than two footprints, which the borders cut, the middle shows more.
        found += _in_the_middle(graph, axis, stride, width)
    if not found:
        return 0, 0
    return max(before for before, _ in found), max(after for _, after in found)


def _in_the_middle(
    graph: ModelGraph, axis: int, stride: Fraction, width: int
) -> Iterable[tuple[int, int]]:
    """(before, after) of the tiles of a width in one period, as if there were no edges."""
    length = output_period(graph, axis)
    start = graph.result.grid[axis] // 2 // length * length
    for j in range(start, start + length, width):
        need = graph.need(Span(j, j + width), axis, clip=False)
        if not need.is_empty:
            yield floor(j * stride) - need.start, need.stop - ceil((j + width) * stride)


def _alike_everywhere(graph: ModelGraph) -> bool:
    """Whether neither the place in the image nor its border makes a need another one."""
    unlike = (BorderPad, Bilinear, TapResize)
    return shift_invariant(graph) and not any(isinstance(n.rule, unlike) for n in graph.nodes)


def _everywhere(graph: ModelGraph, axis: int, stride: Fraction, width: int) -> tuple[int, int]:
    """The most (before, after) of all tiles of a width, each cut to the image."""
    size = graph.result.grid[axis]
    start = np.arange(0, size, width, dtype=np.int64)
    stop = np.minimum(start + width, size)
    first, last = _needs(graph, axis, start, stop)
    before = start * stride.numerator // stride.denominator - first
    after = last + (-stop * stride.numerator) // stride.denominator
    read = first < last
    if not read.any():
        return 0, 0
    return int(before[read].max()), int(after[read].max())


def _needs(
    graph: ModelGraph, axis: int, start: Positions, stop: Positions
) -> tuple[Positions, Positions]:
    """Image px that each of many output spans depends on, cut to the image."""
    known: dict[int, tuple[Positions, Positions]] = {graph.output: (start, stop)}
    for index in range(graph.output, 0, -1):
        if index not in known:
            continue
        node = graph.nodes[index]
        assert node.rule is not None
        need = _read(node.rule, axis, node.grid[axis], *known.pop(index))
        for source in node.inputs:
            size = graph.nodes[source].grid[axis]
            first, last = np.maximum(need[0], 0), np.minimum(need[1], size)
            empty = first >= last
            first, last = np.where(empty, FAR, first), np.where(empty, -FAR, last)
            if source in known:
                before = known[source]
                first, last = np.minimum(first, before[0]), np.maximum(last, before[1])
            known[source] = first, last
    nothing = np.full_like(start, FAR)
    return known.get(0, (nothing, -nothing))


def _read(
    rule: Rule, axis: int, size: int, start: Positions, stop: Positions
) -> tuple[Positions, Positions]:
    """What a rule reads for many spans of its output, from what it reads for single positions."""
    probe = Span(0, 1)
    if rule.need(probe, axis) is probe:  # given back as it is, as any other would be
        return start, stop
    firsts, lasts = _singles(rule, axis, size)
    read = start < stop
    low, high = np.where(read, start, 0), np.where(read, stop, 1)
    first, last = _least(firsts, low, high), -_least(-lasts, low, high)
    return np.where(read, first, FAR), np.where(read, last, -FAR)


def _singles(rule: Rule, axis: int, size: int) -> tuple[Positions, Positions]:
    """First and last that each of a rule's output positions reads."""
    if isinstance(rule, Resize):
        return rule.reads(Span(0, size), axis)
    every = np.arange(size, dtype=np.int64)
    if isinstance(rule, BorderPad):
        before, inner = rule.before[axis], rule.grid[axis]
        edges = [*range(before), *range(before + inner, size)]
        first, last = every - before, every - before + 1
        first[edges], last[edges] = _needs_of(rule, axis, edges)
        return first, last
    # All others do the same again after some positions, some input positions farther.
    stride = rule_stride(rule, axis)
    cycle, step = stride.denominator, stride.numerator
    if isinstance(rule, PixelView):
        cycle, step = rule.merged[axis], rule.split[axis]
    first, last = _needs_of(rule, axis, range(cycle))
    shift = every // cycle * step
    return first[every % cycle] + shift, last[every % cycle] + shift


def _needs_of(rule: Rule, axis: int, positions: Iterable[int]) -> tuple[Positions, Positions]:
    needs = [rule.need(Span(i, i + 1), axis) for i in positions]
    first = [FAR if need.is_empty else need.start for need in needs]
    last = [-FAR if need.is_empty else need.stop for need in needs]
    return np.array(first, np.int64), np.array(last, np.int64)


def _least(values: Positions, start: Positions, stop: Positions) -> Positions:
    """Smallest value of each span, from those of spans of 1, 2, 4, ... positions."""
    power = np.frexp((stop - start).astype(np.float64))[1] - 1
    found = np.empty_like(start)
    table = values
    for k in range(int(power.max()) + 1):
        here = power == k
        found[here] = np.minimum(table[start[here]], table[stop[here] - (1 << k)])
        table = np.minimum(table[: -(1 << k)], table[1 << k :])
    return found
