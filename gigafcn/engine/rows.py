"""The rows that a node carries from one strip to the next."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gigafcn.geometry import Box
from gigafcn.graph.rules.registry import IMAGE_AXES

if TYPE_CHECKING:
    from gigafcn.graph.model_graph import Node
    from gigafcn.plan.sweep_plan import SweepPlan


class CarriedRows:
    """A full-width buffer of one node: rows kept from earlier strips, then the current strip's.

    Rows move to the front only when the buffer is full.  It has room for as many extra rows as it
    keeps, so that a long delay line is not moved at every strip.
    """

    def __init__(self, plan: SweepPlan, index: int, node: Node, like: Tensor) -> None:
        demand = plan.rows[index]
        spare = max(0, demand.largest_carry - demand.largest_new)
        height = min(demand.largest_held + spare, demand.hull.size)
        hull = plan.hull(index)
        shape = [
            {"y": height, "x": hull.x.size}.get(label, size)
            for label, size in zip(node.axes, node.shape, strict=True)
        ]
        layout = torch.channels_last if node.axes == IMAGE_AXES else torch.contiguous_format
        self._tensor = like.new_empty(shape).contiguous(memory_format=layout)
        self._y, self._x = node.axes.index("y"), node.axes.index("x")
        self._columns = hull.x
        self._first = hull.y.start
        self._end = hull.y.start

    @property
    def box(self) -> Box:
        """Position of the buffer in the node's own pixels."""
        height = self._tensor.shape[self._y]
        return Box(self._first, self._columns.start, self._first + height, self._columns.stop)

    @property
    def tensor(self) -> Tensor:
        """Pixels of :attr:`box`, of which only what was put there means anything."""
        return self._tensor

    def make_room(self, keep: int, stop: int) -> None:
        """Forget rows before ``keep`` if rows up to ``stop`` would not fit otherwise."""
        if stop - self._first <= self._tensor.shape[self._y]:
            return
        kept = self._end - keep
        rows = self._tensor.narrow(self._y, keep - self._first, kept)
        if kept > keep - self._first:
            rows = rows.clone()
        self._tensor.narrow(self._y, 0, kept).copy_(rows)
        self._first = keep

    def put(self, box: Box, pixels: Tensor) -> None:
        """Store newly computed pixels."""
        rows = self._tensor.narrow(self._y, box.y0 - self._first, box.y.size)
        rows.narrow(self._x, box.x0 - self._columns.start, box.x.size).copy_(pixels)
        self._end = box.y1
