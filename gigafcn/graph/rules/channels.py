"""Rules of ops that pick, repeat or spread channels, and of slices and splits along any axis."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from gigafcn.graph.rules.pointwise import pointwise
from gigafcn.graph.rules.registry import (
    Axes,
    Blocked,
    Built,
    OpCall,
    Value,
    apart,
    kept_dim,
    labels_of,
    register,
    whole_shape,
    window_of,
)
from gigafcn.graph.rules.shape import Crop

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gigafcn.geometry import Box, Span

aten = torch.ops.aten


@dataclass(frozen=True, slots=True)
class ChannelSlice:
    """Some of the channels."""

    channels: tuple[int, int, int]
    """start, stop, step."""

    dim: int
    axes: Axes
    dropped: bool = False
    """Whether the one channel's dimension goes."""

    def need(self, out: Span, axis: int) -> Span:
        """See :class:`Rule`."""
        return out

    def run(self, inputs: Sequence[Tensor], boxes: Sequence[Box], out: Box) -> Tensor:
        """See :class:`Rule`."""
        window = window_of(inputs[0], boxes[0], out, self.axes)
        index: list[slice] = [slice(None)] * len(self.axes)
        index[self.dim] = slice(*self.channels)
        part = window[tuple(index)]
        return part.squeeze(self.dim) if self.dropped else part


@dataclass(frozen=True, slots=True)
class Expand:
    """Repeat channels of size 1, or add channel dimensions, without copying."""

    shape: tuple[int, ...]
    """Whole-image sizes of the output."""

    axes: Axes
    """Layout of the input."""

    out_axes: Axes

    def need(self, out: Span, axis: int) -> Span:
        """See :class:`Rule`."""
        return out

    def run(self, inputs: Sequence[Tensor], boxes: Sequence[Box], out: Box) -> Tensor:
        """See :class:`Rule`."""
        sizes = {"y": out.y.size, "x": out.x.size}
        shape = [sizes.get(a, n) for a, n in zip(self.out_axes, self.shape, strict=True)]
        return window_of(inputs[0], boxes[0], out, self.axes).expand(shape)


def _sliced(call: OpCall, dim: int, start: int, stop: int, step: int = 1) -> Built:
    source = call.flat("self")
    assert source.axes is not None
    label, size = source.axes[dim], source.shape[dim]
    if (start, stop, step) == (0, size, 1):
        return Built(None, (source,), source.axes)
    if label == "c":
        rule = ChannelSlice((start, stop, step), kept_dim(source.axes, dim), apart(source.axes))
        return Built(rule, (source,), source.axes)
    if label not in ("y", "x"):
        raise Blocked(f"slices the dimension {label!r}")
    crop = Crop("yx".index(label), start, step, source.axes)
    return Built(crop, (source,), source.axes)


@register(aten.slice.Tensor)
def _slice(call: OpCall) -> Built:
    source = call.flat("self")
    dim = call.arguments["dim"] % len(source.shape)
    start, stop, step = slice(
        call.arguments["start"], call.arguments["end"], call.arguments["step"]
    ).indices(source.shape[dim])
    return _sliced(call, dim, start, stop, step)


@register(aten.narrow.default)
def _narrow(call: OpCall) -> Built:
    source = call.flat("self")
    dim = call.arguments["dim"] % len(source.shape)
    start = call.arguments["start"] % source.shape[dim]
    return _sliced(call, dim, start, start + call.arguments["length"])


@register(
    aten.split.Tensor,
    aten.split.sizes,
    aten.split_with_sizes.default,
    aten.chunk.default,
    aten.unsafe_chunk.default,
    aten.unsafe_split.Tensor,
)
def _split(call: OpCall) -> Built:
    source = call.flat("self")
    dim = call.arguments["dim"] % len(source.shape)
    sizes: Any = call.arguments.get("split_sizes", call.arguments.get("split_size"))
    if isinstance(sizes, list):
        start = sum(sizes[: call.index])
    elif "chunks" in call.arguments:
        start = call.index * -(-source.shape[dim] // call.arguments["chunks"])
    else:
        start = call.index * sizes
    return _sliced(call, dim, start, start + call.shape[dim])


@register(aten.expand.default, aten.expand_as.default)
def _expand(call: OpCall) -> Built:
    return _expanded(call, call.flat("self"))


@register(aten.broadcast_tensors.default)
def _broadcast_tensors(call: OpCall) -> Built:
    source = call.arguments["tensors"][call.index]
    if not isinstance(source, Value) or source.axes is None or source.pixels is not None:
        raise Blocked("broadcasts a constant, or flattened pixels, against the image")
    return _expanded(call, source)


def _expanded(call: OpCall, source: Value) -> Built:
    assert source.axes is not None
    added = len(call.shape) - len(source.shape)
    out_axes = ("c",) * added + source.axes
    sizes = zip(out_axes[added:], source.shape, call.shape[added:], strict=True)
    if any(label != "c" and before != after for label, before, after in sizes):
        raise Blocked(f"expands {source.shape} to {call.shape}: one pixel would act everywhere")
    if call.shape == source.shape:
        return Built(None, (source,), source.axes)
    shape = whole_shape(call.shape, out_axes, source.grid)
    return Built(Expand(shape, apart(source.axes), apart(out_axes)), (source,), out_axes)


@register(aten.repeat.default, aten.tile.default)
def _repeat(call: OpCall) -> Built:
    source = call.value("self")
    assert source.axes is not None
    times: Any = call.arguments.get("repeats", call.arguments.get("dims"))
    added = len(call.shape) - len(source.shape)
    out_axes = ("c",) * added + source.axes
    times = [1] * (len(out_axes) - len(times)) + list(times)
    if any(n != 1 and label != "c" for n, label in zip(times, out_axes, strict=True)):
        raise Blocked("repeats the whole image beside itself")
    return pointwise(call, axes=out_axes)


@register(aten.select.int)
def _select(call: OpCall) -> Built:
    return _selected(call, call.arguments["dim"], call.arguments["index"])


@register(aten.unbind.int)
def _unbind(call: OpCall) -> Built:
    return _selected(call, call.arguments["dim"], call.index)


def _selected(call: OpCall, dim: int, index: int) -> Built:
    source = call.flat("self")
    assert source.axes is not None
    dim %= len(source.axes)
    if source.axes[dim] != "c":
        raise Blocked(f"takes one position along {source.axes[dim]}")
    index %= source.shape[dim]
    axes = source.axes[:dim] + source.axes[dim + 1 :]
    kept = kept_dim(source.axes, dim)
    rule = ChannelSlice((index, index + 1, 1), kept, apart(source.axes), dropped=True)
    return Built(rule, (source,), axes)


@register(aten.index_select.default)
def _index_select(call: OpCall) -> Built:
    if labels_of(call.value("self"), [call.arguments["dim"]]) != ["c"]:
        raise Blocked("picks rows or columns by a table")
    return pointwise(call, broadcasts=False)


@register(aten.index.Tensor)
def _index(call: OpCall) -> Built:
    """Channels by a table of numbers; a table for any other axis blocks."""
    source = call.value("self")
    tables: list[Any] = list(call.arguments["indices"])
    given = [d for d, table in enumerate(tables) if table is not None]
    constant = all(isinstance(tables[d], Tensor) for d in given)
    if len(given) != 1 or not constant or labels_of(source, given) != ["c"]:
        raise Blocked("picks pixels by a table or by their values")
    if tables[given[0]].dim() != 1:
        raise Blocked("picks channels by a table of several dimensions")
    return pointwise(call, broadcasts=False)
