"""What every node computes and keeps while a tile is swept: pure arithmetic on spans.

A tile's output rows are cut into strips and its columns into blocks.  Both axes are treated
alike and apart, because the demand of a block is the product of its row and column demands.
Along one axis, for step t with output positions O_t, walking backward through the graph:

1. ``need`` of a node is the hull of what its consumers *newly compute* at this step need of it;
2. ``new`` is that need minus what the node has computed already, so positions are computed once;
3. after step t the node keeps the positions that any later step still needs.

Demand propagates from ``new``, not from ``need``: pixel-wise nodes then keep nothing, only the
inputs of windowed ops and the waiting sides of merges do.  Everything is known before the first
pixel is read.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from gigafcn.geometry import EMPTY, Span

if TYPE_CHECKING:
    from collections.abc import Sequence


class Footprint(Protocol):
    """The one thing planning asks of a rule."""

    def need(self, out: Span, axis: int) -> Span:
        """Input span of an output span."""
        ...


class PlannedNode(Protocol):
    """What planning knows of a node."""

    @property
    def rule(self) -> Footprint | None:
        """None for the image."""
        ...

    @property
    def inputs(self) -> tuple[int, ...]:
        """Nodes it reads."""
        ...

    @property
    def grid(self) -> tuple[int, int]:
        """Whole size (y, x)."""
        ...


@dataclass(frozen=True, slots=True)
class NodeDemand:
    """What one node computes and keeps along one axis, step by step."""

    hull: Span
    """All positions it computes for the tile."""

    new: tuple[Span, ...]
    """Positions computed at each step; together they are disjoint and ascending."""

    keep: tuple[int, ...]
    """First position still needed after each step; ``new[t].stop`` when none is."""

    @property
    def carries(self) -> bool:
        """Whether any position outlives the step that computed it."""
        return self.largest_carry > 0

    @property
    def largest_carry(self) -> int:
        """Most positions held between two steps."""
        ends = _running_ends(self)
        return max(end - keep for end, keep in zip(ends, self.keep, strict=True))

    @property
    def largest_new(self) -> int:
        """Most positions computed at one step."""
        return max(span.size for span in self.new)

    @property
    def slabs(self) -> tuple[Span, ...]:
        """Positions in memory during each step: kept from before, then new."""
        starts = (self.hull.start, *self.keep[:-1])
        return tuple(Span(s, e) for s, e in zip(starts, _running_ends(self), strict=True))

    @property
    def slab_height(self) -> int:
        """Positions to reserve along an axis whose kept ones are moved to the front when full.

        The most that a step holds, and room for as many more as are kept, so that moving them is
        never more work than computing new ones.
        """
        held = max(span.size for span in self.slabs)
        spare = max(0, self.largest_carry - self.largest_new)
        return min(held + spare, self.hull.size)


def _running_ends(demand: NodeDemand) -> list[int]:
    """Position up to which the node has computed after each step."""
    ends, end = [], demand.hull.start
    for span in demand.new:
        end = max(end, span.stop) if not span.is_empty else end
        ends.append(end)
    return ends


def cut(span: Span, step: int, period: int = 1) -> tuple[Span, ...]:
    """Cut a span into pieces of ``step``, with cuts on multiples of ``period``.

    Examples
    --------
    >>> cut(Span(10, 30), 8, 4)
    (Span(start=10, stop=16), Span(start=16, stop=24), Span(start=24, stop=30))
    """
    step = max(period, step // period * period)
    first = (span.start // period) * period + step
    edges = [span.start, *range(first, span.stop, step), span.stop]
    return tuple(Span(a, b) for a, b in itertools.pairwise(edges) if a < b)


def axis_demand(
    nodes: Sequence[PlannedNode], output: int, steps: Sequence[Span], axis: int
) -> tuple[NodeDemand, ...]:
    """Demand of every node along one axis of one tile.

    Parameters
    ----------
    nodes
        In topological order, the image first.
    output
        Index of the node whose positions the steps are.
    steps
        Output spans, ascending and adjacent.
    axis
        0 for y, 1 for x.
    """
    whole = Span(steps[0].start, steps[-1].stop)
    hulls = _needs(nodes, output, whole, axis, None)
    reached = [hull.start for hull in hulls]
    new: list[list[Span]] = [[] for _ in nodes]
    needed_from: list[list[int | None]] = [[] for _ in nodes]
    for step in steps:
        _needs(nodes, output, step, axis, _Progress(reached, new, needed_from))
    # What the last steps read may lie wholly in padding, so a hull can end early.
    done = [Span(hull.start, stop) for hull, stop in zip(hulls, reached, strict=True)]
    return tuple(
        NodeDemand(done[i], tuple(new[i]), _keep(done[i], new[i], needed_from[i]))
        for i in range(len(nodes))
    )


@dataclass(slots=True)
class _Progress:
    """What all nodes have computed so far, and where each step's reading starts."""

    reached: list[int]
    new: list[list[Span]]
    needed_from: list[list[int | None]]

    def advance(self, index: int, need: Span) -> Span:
        """Record a step's need of a node; return what is new in it."""
        start = self.reached[index]
        fresh = Span(start, need.stop) if need.stop > start and not need.is_empty else EMPTY
        if not fresh.is_empty:
            self.reached[index] = fresh.stop
        self.new[index].append(fresh)
        self.needed_from[index].append(None if need.is_empty else need.start)
        return fresh


def _needs(
    nodes: Sequence[PlannedNode],
    output: int,
    out: Span,
    axis: int,
    progress: _Progress | None,
) -> list[Span]:
    """Need of every node for one output span; only what is new propagates if given progress."""
    needs = [EMPTY] * len(nodes)
    needs[output] = out
    for index in range(len(nodes) - 1, -1, -1):
        node = nodes[index]
        span = needs[index] if progress is None else progress.advance(index, needs[index])
        if span.is_empty or node.rule is None:
            continue
        need = node.rule.need(span, axis)
        for source in node.inputs:
            needs[source] = needs[source].hull(need.clip(nodes[source].grid[axis]))
    return needs


def _keep(hull: Span, new: Sequence[Span], needed_from: Sequence[int | None]) -> tuple[int, ...]:
    """First position that any later step needs, for each step."""
    ends, end = [], hull.start
    for span in new:
        end = end if span.is_empty else span.stop
        ends.append(end)
    keep, later = [], None
    for end, start in zip(reversed(ends), reversed(needed_from), strict=True):
        keep.append(end if later is None else min(end, later))
        if start is not None:
            later = start if later is None else min(later, start)
    return tuple(reversed(keep))
