"""Rules of ops that only move pixels: padding, slicing, splitting channels, reordering axes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gigafcn.geometry import EMPTY, Box, Span
from gigafcn.graph.rules.padding import padded
from gigafcn.graph.rules.registry import (
    IMAGE_AXES,
    Axes,
    Blocked,
    Built,
    OpCall,
    register,
    window_of,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

aten = torch.ops.aten
Pair = tuple[int, int]


@dataclass(frozen=True, slots=True)
class ConstantPad:
    """Pad with one value; negative amounts crop."""

    before: Pair
    """Rows above and columns left."""

    value: float
    grid: Pair

    def need(self, out: Span, axis: int) -> Span:
        """See :class:`Rule`."""
        return EMPTY if out.is_empty else out.shift(-self.before[axis])

    def run(self, inputs: Sequence[Tensor], boxes: Sequence[Box], out: Box) -> Tensor:
        """See :class:`Rule`."""
        want = out.shift(-self.before[0], -self.before[1])
        return padded(inputs[0], boxes[0], want, self.grid, self.value)


@dataclass(frozen=True, slots=True)
class BorderPad:
    """Pad by pixels of the image: mirrored without the edge ("reflect") or its edge repeated."""

    before: Pair
    mode: str
    """ "reflect" or "replicate"."""

    grid: Pair
    out_grid: Pair

    def _sources(self, out: Span, axis: int) -> list[int]:
        size, before = self.grid[axis], self.before[axis]
        return [_border(o - before, size, self.mode) for o in range(out.start, out.stop)]

    def need(self, out: Span, axis: int) -> Span:
        """See :class:`Rule`.

        Positions beyond the padded tensor are taken literally, so that composing needs far from
        the image's edges gives a shift.
        """
        inner = Span(0, self.grid[axis]).shift(self.before[axis])
        outer = Span(0, self.out_grid[axis])
        result = EMPTY
        for part in (_before(out, 0), out.intersect(inner), _from(out, outer.stop)):
            result = result.hull(part.shift(-self.before[axis]) if not part.is_empty else EMPTY)
        for border in (Span(0, inner.start), Span(inner.stop, outer.stop)):
            part = out.intersect(border)
            if not part.is_empty:
                sources = self._sources(part, axis)
                result = result.hull(Span(min(sources), max(sources) + 1))
        return result

    def run(self, inputs: Sequence[Tensor], boxes: Sequence[Box], out: Box) -> Tensor:
        """See :class:`Rule`."""
        source = Box.of(self.need(out.y, 0), self.need(out.x, 1))
        tensor = window_of(inputs[0], boxes[0], source)
        for axis, label in enumerate(("y", "x")):
            span, origin = out.spans[axis], source.spans[axis].start
            if span.shift(-self.before[axis]) != source.spans[axis]:
                index = torch.tensor(self._sources(span, axis), device=tensor.device) - origin
                tensor = tensor.index_select(IMAGE_AXES.index(label), index)
        return tensor


def _before(span: Span, edge: int) -> Span:
    return Span(span.start, min(span.stop, edge)) if span.start < edge else EMPTY


def _from(span: Span, edge: int) -> Span:
    return Span(max(span.start, edge), span.stop) if span.stop > edge else EMPTY


def _border(position: int, size: int, mode: str) -> int:
    """Input position that a padded position copies."""
    if mode == "replicate":
        return min(max(position, 0), size - 1)
    if position < 0:
        return -position
    return 2 * (size - 1) - position if position >= size else position


@dataclass(frozen=True, slots=True)
class Crop:
    """A slice along y or x with step 1 or more."""

    axis: int
    start: int
    step: int
    axes: Axes

    def need(self, out: Span, axis: int) -> Span:
        """See :class:`Rule`."""
        if axis != self.axis or out.is_empty:
            return out
        first = out.start * self.step + self.start
        return Span(first, (out.stop - 1) * self.step + self.start + 1)

    def run(self, inputs: Sequence[Tensor], boxes: Sequence[Box], out: Box) -> Tensor:
        """See :class:`Rule`."""
        source = Box.of(self.need(out.y, 0), self.need(out.x, 1))
        window = window_of(inputs[0], boxes[0], source, self.axes)
        if self.step == 1:
            return window
        index: list[slice] = [slice(None)] * len(self.axes)
        index[self.axes.index("yx"[self.axis])] = slice(None, None, self.step)
        return window[tuple(index)]


@dataclass(frozen=True, slots=True)
class ChannelSlice:
    """Some of the channels."""

    channels: tuple[int, int, int]
    """start, stop, step."""

    axes: Axes

    def need(self, out: Span, axis: int) -> Span:
        """See :class:`Rule`."""
        return out

    def run(self, inputs: Sequence[Tensor], boxes: Sequence[Box], out: Box) -> Tensor:
        """See :class:`Rule`."""
        window = window_of(inputs[0], boxes[0], out, self.axes)
        index: list[slice] = [slice(None)] * len(self.axes)
        index[self.axes.index("c")] = slice(*self.channels)
        return window[tuple(index)]


@dataclass(frozen=True, slots=True)
class Permute:
    """Reorder dimensions."""

    order: tuple[int, ...]
    axes: Axes
    """Layout of the input."""

    def need(self, out: Span, axis: int) -> Span:
        """See :class:`Rule`."""
        return out

    def run(self, inputs: Sequence[Tensor], boxes: Sequence[Box], out: Box) -> Tensor:
        """See :class:`Rule`."""
        return window_of(inputs[0], boxes[0], out, self.axes).permute(self.order)


@register(aten.pad.default, aten.constant_pad_nd.default)
def _pad(call: OpCall) -> Built:
    source = call.image("self")
    amounts = list(call.arguments["pad"])
    mode = call.arguments.get("mode", "constant")
    if any(amounts[4:]):
        raise Blocked("pads the batch or channel dimension")
    amounts = ([*amounts, 0, 0])[:4]
    before = (amounts[2], amounts[0])
    if mode == "constant":
        value = call.arguments["value"]
        pad = ConstantPad(before, float(value or 0), source.grid)
        return Built(pad, (source,), IMAGE_AXES)
    if mode == "circular":
        raise Blocked("circular padding reads the opposite edge of the image")
    return Built(_border_pad(call, amounts, mode), (source,), IMAGE_AXES)


@register(aten.reflection_pad2d.default, aten.replication_pad2d.default)
def _border_pad2d(call: OpCall) -> Built:
    mode = "reflect" if call.target == aten.reflection_pad2d.default else "replicate"
    rule = _border_pad(call, list(call.arguments["padding"]), mode)
    return Built(rule, (call.image("self"),), IMAGE_AXES)


def _border_pad(call: OpCall, amounts: list[int], mode: str) -> BorderPad:
    if min(amounts) < 0:
        raise Blocked(f"{mode} padding by a negative amount {amounts}")
    source = call.image("self")
    return BorderPad((amounts[2], amounts[0]), mode, source.grid, (call.shape[2], call.shape[3]))


def _sliced(call: OpCall, dim: int, start: int, stop: int, step: int = 1) -> Built:
    source = call.value("self")
    assert source.axes is not None
    label, size = source.axes[dim], source.shape[dim]
    if (start, stop, step) == (0, size, 1):
        return Built(None, (source,), source.axes)
    if label == "c":
        return Built(ChannelSlice((start, stop, step), source.axes), (source,), source.axes)
    if label == "b":
        raise Blocked("slices the batch dimension")
    return Built(Crop("yx".index(label), start, step, source.axes), (source,), source.axes)


@register(aten.slice.Tensor)
def _slice(call: OpCall) -> Built:
    source = call.value("self")
    dim = call.arguments["dim"] % len(source.shape)
    start, stop, step = slice(
        call.arguments["start"], call.arguments["end"], call.arguments["step"]
    ).indices(source.shape[dim])
    return _sliced(call, dim, start, stop, step)


@register(aten.split.Tensor, aten.split_with_sizes.default, aten.chunk.default)
def _split(call: OpCall) -> Built:
    source = call.value("self")
    dim = call.arguments["dim"] % len(source.shape)
    if "split_sizes" in call.arguments:
        sizes = call.arguments["split_sizes"]
        start = sum(sizes[: call.index])
    elif "chunks" in call.arguments:
        start = call.index * -(-source.shape[dim] // call.arguments["chunks"])
    else:
        start = call.index * call.arguments["split_size"]
    return _sliced(call, dim, start, start + call.shape[dim])


@register(aten.permute.default)
def _permute(call: OpCall) -> Built:
    source = call.value("self")
    assert source.axes is not None
    order = tuple(d % len(source.axes) for d in call.arguments["dims"])
    axes = tuple(source.axes[d] for d in order)
    return Built(Permute(order, source.axes), (source,), axes)


@register(aten.transpose.int)
def _transpose(call: OpCall) -> Built:
    source = call.value("self")
    assert source.axes is not None
    order = list(range(len(source.axes)))
    a, b = call.arguments["dim0"] % len(order), call.arguments["dim1"] % len(order)
    order[a], order[b] = order[b], order[a]
    axes = tuple(source.axes[d] for d in order)
    return Built(Permute(tuple(order), source.axes), (source,), axes)
