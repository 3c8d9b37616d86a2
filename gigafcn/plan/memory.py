"""How much memory a sweep takes, from the sizes of its boxes, before anything is allocated."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from gigafcn.plan.demand import PlannedNode

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gigafcn.plan.sweep_plan import SweepPlan


class SizedNode(PlannedNode, Protocol):
    """A node whose pixels have a known number of values."""

    @property
    def channels(self) -> int:
        """Values per pixel."""
        ...


def sweep_bytes(nodes: Sequence[SizedNode], output: int, plan: SweepPlan, item: int) -> int:
    """Bytes of carried rows and of the busiest block, for values of ``item`` bytes."""
    carried = sum(_carried_values(nodes[i], plan, i) for i in range(len(nodes)) if plan.carried(i))
    return item * (carried + _busiest_block(nodes, output, plan))


def _carried_values(node: SizedNode, plan: SweepPlan, index: int) -> int:
    width = sum(span.size for span in plan.columns[index].slabs)
    return node.channels * plan.rows[index].slab_height * width


def _busiest_block(nodes: Sequence[SizedNode], output: int, plan: SweepPlan) -> int:
    """Most values alive at once within a block, each node at its largest.

    A result lives until its last reader has run.  Twice the largest is added: the copy of a window
    that a convolution makes contiguous, and the result it writes.
    """
    last = list(range(len(nodes)))
    for index, node in enumerate(nodes):
        for source in node.inputs:
            last[source] = max(last[source], index)
    sizes = [
        node.channels * plan.rows[i].largest_new * plan.columns[i].largest_new
        for i, node in enumerate(nodes)
    ]
    alive = most = 0
    ends: dict[int, int] = {}
    for index, size in enumerate(sizes):
        alive += size
        most = max(most, alive)
        ends[last[index]] = ends.get(last[index], 0) + size
        alive -= ends.pop(index, 0)
    return most + 2 * max(sizes)
