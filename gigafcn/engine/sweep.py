"""Run one tile as a sweep: blocks left to right, strips top to bottom, nothing computed twice.

Each node computes, in each block, one rectangle that no other block computes.  What later blocks
still need is kept in slabs (:mod:`gigafcn.engine.rows`); everything else is
freed as soon as its last reader has run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gigafcn.engine.packed import PackedConvolution
from gigafcn.engine.phased import PhasedConvolution
from gigafcn.engine.playback import Playback, Record, playable
from gigafcn.engine.rows import CarriedPixels
from gigafcn.engine.tape import Origins, Tape, taped
from gigafcn.geometry import Box
from gigafcn.graph.rules.merge import Concatenation
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

_FRESH = (
    AveragePool,
    Convolution,
    MaxPool,
    PackedConvolution,
    PhasedConvolution,
    Pointwise,
    ScaleShift,
    TransposedConvolution,
)
"""Rules whose result is memory of its own, which a sole reader may overwrite."""


@dataclass(slots=True)
class _Pixels:
    """What a node computed in the current block."""

    box: Box
    tensor: Tensor


class Sweep:
    """Executes the plan of one tile on a placed graph.

    Parameters
    ----------
    observe
        Told what every node computes; of strips that are played back, nothing.
    record
        Records steady strips, which are then played back; None computes them all as ever.
    """

    def __init__(
        self,
        graph: ModelGraph,
        plan: SweepPlan,
        observe: Observe | None = None,
        record: Record | None = None,
    ) -> None:
        self._graph = graph
        self._plan = plan
        self._observe = observe
        self._buffers: dict[int, CarriedPixels] = {}
        self._carried = [plan.carried(index) for index in range(len(graph.nodes))]
        self._overwrites = [self._may_overwrite(index) for index in range(len(graph.nodes))]
        self._last_reader = [max(readers, default=-1) for readers in graph.consumers]
        self._like = _computing(graph)
        self._record = record
        self._steady = range(0) if observe is not None else playable(graph, plan)
        self._plays_back = record is not None and bool(self._steady)
        self._tapes: dict[int, Tape | None] = {}

    def run(self, read: Read, write: Write) -> None:
        """Compute the tile, reading each input pixel once and writing each output pixel once."""
        for _ in self.strips(read, write):
            pass

    def strips(self, read: Read, write: Write) -> Iterator[None]:
        """Compute the tile strip by strip, so that another can be computed in between."""
        self._buffers.clear()
        self._tapes.clear()
        playback = self._playback()
        for strip in range(len(self._plan.strips)):
            if playback is not None and playback.takes(strip):
                playback.compute(strip, read, write)
            else:
                self._strip(strip, read, write)
            yield

    def _playback(self) -> Playback | None:
        if self._record is None or not self._steady:
            return None
        return Playback(self._plan, self._steady, self._buffers, self._strip, self._record)

    def _strip(self, strip: int, read: Read, write: Write) -> None:
        self._make_room(strip)
        origins = self._origins(strip)
        for block in range(len(self._plan.blocks)):
            asked = self._plan.new(0, strip, block)
            image = None if asked.is_empty else read(asked)
            # Every node computes in the image's precision, on its device.
            self._like = self._like if image is None else image.new_empty(0)
            made = self._block(strip, block, image, origins)
            if made is not None:
                write(self._plan.new(self._graph.output, strip, block), made)
            del image, made  # before the next block is computed
        for index, buffer in self._buffers.items():
            buffer.end_strip(self._plan.rows[index].new[strip])

    def _block(
        self, strip: int, block: int, image: Tensor | None, origins: Origins
    ) -> Tensor | None:
        """The block's part of the map; None if it has none."""
        if self._plays_back or strip not in self._steady:
            return self._step(strip, block, image)
        tape = self._tapes.get(block)
        if tape is not None and tape.fits(image):
            return tape.play(image, origins)
        if strip > self._steady.start:
            return self._step(strip, block, image)
        made, self._tapes[block] = taped(
            image, lambda: self._step(strip, block, image), self._buffers, origins
        )
        return made

    def _origins(self, strip: int) -> Origins:
        """Where the rows computed in a strip begin in each slab."""
        return {
            index: self._plan.rows[index].new[strip].start - buffer.rows[0]
            for index, buffer in self._buffers.items()
        }

    def _make_room(self, strip: int) -> None:
        for index, buffer in self._buffers.items():
            demand = self._plan.rows[index]
            if not demand.new[strip].is_empty:
                buffer.make_room(demand.keep[strip - 1], demand.new[strip].stop)

    def _step(self, strip: int, block: int, image: Tensor | None) -> Tensor | None:
        """Compute a block op by op."""
        fresh: dict[int, _Pixels] = {}
        made = None
        for index, node in enumerate(self._graph.nodes):
            box = self._plan.new(index, strip, block)
            buffer = self._buffers.get(index)
            if buffer is not None and not box.y.is_empty:
                buffer.carry_columns(block, box.y)
            if box.is_empty:
                continue
            place = None if buffer is None else buffer.place(block, box)
            if node.rule is None:
                assert image is not None
                tensor = _placed(image, place)
            else:
                tensor = self._compute(index, block, box, fresh, place)
            if buffer is None and self._carried[index]:
                # Only now is it known whether the node's values are numbers or truth values.
                buffer = self._buffers[index] = CarriedPixels(
                    self._plan,
                    index,
                    node,
                    tensor,
                    fixed=self._record is not None and bool(self._steady),
                )
                tensor = _placed(tensor, buffer.place(block, box))
            if self._observe is not None:
                self._observe(index, box)
            if index == self._graph.output:
                made = tensor
            fresh[index] = _Pixels(box, tensor)
            for source in node.inputs:
                if self._last_reader[source] == index:
                    fresh.pop(source, None)
        return made

    def _compute(
        self, index: int, block: int, box: Box, fresh: dict[int, _Pixels], place: Tensor | None
    ) -> Tensor:
        """Compute a node's box, in ``place`` if it is carried."""
        node = self._graph.nodes[index]
        rule = node.rule
        assert rule is not None
        need = Box.of(rule.need(box.y, 0), rule.need(box.x, 1))
        tensors: list[Tensor] = []
        boxes: list[Box] = []
        for source in node.inputs:
            clipped = need.clip(self._graph.nodes[source].grid)
            held = self._held(source, block, clipped, fresh)
            tensors.append(held.tensor)
            boxes.append(held.box)
        if isinstance(rule, Pointwise | Concatenation) and place is not None:
            return rule.run_into(tensors, boxes, box, place)
        # A truth value cannot hold the sum that an addition makes of it.
        real = tensors[0].is_floating_point()
        if self._overwrites[index] and isinstance(rule, Pointwise) and real:
            return _placed(rule.overwrite(tensors, boxes, box), place)
        return _placed(rule.run(tensors, boxes, box), place)

    def _held(self, source: int, block: int, need: Box, fresh: dict[int, _Pixels]) -> _Pixels:
        """Where a node's needed pixels are: in this block's result, or in its slab."""
        pixels = fresh.get(source)
        if pixels is not None and (pixels.box.contains(need) or not self._carried[source]):
            return pixels
        buffer = self._buffers.get(source)
        if buffer is None:
            assert need.is_empty
            return _Pixels(need, self._nothing(source))
        return _Pixels(buffer.box(block), buffer.slab(block))

    def _nothing(self, source: int) -> Tensor:
        """No pixels of a node: for boxes that lie wholly in padding or between what it reaches."""
        node = self._graph.nodes[source]
        sizes = zip(node.axes, node.shape, strict=True)
        return self._like.new_empty([0 if label in ("y", "x") else size for label, size in sizes])

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
    """Any tensor of the computing precision and device, should no pixel be read at first."""
    for node in graph.nodes:
        for name in getattr(node.rule, "__dataclass_fields__", ()):
            value = getattr(node.rule, name)
            if not isinstance(value, Tensor) or value.layout != torch.strided:
                continue
            if value.is_floating_point():
                return value
    return torch.empty(0)


def _placed(tensor: Tensor, place: Tensor | None) -> Tensor:
    """The result itself, or the place it was copied to."""
    return tensor if place is None else place.copy_(tensor)
