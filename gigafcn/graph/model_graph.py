"""The traced model: nodes in order, each with its rule, and how spans travel through them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gigafcn.geometry import EMPTY, Box, Span
from gigafcn.graph.rules import Axes, Rule, place

if TYPE_CHECKING:
    from collections.abc import Callable
    from fractions import Fraction


@dataclass(frozen=True, slots=True)
class Node:
    """One op on one output, or the image itself."""

    name: str
    """Name in the exported program."""

    op: str
    """ATen overload, e.g. "aten.conv2d.default"; "image" for the input."""

    layer: str
    """Module path in the user's model, e.g. "encoder.layer1.0.conv1"."""

    rule: Rule | None
    """None for the image."""

    inputs: tuple[int, ...]
    """Indices of the nodes it reads."""

    shape: tuple[int, ...]
    """Sizes on the whole image, batch included."""

    axes: Axes
    """Labels of the dimensions."""

    @property
    def grid(self) -> tuple[int, int]:
        """Whole size (y, x) in its own pixels."""
        return self.shape[self.axes.index("y")], self.shape[self.axes.index("x")]

    @property
    def channels(self) -> int:
        """Values per pixel and image."""
        count = 1
        for label, size in zip(self.axes, self.shape, strict=True):
            count *= size if label == "c" else 1
        return count


@dataclass(frozen=True, slots=True)
class Blocker:
    """Why a model cannot be tiled exactly, and where."""

    layer: str
    op: str
    reason: str

    def __str__(self) -> str:
        return f"{self.layer or 'model'}: {self.op}: {self.reason}"


@dataclass(frozen=True)
class ModelGraph:
    """A model as exported for one image size; nodes stand in topological order."""

    nodes: tuple[Node, ...]
    """The image first."""

    output: int
    """Index of the output node, laid out (b, c, y, x)."""

    size: tuple[int, int]
    """Image size (y, x) it was traced for."""

    scales: tuple[tuple[Fraction, Fraction], ...] | None = None
    """Image px (y, x) per px of every node, of a model without a period; None: as rules say."""

    @property
    def image(self) -> Node:
        """The input node."""
        return self.nodes[0]

    @property
    def result(self) -> Node:
        """The output node."""
        return self.nodes[self.output]

    @cached_property
    def consumers(self) -> tuple[tuple[int, ...], ...]:
        """For each node, the nodes that read it."""
        readers: list[list[int]] = [[] for _ in self.nodes]
        for index, node in enumerate(self.nodes):
            for source in dict.fromkeys(node.inputs):
                readers[source].append(index)
        return tuple(tuple(r) for r in readers)

    def spans_for(self, out: Span, axis: int, *, clip: bool = True) -> list[Span]:
        """Span of every node that output positions ``out`` depend on, composed backward.

        With ``clip`` each is cut to its tensor's true size; without, spans stay literal, as if
        the image had no edges.
        """
        spans = [EMPTY] * len(self.nodes)
        spans[self.output] = out.clip(self.result.grid[axis]) if clip else out
        for index in range(len(self.nodes) - 1, 0, -1):
            node = self.nodes[index]
            if spans[index].is_empty or node.rule is None:
                continue
            need = node.rule.need(spans[index], axis)
            for source in node.inputs:
                part = need.clip(self.nodes[source].grid[axis]) if clip else need
                spans[source] = spans[source].hull(part)
        return spans

    def need(self, out: Span, axis: int, *, clip: bool = True) -> Span:
        """Input pixels that output positions ``out`` depend on."""
        return self.spans_for(out, axis, clip=clip)[0]

    def need_box(self, out: Box) -> Box:
        """Input box, clipped to the image, that an output box depends on."""
        return Box.of(self.need(out.y, 0), self.need(out.x, 1))

    def placed(self, convert: Callable[[Tensor], Tensor]) -> ModelGraph:
        """Copy with every weight converted."""
        nodes = tuple(
            node if node.rule is None else replace(node, rule=place(node.rule, convert))
            for node in self.nodes
        )
        return ModelGraph(nodes, self.output, self.size)


def to_device(graph: ModelGraph, device: torch.device, dtype: torch.dtype) -> ModelGraph:
    """Copy of a graph with floating weights in ``dtype`` on ``device``, 4-D ones channels-last."""

    def convert(tensor: Tensor) -> Tensor:
        moved = tensor.to(device, dtype if tensor.is_floating_point() else tensor.dtype)
        if moved.dim() == 4:
            return moved.contiguous(memory_format=torch.channels_last)
        return moved

    return graph.placed(convert)
