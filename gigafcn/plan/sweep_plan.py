"""The sweep of one tile as data: strips, blocks, and every node's demand along both axes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gigafcn.geometry import Box, Span
from gigafcn.plan.demand import NodeDemand, PlannedNode, axis_demand, cut

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class SweepPlan:
    """How one tile is walked: row of blocks by row of blocks, left to right."""

    tile: Box
    """Output pixels."""

    strips: tuple[Span, ...]
    """Output rows of each step down."""

    blocks: tuple[Span, ...]
    """Output columns of each step to the right."""

    rows: tuple[NodeDemand, ...]
    """Demand of every node along y."""

    columns: tuple[NodeDemand, ...]
    """Demand of every node along x."""

    def carried(self, node: int) -> bool:
        """Whether a node's pixels outlive the block that computes them."""
        return self.rows[node].carries or self.columns[node].carries

    @property
    def window(self) -> Box:
        """Input pixels that the tile reads."""
        return self.hull(0)

    def hull(self, node: int) -> Box:
        """All pixels that a node computes for the tile."""
        return Box.of(self.rows[node].hull, self.columns[node].hull)

    def new(self, node: int, strip: int, block: int) -> Box:
        """Pixels that a node computes in one block."""
        return Box.of(self.rows[node].new[strip], self.columns[node].new[block])


def plan_sweep(
    nodes: Sequence[PlannedNode],
    output: int,
    tile: Box,
    *,
    strip: int,
    block: int,
    period: tuple[int, int],
) -> SweepPlan:
    """Plan the sweep of one tile.

    Parameters
    ----------
    nodes, output
        The graph.
    tile
        Output box.
    strip, block
        Height of a strip and width of a block in output px.
    period
        Output px (y, x) on whose multiples strips and blocks are cut, so that shapes repeat.
    """
    strips = cut(tile.y, strip, period[0])
    blocks = cut(tile.x, block, period[1])
    rows = axis_demand(nodes, output, strips, 0)
    columns = axis_demand(nodes, output, blocks, 1)
    return SweepPlan(tile, strips, blocks, rows, columns)
