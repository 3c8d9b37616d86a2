"""The rule of ops that work pixel by pixel: every output pixel reads the same pixel of each input.

It serves element-wise functions of one or several tensors on equal grids, with constants that do
not vary over space, and whatever works on channels alone.  Which ops those are is said in
``elementwise``, ``norms``, ``reduce`` and ``products``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from gigafcn.graph.rules.constants import one_per_channel
from gigafcn.graph.rules.registry import (
    Axes,
    Blocked,
    Built,
    OpCall,
    Value,
    apart,
    atoms,
    pixels_per_axis,
    window_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gigafcn.geometry import Box, Span

aten = torch.ops.aten


@dataclass(frozen=True, slots=True)
class Slot:
    """Place of an image-dependent argument inside an op's arguments."""

    index: int


@dataclass(frozen=True, slots=True)
class Pointwise:
    """An op that torch applies to each pixel on its own."""

    op: Callable[..., Tensor]
    arguments: tuple[Any, ...]
    """Positional arguments; a :class:`Slot` stands for an input."""

    options: tuple[tuple[str, Any], ...]
    """Keyword arguments."""

    axes: tuple[Axes, ...]
    """Layout of each input."""

    def need(self, out: Span, axis: int) -> Span:
        """See :class:`Rule`."""
        return out

    def run(self, inputs: Sequence[Tensor], boxes: Sequence[Box], out: Box) -> Tensor:
        """See :class:`Rule`."""
        return self._apply(self.op, inputs, boxes, out)

    @property
    def overwriting(self) -> Callable[..., Tensor] | None:
        """The op that writes its result over its first argument, if there is one."""
        first = self.arguments[0]
        return _OVERWRITING.get(self.op) if isinstance(first, Slot) and first.index == 0 else None

    def overwrite(self, inputs: Sequence[Tensor], boxes: Sequence[Box], out: Box) -> Tensor:
        """Like :meth:`run`, but the first input's memory becomes the result."""
        assert self.overwriting is not None
        return self._apply(self.overwriting, inputs, boxes, out)

    def run_into(
        self, inputs: Sequence[Tensor], boxes: Sequence[Box], out: Box, place: Tensor
    ) -> Tensor:
        """Like :meth:`run`, but the result is written to ``place``, which is returned."""
        writing = _WRITING.get(self.op)
        if writing is None:
            return place.copy_(self.run(inputs, boxes, out))
        return self._apply(writing, inputs, boxes, out, place)

    def _apply(
        self,
        op: Callable[..., Tensor],
        inputs: Sequence[Tensor],
        boxes: Sequence[Box],
        out: Box,
        place: Tensor | None = None,
    ) -> Tensor:
        windows = [
            window_of(tensor, held, out, axes)
            for tensor, held, axes in zip(inputs, boxes, self.axes, strict=True)
        ]
        options = dict(self.options) if place is None else dict(self.options) | {"out": place}
        return op(*(_filled(a, windows) for a in self.arguments), **options)


_OVERWRITING: dict[Callable[..., Any], Callable[..., Tensor]] = {
    aten.add.Tensor: aten.add_.Tensor,
    aten.elu.default: aten.elu_.default,
    aten.gelu.default: aten.gelu_.default,
    aten.hardswish.default: aten.hardswish_.default,
    aten.hardtanh.default: aten.hardtanh_.default,
    aten.leaky_relu.default: aten.leaky_relu_.default,
    aten.relu.default: aten.relu_.default,
    aten.sigmoid.default: aten.sigmoid_.default,
    aten.silu.default: aten.silu_.default,
    aten.tanh.default: aten.tanh_.default,
}
"""Ops whose in-place form gives the same values."""


def _rectify_into(tensor: Tensor, *, out: Tensor) -> Tensor:
    # relu.out makes its result elsewhere first and then copies it (torch 2.13).
    result: Tensor = aten.clamp_min.out(tensor, 0, out=out)
    return result


_WRITING: dict[Callable[..., Any], Callable[..., Tensor]] = {
    aten.add.Tensor: aten.add.out,
    aten.elu.default: aten.elu.out,
    aten.gelu.default: aten.gelu.out,
    aten.hardswish.default: aten.hardswish.out,
    aten.hardtanh.default: aten.hardtanh.out,
    aten.leaky_relu.default: aten.leaky_relu.out,
    aten.mul.Tensor: aten.mul.out,
    aten.relu.default: _rectify_into,
    aten.sigmoid.default: aten.sigmoid.out,
    aten.silu.default: aten.silu.out,
    aten.sub.Tensor: aten.sub.out,
    aten.tanh.default: aten.tanh.out,
}
"""Ops that can write their result to memory they are given."""


def _filled(argument: Any, windows: Sequence[Tensor]) -> Any:
    if isinstance(argument, Slot):
        return windows[argument.index]
    if isinstance(argument, list | tuple):
        return [_filled(item, windows) for item in argument]
    return argument


@dataclass(frozen=True, slots=True)
class ScaleShift:
    """Multiply-add per channel: batch or instance norm with stored statistics."""

    scale: Tensor
    """(c, 1, 1), computed in double."""

    shift: Tensor
    """(c, 1, 1), computed in double."""

    def need(self, out: Span, axis: int) -> Span:
        """See :class:`Rule`."""
        return out

    def run(self, inputs: Sequence[Tensor], boxes: Sequence[Box], out: Box) -> Tensor:
        """See :class:`Rule`."""
        return torch.addcmul(self.shift, window_of(inputs[0], boxes[0], out), self.scale)


@dataclass(frozen=True, slots=True)
class Cast:
    """Truth values or integers as real numbers of the computing precision."""

    precision: Tensor
    """An empty tensor of the computing dtype."""

    axes: Axes

    def need(self, out: Span, axis: int) -> Span:
        """See :class:`Rule`."""
        return out

    def run(self, inputs: Sequence[Tensor], boxes: Sequence[Box], out: Box) -> Tensor:
        """See :class:`Rule`."""
        return window_of(inputs[0], boxes[0], out, self.axes).to(self.precision.dtype)


@dataclass(frozen=True, slots=True)
class Picked:
    """One of the results of an op that returns several."""

    op: Callable[..., tuple[Tensor, ...]]
    index: int

    def __call__(self, *arguments: Any, **options: Any) -> Tensor:
        """Apply the op and take the result."""
        return self.op(*arguments, **options)[self.index]


def pointwise(call: OpCall, *, broadcasts: bool = True, axes: Axes | None = None) -> Built:
    """Build the rule of an op that torch applies to each pixel on its own.

    Parameters
    ----------
    broadcasts
        Whether constants are broadcast against the pixels, and so must not vary over space;
        False for weights with a meaning of their own (layer norm, linear, prelu).
    axes
        Layout of the output, if it is not that of the inputs.
    """
    values: list[Value] = []

    def slot(argument: Any) -> Any:
        if isinstance(argument, Value):
            values.append(argument)
            return Slot(len(values) - 1)
        if isinstance(argument, list | tuple):
            return tuple(slot(item) for item in argument)
        return argument

    schema = getattr(call.target, "_schema")  # noqa: B009 - private in torch's stubs
    arguments = tuple(slot(call.arguments[a.name]) for a in schema.arguments if not a.kwarg_only)
    options = tuple((a.name, slot(_option(call, a.name))) for a in schema.arguments if a.kwarg_only)
    layout = _layout(values)
    if broadcasts:
        if len(call.shape) > len(layout) and axes is None:
            raise Blocked(f"gives {call.shape}: a constant adds a dimension")
        names = [a.name for a in schema.arguments if not a.kwarg_only]
        arguments = tuple(
            _against(name, argument, layout)
            for name, argument in zip(names, arguments, strict=True)
        )
    op = call.target if len(schema.returns) == 1 else Picked(call.target, call.index)
    rule = Pointwise(op, arguments, options, tuple(apart(layout) for _ in values))
    return Built(rule, tuple(values), axes or layout)


def _against(name: str, argument: Any, layout: Axes) -> Any:
    """A constant that broadcasts against pixels, flattened ones kept apart."""
    if not isinstance(argument, Tensor):
        return argument
    constant = one_per_channel(name, argument, layout)
    shape: list[int] = []
    for label, size in zip(reversed(layout), reversed(constant.shape), strict=False):
        shape = [size if len(label) == 1 else 1] + [1] * (len(atoms(label)) - 1) + shape
    return constant.reshape(shape)


def pixelwise(
    source: Value, op: Callable[..., Tensor], *arguments: Any, axes: Axes | None = None
) -> Built:
    """Rule of a one-input op with given arguments that works on channels alone."""
    assert source.axes is not None
    rule = Pointwise(op, (Slot(0), *arguments), (), (apart(source.axes),))
    return Built(rule, (source,), axes or source.axes)


def _option(call: OpCall, name: str) -> Any:
    """A keyword argument; device and the model's own precision are left to the inputs."""
    given = call.arguments[name]
    return None if name == "device" or given == call.precision else given


def _layout(values: Sequence[Value]) -> Axes:
    """The one layout of several values on one grid."""
    layouts = {value.axes for value in values}
    if None in layouts:
        raise Blocked("its inputs come from ops that are not local")
    if len(layouts) > 1:
        raise Blocked(f"inputs are laid out differently: {[value.axes for value in values]}")
    pixels_per_axis(values)
    layout = layouts.pop()
    assert layout is not None
    return layout
