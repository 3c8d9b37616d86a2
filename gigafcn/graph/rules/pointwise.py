"""Rules of ops that work pixel by pixel: every output pixel reads the same pixel of each input.

Covers element-wise functions of one or several tensors on equal grids, with constants that do not
vary over space, and the eval forms of batch and instance norm, which are one multiply-add per
channel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from gigafcn.graph.rules.registry import (
    Axes,
    Blocked,
    Built,
    OpCall,
    Value,
    pixels_per_axis,
    register,
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

_WRITING: dict[Callable[..., Any], Callable[..., Tensor]] = {
    aten.add.Tensor: aten.add.out,
    aten.elu.default: aten.elu.out,
    aten.gelu.default: aten.gelu.out,
    aten.hardswish.default: aten.hardswish.out,
    aten.hardtanh.default: aten.hardtanh.out,
    aten.leaky_relu.default: aten.leaky_relu.out,
    aten.mul.Tensor: aten.mul.out,
    aten.relu.default: aten.relu.out,
    aten.sigmoid.default: aten.sigmoid.out,
    aten.silu.default: aten.silu.out,
    aten.sub.Tensor: aten.sub.out,
    aten.tanh.default: aten.tanh.out,
}
"""Ops that can write their result to memory they are given."""


def _filled(argument: Any, windows: Sequence[Tensor]) -> Any:
    if isinstance(argument, Slot):
        return windows[argument.index]
    if type(argument) is tuple:
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


def reject_spatial_constants(call: OpCall, values: Sequence[Value]) -> None:
    """Block constants that vary over y or x: a box would need its own part of them.

    Constants that add images to the batch, or dimensions to the pixels, are blocked too.
    """
    axes = values[0].axes
    assert axes is not None
    for name, argument in call.arguments.items():
        if not isinstance(argument, Tensor):
            continue
        if len(call.shape) != len(axes):
            raise Blocked(f"constant {name!r} of shape {tuple(argument.shape)} adds a dimension")
        for label, size in zip(reversed(axes), reversed(argument.shape), strict=False):
            if label != "c" and size != 1:
                where = "the batch" if label == "b" else "space"
                raise Blocked(
                    f"constant {name!r} of shape {tuple(argument.shape)} varies over {where}"
                )


def pointwise(call: OpCall, *, broadcasts: bool = True) -> Built:
    """Build the rule of an op that torch applies to each pixel on its own.

    Parameters
    ----------
    broadcasts
        Whether constants are broadcast against the pixels, and so must not vary over space;
        False for weights with a meaning of their own (layer norm, linear, prelu).
    """
    values: list[Value] = []

    def slot(argument: Any) -> Any:
        if isinstance(argument, Value):
            values.append(argument)
            return Slot(len(values) - 1)
        if isinstance(argument, list | tuple):
            return tuple(slot(item) for item in argument)
        return argument

    schema = getattr(call.target, "_schema").arguments  # noqa: B009 - private in torch's stubs
    arguments = tuple(slot(call.arguments[a.name]) for a in schema if not a.kwarg_only)
    options = tuple((a.name, slot(call.arguments[a.name])) for a in schema if a.kwarg_only)
    known = [value for value in values if value.axes is not None]
    if not known:
        raise Blocked("its inputs come from ops that are not local")
    axes = known[0].axes
    if any(value.axes != axes for value in known):
        raise Blocked(f"inputs are laid out differently: {[value.axes for value in known]}")
    pixels_per_axis(known)
    if broadcasts:
        reject_spatial_constants(call, known)
    assert axes is not None
    rule = Pointwise(call.target, arguments, options, tuple(axes for _ in values))
    return Built(rule, tuple(values), axes)


_ELEMENTWISE = [
    "abs.default",
    "add.Scalar",
    "add.Tensor",
    "celu.default",
    "clamp.default",
    "clamp.Tensor",
    "clamp_max.default",
    "clamp_min.default",
    "cos.default",
    "div.Scalar",
    "div.Tensor",
    "elu.default",
    "eq.Scalar",
    "erf.default",
    "exp.default",
    "expm1.default",
    "floor.default",
    "ge.Scalar",
    "gelu.default",
    "gt.Scalar",
    "hardsigmoid.default",
    "hardswish.default",
    "hardtanh.default",
    "le.Scalar",
    "leaky_relu.default",
    "log.default",
    "log1p.default",
    "log_sigmoid.default",
    "lt.Scalar",
    "maximum.default",
    "minimum.default",
    "mish.default",
    "mul.Scalar",
    "mul.Tensor",
    "ne.Scalar",
    "neg.default",
    "pow.Tensor_Scalar",
    "reciprocal.default",
    "relu.default",
    "relu6.default",
    "round.default",
    "rsqrt.default",
    "rsub.Scalar",
    "selu.default",
    "sigmoid.default",
    "sign.default",
    "silu.default",
    "sin.default",
    "softplus.default",
    "sqrt.default",
    "square.default",
    "sub.Scalar",
    "sub.Tensor",
    "tan.default",
    "tanh.default",
    "threshold.default",
    "where.self",
]

for _name in _ELEMENTWISE:
    _packet, _overload = _name.split(".")
    register(getattr(getattr(aten, _packet), _overload))(pointwise)


@register(aten.prelu.default)
def _prelu(call: OpCall) -> Built:
    # The slopes lie along dimension 1, whatever the layout.
    call.image("self")
    return pointwise(call, broadcasts=False)


@register(
    aten.clone.default,
    aten.alias.default,
    aten.detach.default,
    aten.contiguous.default,
    aten.dropout.default,
    aten.feature_dropout.default,
    aten.alpha_dropout.default,
    aten.feature_alpha_dropout.default,
    aten.lift_fresh_copy.default,
)
def _alias(call: OpCall) -> Built:
    name = "self" if "self" in call.arguments else "input"
    source = call.value(name)
    if call.arguments.get("train"):
        raise Blocked("dropout in training mode is random")
    assert source.axes is not None
    return Built(None, (source,), source.axes)


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


@register(aten._to_copy.default, aten.to.dtype)
def _cast(call: OpCall) -> Built:
    source = call.value("self")
    if call.arguments["dtype"] not in (None, torch.float32):
        raise Blocked(f"casts to {call.arguments['dtype']}")
    assert source.axes is not None
    return Built(Cast(torch.empty(0), source.axes), (source,), source.axes)


def _normalised(call: OpCall, mean: Tensor, variance: Tensor, epsilon: float) -> Built:
    """Y = (x - mean) / sqrt(variance + eps) * weight + bias as one multiply-add, in double."""
    source = call.image("input")
    inverse = (variance.double() + epsilon).rsqrt()
    weight, bias = call.constant("weight"), call.constant("bias")
    scale = inverse if weight is None else inverse * weight.double()
    shift = -mean.double() * scale
    if bias is not None:
        shift = shift + bias.double()
    return Built(
        ScaleShift(scale.view(-1, 1, 1), shift.view(-1, 1, 1)), (source,), source.axes or ()
    )


def _statistics(call: OpCall) -> tuple[Tensor, Tensor]:
    mean, variance = call.constant("running_mean"), call.constant("running_var")
    if mean is None or variance is None:
        raise Blocked("normalises by statistics of the whole image (no running statistics)")
    return mean, variance


@register(aten._native_batch_norm_legit_no_training.default)
def _batch_norm_eval(call: OpCall) -> Built:
    if call.index != 0:
        raise Blocked("saved statistics of batch norm are used")
    return _normalised(call, *_statistics(call), call.arguments["eps"])


@register(
    aten._native_batch_norm_legit.no_stats,
    aten._native_batch_norm_legit.default,
    aten._native_batch_norm_legit_functional.default,
)
def _batch_norm_training(call: OpCall) -> Built:
    raise Blocked("batch norm uses statistics of the batch, that is of the whole image")


@register(aten.batch_norm.default)
def _batch_norm(call: OpCall) -> Built:
    if call.arguments["training"]:
        raise Blocked("batch norm uses statistics of the batch, that is of the whole image")
    return _normalised(call, *_statistics(call), call.arguments["eps"])


@register(aten.instance_norm.default)
def _instance_norm(call: OpCall) -> Built:
    if call.arguments["use_input_stats"]:
        raise Blocked("instance norm uses statistics of the whole image")
    return _normalised(call, *_statistics(call), call.arguments["eps"])
