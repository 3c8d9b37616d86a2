"""Rules of ops that only move pixels: padding, slicing along y and x, reordering axes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gigafcn.geometry import EMPTY, Box, Span
from gigafcn.graph.rules.padding import padded
from gigafcn.graph.rules.pointwise import pixelwise
from gigafcn.graph.rules.registry import (
    IMAGE_AXES,
    Axes,
    Blocked,
    Built,
    OpCall,
    Value,
    apart,
    atoms,
    kept_dim,
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
    axes: Axes = IMAGE_AXES
    """Layout, of four dimensions."""

    def need(self, out: Span, axis: int) -> Span:
        """See :class:`Rule`."""
        return EMPTY if out.is_empty else out.shift(-self.before[axis])

    def run(self, inputs: Sequence[Tensor], boxes: Sequence[Box], out: Box) -> Tensor:
        """See :class:`Rule`."""
        want = out.shift(-self.before[0], -self.before[1])
        last = [self.axes.index(label) for label in IMAGE_AXES]
        found = padded(inputs[0].permute(last), boxes[0], want, self.grid, self.value)
        return found.permute([IMAGE_AXES.index(label) for label in self.axes])


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
    source = call.flat("self")
    assert source.axes is not None
    pairs = _pairs(call.arguments["pad"], len(source.axes))
    padded = {label for label, pair in zip(source.axes, pairs, strict=True) if any(pair)}
    mode = call.arguments.get("mode", "constant")
    if not padded:
        return Built(None, (source,), source.axes)
    if "b" in padded:
        raise Blocked("pads the batch dimension")
    if padded == {"c"}:
        return _padded_channels(call, source, pairs)
    if "c" in padded:
        raise Blocked("pads channels and pixels at once")
    if mode == "circular":
        raise Blocked("circular padding reads the opposite edge of the image")
    if mode == "constant" and sorted(source.axes) == sorted(IMAGE_AXES):
        before = tuple(pairs[source.axes.index(label)][0] for label in "yx")
        value = float(call.arguments["value"] or 0)
        pad = ConstantPad((before[0], before[1]), value, source.grid, source.axes)
        return Built(pad, (source,), source.axes)
    return Built(
        _border_pad(call, [*pairs[-1], *pairs[-2]], mode), (call.image("self"),), IMAGE_AXES
    )


def _pairs(amounts: Sequence[int], dims: int) -> list[Pair]:
    """(before, after) of every dimension; torch counts from the last."""
    given = [(amounts[i], amounts[i + 1]) for i in range(0, len(amounts), 2)]
    return [(0, 0)] * (dims - len(given)) + given[::-1]


def _padded_channels(call: OpCall, source: Value, pairs: Sequence[Pair]) -> Built:
    """Constant channels before and after the image's own; pixel by pixel."""
    assert source.axes is not None
    if call.arguments.get("mode", "constant") != "constant":
        raise Blocked("repeats or mirrors channels")
    value = float(call.arguments["value"] or 0)
    amounts: list[int] = []
    for label, pair in zip(reversed(source.axes), reversed(pairs), strict=True):
        amounts += [*pair] * len(atoms(label))
    return pixelwise(source, aten.constant_pad_nd.default, amounts, value)


@register(aten.reflection_pad2d.default, aten.replication_pad2d.default)
def _border_pad2d(call: OpCall) -> Built:
    mode = "reflect" if call.target == aten.reflection_pad2d.default else "replicate"
    rule = _border_pad(call, list(call.arguments["padding"]), mode)
    return Built(rule, (call.image("self"),), IMAGE_AXES)


def _border_pad(call: OpCall, amounts: list[int], mode: str) -> BorderPad:
    if mode not in ("reflect", "replicate"):
        raise Blocked(f"{mode} padding of axes {call.flat('self').axes}")
    if min(amounts) < 0:
        raise Blocked(f"{mode} padding by a negative amount {amounts}")
    source = call.image("self")
    return BorderPad((amounts[2], amounts[0]), mode, source.grid, (call.shape[2], call.shape[3]))


@register(aten.permute.default)
def _permute(call: OpCall) -> Built:
    return _permuted(call, call.arguments["dims"])


@register(aten.movedim.int, aten.movedim.intlist)
def _movedim(call: OpCall) -> Built:
    count = len(call.flat("self").shape)
    given, wanted = (call.arguments[name] for name in ("source", "destination"))
    moved = [d % count for d in ([given] if isinstance(given, int) else given)]
    order = [d for d in range(count) if d not in moved]
    targets = [d % count for d in ([wanted] if isinstance(wanted, int) else wanted)]
    for target, d in sorted(zip(targets, moved, strict=True)):
        order.insert(target, d)
    return _permuted(call, order)


@register(aten.transpose.int, aten.swapaxes.default, aten.swapdims.default)
def _transpose(call: OpCall) -> Built:
    order = list(range(len(call.flat("self").shape)))
    given = list(call.arguments.values())[1:3]
    a, b = given[0] % len(order), given[1] % len(order)
    order[a], order[b] = order[b], order[a]
    return _permuted(call, order)


@register(aten.mT.default)
def _matrix_transposed(call: OpCall) -> Built:
    order = list(range(len(call.flat("self").shape)))
    return _permuted(call, [*order[:-2], order[-1], order[-2]])


def _permuted(call: OpCall, order: Sequence[int]) -> Built:
    source = call.flat("self")
    assert source.axes is not None
    axes = tuple(source.axes[d] for d in order)
    kept = tuple(
        start + i
        for d in order
        for start in [kept_dim(source.axes, d)]
        for i in range(len(atoms(source.axes[d])))
    )
    return Built(Permute(kept, apart(source.axes)), (source,), axes)
