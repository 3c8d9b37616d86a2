"""Rules of ops that regroup channels, or trade channels for pixels.

A view may split and merge channels; y and x must pass through untouched, or pixels would mix.
Pixel shuffle turns r*r channels into r x r pixels, unshuffle the other way round.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from gigafcn.geometry import EMPTY, Box, Span
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
    aten.flatten.using_ints,
    aten.unflatten.int,
    aten.unsqueeze.default,
    aten.squeeze.default,
    aten.squeeze.dim,
    aten.squeeze.dims,
)
def _view(call: OpCall) -> Built:
    source = call.value("self")
    assert source.axes is not None
    out_axes = _relabelled(source.shape, source.axes, call.shape)
    if out_axes == source.axes and call.shape == source.shape:
        return Built(None, (source,), source.axes)
    return Built(ChannelView(call.shape, source.axes, out_axes), (source,), out_axes)


def _relabelled(shape: tuple[int, ...], axes: Axes, out_shape: tuple[int, ...]) -> Axes:
    """Labels of a view's dimensions: groups of equal products belong together."""
    labels: list[str] = []
    for inner, outer in _groups(shape, out_shape):
        # Dimensions of size 1 carry nothing, except that batch, y and x keep their place.
        kinds = [axes[i] for i in inner if shape[i] != 1 or axes[i] != "c"]
        placed = [kind for kind in kinds if kind != "c"]
        if not placed:
            labels += ["c"] * len(outer)
        elif (
            len(kinds) == 1 and len([o for o in outer if out_shape[o] != 1 or len(outer) == 1]) == 1
        ):
            labels += [placed[0] if out_shape[o] != 1 or len(outer) == 1 else "c" for o in outer]
        else:
            raise Blocked(f"reshapes {shape} to {out_shape}: {' and '.join(kinds)} would mix")
    return tuple(labels)


def _groups(
    shape: tuple[int, ...], out_shape: tuple[int, ...]
) -> list[tuple[list[int], list[int]]]:
    """Smallest runs of input and output dimensions with equal products, in order."""
    groups: list[tuple[list[int], list[int]]] = []
    i = o = 0
    while i < len(shape) or o < len(out_shape):
        inner, outer = [i][: len(shape) - i], [o][: len(out_shape) - o]
        size = shape[i] if inner else 1
        out_size = out_shape[o] if outer else 1
        i, o = i + len(inner), o + len(outer)
        while size != out_size:
            if size < out_size:
                size *= shape[i]
                inner.append(i)
                i += 1
            else:
                out_size *= out_shape[o]
                outer.append(o)
                o += 1
        groups.append((inner, outer))
    return groups
