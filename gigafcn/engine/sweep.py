"""Run one tile as a sweep: blocks left to right, strips top to bottom, nothing computed twice.

Each node computes, in each block, one rectangle that no other block computes.  What later blocks
still need is kept in full-width row buffers (:mod:`gigafcn.engine.rows`); everything else is
freed as soon as its last reader has run.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gigafcn.engine.rows import CarriedRows
from gigafcn.geometry import Box
from gigafcn.graph.rules.pointwise import Pointwise, ScaleShift
from gigafcn.graph.rules.window import AveragePool, Convolution, MaxPool, TransposedConvolution

if TYPE_CHECKING:
    from gigafcn.graph.model_graph import ModelGraph
    from gigafcn.plan.sweep_plan import SweepPlan

Read = Callable[[Box], Tensor]
"""Gives the model's input (1, c, y, x) for a box of the padded image."""

Write = Callable[[Box, Tensor], None]
"""Takes the model's output (1, c, y, x) for a box of the map."""

Observe = Callable[[int, Box], None]
"""Told of every rectangle that a node computes."""

_FRESH = (AveragePool, Convolution, MaxPool, Pointwise, ScaleShift, TransposedConvolution)
"""Rules whose result is memory of its own, which a sole reader may overwrite."""


@dataclass(slots=True)
class _Pixels:
    """What a node computed in the current block."""

    box: Box
    tensor: Tensor


class Sweep:
    """Executes the plan of one tile on a placed graph."""

    def __init__(self, graph: ModelGraph, plan: SweepPlan, observe: Observe | None = None) -> None:
        self._graph = graph
        self._plan = plan
        self._observe = observe
        self._buffers: dict[int, CarriedRows] = {}
        self._carried = [plan.carried(index) for index in range(len(graph.nodes))]
        self._overwrites = [self._may_overwrite(index) for index in range(len(graph.nodes))]
        self._last_reader = [max(readers, default=-1) for readers in graph.consumers]
        self._like = _computing(graph)

    def run(self, read: Read, write: Write) -> None:
        """Compute the tile, reading each input pixel once and writing each output pixel once."""
        self._buffers.clear()
        for strip in range(len(self._plan.strips)):
            self._make_room(strip)
            for block in range(len(self._plan.blocks)):
                self._step(strip, block, read, write)

    def _make_room(self, strip: int) -> None:
        for index, buffer in self._buffers.items():
            demand = self._plan.rows[index]
            if not demand.new[strip].is_empty:
                buffer.make_room(demand.keep[strip - 1], demand.new[strip].stop)

    def _step(self, strip: int, block: int, read: Read, write: Write) -> None:
        fresh: dict[int, _Pixels] = {}
        for index, node in enumerate(self._graph.nodes):
            box = self._plan.new(index, strip, block)
            if box.is_empty:
                continue
            if node.rule is None:
                tensor = self._like = read(box)
            else:
                tensor = self._compute(index, box, fresh)
            if self._observe is not None:
                self._observe(index, box)
            if self._carried[index]:
                self._keep(index, box, tensor)
            if index == self._graph.output:
                write(box, tensor)
            fresh[index] = _Pixels(box, tensor)
            for source in node.inputs:
                if self._last_reader[source] == index:
                    fresh.pop(source, None)

    def _compute(self, index: int, box: Box, fresh: dict[int, _Pixels]) -> Tensor:
        node = self._graph.nodes[index]
        rule = node.rule
        assert rule is not None
        need = Box.of(rule.need(box.y, 0), rule.need(box.x, 1))
        tensors: list[Tensor] = []
        boxes: list[Box] = []
        for source in node.inputs:
            held = self._held(source, need.clip(self._graph.nodes[source].grid), fresh)
            tensors.append(held.tensor)
            boxes.append(held.box)
        # A truth value cannot hold the sum that an addition makes of it.
        real = tensors[0].is_floating_point()
        if self._overwrites[index] and isinstance(rule, Pointwise) and real:
            return rule.overwrite(tensors, boxes, box)
        return rule.run(tensors, boxes, box)

    def _held(self, source: int, need: Box, fresh: dict[int, _Pixels]) -> _Pixels:
        """Where a node's needed pixels are: in this block's result, or in its row buffer."""
        pixels = fresh.get(source)
        if pixels is not None and (pixels.box.contains(need) or source not in self._buffers):
            return pixels
        buffer = self._buffers.get(source)
        if buffer is None:
            return _Pixels(Box(0, 0, 0, 0), self._nothing(source))
        return _Pixels(buffer.box, buffer.tensor)

    def _nothing(self, source: int) -> Tensor:
        """No pixels of a node: for boxes that lie wholly in padding or between what it reaches."""
        node = self._graph.nodes[source]
        sizes = zip(node.axes, node.shape, strict=True)
        return self._like.new_empty([0 if label in ("y", "x") else size for label, size in sizes])

    def _keep(self, index: int, box: Box, tensor: Tensor) -> None:
        buffer = self._buffers.get(index)
        if buffer is None:
            node = self._graph.nodes[index]
            buffer = self._buffers[index] = CarriedRows(self._plan, index, node, tensor)
        buffer.put(box, tensor)

    def _may_overwrite(self, index: int) -> bool:
        """Whether a node is the only reader of its first input's own memory."""
        node = self._graph.nodes[index]
        if not isinstance(node.rule, Pointwise) or node.rule.overwriting is None:
            return False
        source = node.inputs[0]
        return (
            self._graph.consumers[source] == (index,)
            and source != self._graph.output
            and self._graph.nodes[source].shape == node.shape
            and not self._carried[source]
            and isinstance(self._graph.nodes[source].rule, _FRESH)
        )


def _computing(graph: ModelGraph) -> Tensor:
    """Any tensor of the computing precision and device: a weight if there is one."""
    for node in graph.nodes:
        for name in getattr(node.rule, "__dataclass_fields__", ()):
            value = getattr(node.rule, name)
            if isinstance(value, Tensor) and value.is_floating_point():
                return value
    return torch.empty(0)
