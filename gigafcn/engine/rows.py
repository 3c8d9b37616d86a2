"""The pixels that a node carries from one block to later ones.

Every block of a strip has a slab: the node's columns that readers in this block need, that is the
columns kept from blocks to the left and the block's own.  A slab holds the rows kept from earlier
strips, then the current strip's.  Columns that two blocks need stand in both slabs, so that what a
reader asks for is contiguous in memory and no window has to be copied.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gigafcn.geometry import Box, Span
from gigafcn.graph.rules.registry import IMAGE_AXES

if TYPE_CHECKING:
    from gigafcn.graph.model_graph import Node
    from gigafcn.plan.sweep_plan import SweepPlan


class CarriedPixels:
    """Slabs of one node.

    Rows move to the front only when the slabs are full.  They have room for as many extra rows as
    they keep, so that a long delay line is not moved at every strip.

    Parameters
    ----------
    fixed
        Move rows at every strip, so that strips that are alike find theirs at the same place.
    """

    def __init__(
        self, plan: SweepPlan, index: int, node: Node, like: Tensor, *, fixed: bool = False
    ) -> None:
        rows, columns = plan.rows[index], plan.columns[index]
        self._height = rows.slab_height
        self._y, self._x = node.axes.index("y"), node.axes.index("x")
        self._columns = columns.slabs
        self._first = self._end = rows.hull.start
        self._fixed = fixed
        self.slabs = [self._empty(node, span.size, like) for span in self._columns]
        """One per block."""

    def _empty(self, node: Node, width: int, like: Tensor) -> Tensor:
        shape = [
            {"y": self._height, "x": width}.get(label, size)
            for label, size in zip(node.axes, node.shape, strict=True)
        ]
        layout = torch.channels_last if node.axes == IMAGE_AXES else torch.contiguous_format
        slab = torch.empty(shape, dtype=like.dtype, device=like.device, memory_format=layout)
        # Copies are compared, and what was in memory before may be no number.
        return slab.zero_() if self._fixed else slab

    @property
    def rows(self) -> tuple[int, int]:
        """The first row of the slabs, and the one after the last that was computed."""
        return self._first, self._end

    @rows.setter
    def rows(self, rows: tuple[int, int]) -> None:
        self._first, self._end = rows

    def box(self, block: int) -> Box:
        """Position of a block's slab in the node's own pixels."""
        columns = self._columns[block]
        return Box(self._first, columns.start, self._first + self._height, columns.stop)

    def slab(self, block: int) -> Tensor:
        """Pixels of :meth:`box`, of which only what was put there means anything."""
        return self.slabs[block]

    def make_room(self, keep: int, stop: int) -> None:
        """Forget rows before ``keep`` if rows up to ``stop`` would not fit otherwise."""
        if keep <= self._first or (stop - self._first <= self._height and not self._fixed):
            return
        kept = max(0, self._end - keep)
        for slab in self.slabs:
            rows = slab.narrow(self._y, keep - self._first, kept)
            if kept > keep - self._first:
                rows = rows.clone()
            slab.narrow(self._y, 0, kept).copy_(rows)
        self._first = keep

    def end_strip(self, rows: Span) -> None:
        """Note that these rows have been computed in every block."""
        self._end = rows.stop if not rows.is_empty else self._end

    def row_stride(self, slab: Tensor) -> int:
        """Numbers from one row of a slab to the next."""
        return slab.stride(self._y)

    def place(self, block: int, box: Box) -> Tensor:
        """View of the slab that newly computed pixels belong to."""
        return self._part(block, box.y, box.x)

    def carry_columns(self, block: int, rows: Span) -> None:
        """Copy what this block needs of the columns to its left into its slab."""
        if block == 0:
            return
        shared = self._columns[block].intersect(self._columns[block - 1])
        if not shared.is_empty:
            self._part(block, rows, shared).copy_(self._part(block - 1, rows, shared))

    def _part(self, block: int, rows: Span, columns: Span) -> Tensor:
        narrowed = self.slabs[block].narrow(self._y, rows.start - self._first, rows.size)
        start = columns.start - self._columns[block].start
        return narrowed.narrow(self._x, start, columns.size)
