"""Which strips of a sweep are alike, but for where they are?

Strips are cut on whole periods, so between the first ones, which meet the image's top or fill the
halo, and the last, every node computes boxes of one size from rows at the same places of what it
keeps.  Such strips are steady: what computes one computes all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gigafcn.geometry import Span

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gigafcn.plan.demand import NodeDemand, PlannedNode


def steady_strips(nodes: Sequence[PlannedNode], rows: Sequence[NodeDemand]) -> range:
    """The longest run of strips that are each like the one before it.

    Parameters
    ----------
    nodes
        In topological order, the image first.
    rows
        Demand of every node along y.
    """
    best = start = range(0)
    carried = [demand.carries for demand in rows]
    for strip in range(2, len(rows[0].new)):
        alike = all(
            _computes_alike(nodes, rows, index, strip)
            and (not carries or _keeps_alike(rows[index], strip))
            for index, carries in enumerate(carried)
        )
        start = range(start.start if start else strip, strip + 1) if alike else range(0)
        best = max(best, start, key=len)
    return best


def shift(demand: NodeDemand, strip: int, since: int) -> int:
    """Rows of a node from one strip to another."""
    return demand.new[strip].start - demand.new[since].start


def _keeps_alike(demand: NodeDemand, strip: int) -> bool:
    """Whether what a node keeps moves on by what it computes."""
    begin, middle, end = demand.keep[strip - 2 : strip + 1]
    moved = shift(demand, strip, strip - 1)
    return (end - middle, middle - begin) == (moved, moved)


def _computes_alike(
    nodes: Sequence[PlannedNode], rows: Sequence[NodeDemand], index: int, strip: int
) -> bool:
    """Whether a node computes in a strip what it did in the one before."""
    node, demand = nodes[index], rows[index]
    now, before = demand.new[strip], demand.new[strip - 1]
    if now.is_empty or now.size != before.size:
        return False
    if node.rule is None:
        return True
    need, needed = node.rule.need(now, 0), node.rule.need(before, 0)
    return all(
        need == needed.shift(shift(rows[source], strip, strip - 1))
        and Span(0, nodes[source].grid[0]).contains(need.hull(needed))
        for source in node.inputs
    )
