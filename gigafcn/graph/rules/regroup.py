"""Rules of ops that regroup channels, or trade channels for pixels.

A view may split and merge channels, merge y or x with channels behind it, or split channels off it;
any other mix would move pixels about.  Pixel shuffle turns r*r channels into r x r pixels,
unshuffle the other way round; both may also be spelled as views.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from gigafcn.geometry import EMPTY, Box, Span
from gigafcn.graph.rules.pointwise import pointwise
from gigafcn.graph.rules.registry import (
    IMAGE_AXES,
    Axes,
    Blocked,
    Built,
    OpCall,
    Rule,
    apart,
    register,
    whole_shape,
    window_of,
)
from gigafcn.graph.rules.views import Viewed, with_batch

if TYPE_CHECKING:
    from collections.abc import Sequence

aten = torch.ops.aten
Pair = tuple[int, int]


@dataclass(frozen=True, slots=True)
class PixelShuffle:
    """(b, c*r*r, y, x) to (b, c, y*r, x*r)."""

    factor: int

    def need(self, out: Span, axis: int) -> Span:
        """See :class:`Rule`."""
        if out.is_empty:
            return EMPTY
        return Span(out.start // self.factor, (out.stop - 1) // self.factor + 1)

    def run(self, inputs: Sequence[Tensor], boxes: Sequence[Box], out: Box) -> Tensor:
        """See :class:`Rule`."""
        source = Box.of(self.need(out.y, 0), self.need(out.x, 1))
        shuffled = functional.pixel_shuffle(window_of(inputs[0], boxes[0], source), self.factor)
        return window_of(shuffled, Box(*(edge * self.factor for edge in source)), out)


@dataclass(frozen=True, slots=True)
class PixelUnshuffle:
    """(b, c, y*r, x*r) to (b, c*r*r, y, x)."""

    factor: int

    def need(self, out: Span, axis: int) -> Span:
        """See :class:`Rule`."""
        return Span(out.start * self.factor, out.stop * self.factor)

    def run(self, inputs: Sequence[Tensor], boxes: Sequence[Box], out: Box) -> Tensor:
        """See :class:`Rule`."""
        source = Box.of(self.need(out.y, 0), self.need(out.x, 1))
        return functional.pixel_unshuffle(window_of(inputs[0], boxes[0], source), self.factor)


@dataclass(frozen=True, slots=True)
class ChannelView:
    """A view that splits, merges, adds or drops channel dimensions."""

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
        return window_of(inputs[0], boxes[0], out, self.axes).reshape(shape)


@dataclass(frozen=True, slots=True)
class PixelView:
    """A view in which channels become pixels, or pixels become channels.

    Merging y with a channel dimension of size m behind it gives m times the rows; splitting y
    into y and a channel dimension of size m gives a fraction 1/m of them.  The same along x.
    """

    merged: Pair
    """How many output pixels (y, x) come from one input pixel."""

    split: Pair
    """How many input pixels (y, x) go into one output pixel."""

    shape: tuple[int, ...]
    """Whole-image sizes of the output."""

    axes: Axes
    """Layout of the input."""

    out_axes: Axes

    def need(self, out: Span, axis: int) -> Span:
        """See :class:`Rule`."""
        if out.is_empty:
            return EMPTY
        merged, split = self.merged[axis], self.split[axis]
        return Span(out.start // merged * split, -(-out.stop // merged) * split)

    def run(self, inputs: Sequence[Tensor], boxes: Sequence[Box], out: Box) -> Tensor:
        """See :class:`Rule`."""
        source = Box.of(self.need(out.y, 0), self.need(out.x, 1))
        made = Box.of(*(self._made(span, axis) for axis, span in enumerate(source.spans)))
        sizes = {"y": made.y.size, "x": made.x.size}
        shape = [sizes.get(a, n) for a, n in zip(self.out_axes, self.shape, strict=True)]
        viewed = window_of(inputs[0], boxes[0], source, self.axes).reshape(shape)
        return window_of(viewed, made, out, self.out_axes)

    def _made(self, source: Span, axis: int) -> Span:
        """Output positions that come from whole groups of input positions."""
        merged, split = self.merged[axis], self.split[axis]
        return Span(source.start // split * merged, source.stop // split * merged)


@dataclass(frozen=True, slots=True)
class RepeatPixels:
    """Each row or column several times: nearest upsampling spelled as a repeat."""

    axis: int
    times: int
    axes: Axes

    def need(self, out: Span, axis: int) -> Span:
        """See :class:`Rule`."""
        if axis != self.axis or out.is_empty:
            return out
        return Span(out.start // self.times, (out.stop - 1) // self.times + 1)

    def run(self, inputs: Sequence[Tensor], boxes: Sequence[Box], out: Box) -> Tensor:
        """See :class:`Rule`."""
        source = Box.of(self.need(out.y, 0), self.need(out.x, 1))
        window = window_of(inputs[0], boxes[0], source, self.axes)
        repeated = window.repeat_interleave(self.times, self.axes.index("yx"[self.axis]))
        spans = list(source.spans)
        spans[self.axis] = Span(*(edge * self.times for edge in spans[self.axis]))
        return window_of(repeated, Box.of(*spans), out, self.axes)


@dataclass(frozen=True, slots=True)
class Windows:
    """Overlapping windows along y or x: their pixels become channels behind all others."""

    axis: int
    size: int
    step: int
    axes: Axes

    def need(self, out: Span, axis: int) -> Span:
        """See :class:`Rule`."""
        if axis != self.axis or out.is_empty:
            return out
        return Span(out.start * self.step, (out.stop - 1) * self.step + self.size)

    def run(self, inputs: Sequence[Tensor], boxes: Sequence[Box], out: Box) -> Tensor:
        """See :class:`Rule`."""
        source = Box.of(self.need(out.y, 0), self.need(out.x, 1))
        window = window_of(inputs[0], boxes[0], source, self.axes)
        return window.unfold(self.axes.index("yx"[self.axis]), self.size, self.step)


@register(aten.pixel_shuffle.default)
def _pixel_shuffle(call: OpCall) -> Built:
    return Built(PixelShuffle(call.arguments["upscale_factor"]), (call.image("self"),), IMAGE_AXES)


@register(aten.pixel_unshuffle.default)
def _pixel_unshuffle(call: OpCall) -> Built:
    return Built(
        PixelUnshuffle(call.arguments["downscale_factor"]), (call.image("self"),), IMAGE_AXES
    )


@register(
    aten.view.default,
    aten._unsafe_view.default,
    aten.reshape.default,
    aten.reshape_as.default,
    aten.view_as.default,
    aten.flatten.using_ints,
    aten.unflatten.int,
)
def _view(call: OpCall) -> Built:
    source = call.flat("self")
    assert source.axes is not None
    viewed = Viewed(source, call.shape, windows=call.windows)
    out_axes = viewed.labels
    if out_axes == source.axes and call.shape == source.shape:
        return Built(None, (source,), source.axes)
    merged, split = (viewed.merged[0], viewed.merged[1]), (viewed.split[0], viewed.split[1])
    grid = [n * m // s for n, m, s in zip(source.grid, merged, split, strict=True)]
    shape = whole_shape(call.shape, out_axes, (grid[0], grid[1]))
    axes, kept = apart(source.axes), apart(out_axes)
    if merged == split == (1, 1):
        return Built(ChannelView(shape, axes, kept), (source,), out_axes)
    if kept != out_axes or axes != source.axes:
        raise Blocked(f"reshapes {source.shape} to {call.shape}: flattens and regroups pixels")
    return Built(PixelView(merged, split, shape, axes, kept), (source,), out_axes)


def may_be_windows(rule: Rule | None) -> bool:
    """Whether a view adds a dimension of size 1 before y or x: perhaps it cuts one window."""
    if not isinstance(rule, ChannelView | PixelView):
        return False
    steps = zip(rule.out_axes, rule.shape, rule.out_axes[1:], strict=False)
    return any((label, n) == ("c", 1) and after in ("y", "x") for label, n, after in steps)


@register(aten.unsqueeze.default)
def _unsqueeze(call: OpCall) -> Built:
    """A channel dimension of size 1 where it is asked for, even beside the batch."""
    source = call.flat("self")
    assert source.axes is not None
    dim = call.arguments["dim"] % len(call.shape)
    out_axes = with_batch((*source.axes[:dim], "c", *source.axes[dim:]), call.shape)
    shape = whole_shape(call.shape, out_axes, source.grid)
    rule = ChannelView(shape, apart(source.axes), apart(out_axes))
    return Built(rule, (source,), out_axes)


@register(aten.squeeze.default, aten.squeeze.dim, aten.squeeze.dims)
def _squeeze(call: OpCall) -> Built:
    """Drop channel dimensions of size 1; batch, y and x keep their place."""
    source = call.flat("self")
    assert source.axes is not None
    count = len(source.shape)
    given = call.arguments.get("dim", list(range(count)))
    dims = {d % count for d in ([given] if isinstance(given, int) else given)}
    gone = {d for d in dims if source.shape[d] == 1}
    if not gone:
        return Built(None, (source,), source.axes)
    if any(source.axes[d] != "c" for d in gone):
        raise Blocked(f"drops {' and '.join(source.axes[d] for d in sorted(gone))} of size 1")
    out_axes = tuple(label for d, label in enumerate(source.axes) if d not in gone)
    shape = whole_shape(call.shape, out_axes, source.grid)
    rule = ChannelView(shape, apart(source.axes), apart(out_axes))
    return Built(rule, (source,), out_axes)


@register(aten.unfold.default)
def _unfold(call: OpCall) -> Built:
    source = call.value("self")
    assert source.axes is not None
    label = source.axes[call.arguments["dimension"] % len(source.axes)]
    out_axes = (*source.axes, "c")
    if label == "c":
        return pointwise(call, axes=out_axes)
    if label == "b":
        raise Blocked("cuts windows from the batch dimension")
    size, step = call.arguments["size"], call.arguments["step"]
    return Built(Windows("yx".index(label), size, step, source.axes), (source,), out_axes)


@register(aten.repeat_interleave.self_int)
def _repeat_interleave(call: OpCall) -> Built:
    source, dim = call.value("self"), call.arguments["dim"]
    assert source.axes is not None
    if dim is None:
        raise Blocked("flattens the image to repeat it")
    label = source.axes[dim % len(source.axes)]
    if label == "c":
        return pointwise(call)
    if label == "b":
        raise Blocked("repeats the batch dimension")
    rule = RepeatPixels("yx".index(label), call.arguments["repeats"], source.axes)
    return Built(rule, (source,), source.axes)
