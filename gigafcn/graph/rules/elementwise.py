"""Element-wise functions, aliases and casts: what torch does to every number on its own."""

from __future__ import annotations

import torch

from gigafcn.graph.rules.pointwise import Cast, pixelwise, pointwise
from gigafcn.graph.rules.registry import Blocked, Built, OpCall, apart, register

aten = torch.ops.aten

_ONE_TENSOR = """
    abs acos angle asin atan bitwise_not ceil celu clamp clamp_max clamp_min clip cos cosh elu erf
    erfc exp exp2 expm1 floor frac full_like gelu hardshrink hardsigmoid hardswish hardtanh
    leaky_relu log log10 log1p log2 log_sigmoid logical_not logit mish nan_to_num neg ones_like
    reciprocal relu relu6 round rsqrt rrelu selu sigmoid sign silu sin sinh softplus
    softshrink sqrt square tan tanh threshold trunc zeros_like
"""
"""Names of ``.default`` overloads."""

_SEVERAL_TENSORS = """
    add.Scalar add.Tensor addcdiv.default addcmul.default atan2.default bitwise_and.Tensor
    bitwise_or.Tensor clamp.Tensor clamp_max.Tensor clamp_min.Tensor clip.Tensor div.Scalar
    div.Scalar_mode div.Tensor div.Tensor_mode eq.Scalar eq.Tensor fmod.Scalar ge.Scalar ge.Tensor
    gt.Scalar gt.Tensor hypot.default le.Scalar le.Tensor lerp.Scalar lerp.Tensor
    logical_and.default logical_or.default logical_xor.default lt.Scalar lt.Tensor
    masked_fill.Scalar maximum.default minimum.default mul.Scalar mul.Tensor ne.Scalar ne.Tensor
    pow.Scalar pow.Tensor_Scalar pow.Tensor_Tensor remainder.Scalar rsub.Scalar rsub.Tensor
    sub.Scalar sub.Tensor where.Scalar where.ScalarOther where.ScalarSelf where.self
    xlogy.Tensor
"""
"""Names with their overloads."""


@register(
    *(getattr(aten, name).default for name in _ONE_TENSOR.split()),
    *(
        getattr(getattr(aten, name.split(".")[0]), name.split(".")[1])
        for name in _SEVERAL_TENSORS.split()
    ),
)
def _elementwise(call: OpCall) -> Built:
    if call.arguments.get("training"):
        raise Blocked("is random in training mode")
    return pointwise(call)


@register(aten.prelu.default)
def _prelu(call: OpCall) -> Built:
    # The slopes lie along dimension 1, whatever the layout.
    source, slope = call.image("self"), call.constant("weight")
    if slope is not None and slope.numel() == 1:
        # The same, but it can be written in place or to where it is carried.
        return pixelwise(source, aten.leaky_relu.default, slope.item())
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
    source = call.flat(name)
    if call.arguments.get("train"):
        raise Blocked("dropout in training mode is random")
    assert source.axes is not None
    return Built(None, (source,), source.axes)


@register(
    aten._to_copy.default,
    aten.to.dtype,
    aten.to.dtype_layout,
    aten.to.device,
    aten.to.other,
    aten.type_as.default,
)
def _cast(call: OpCall) -> Built:
    source = call.flat("self")
    assert source.axes is not None
    if call.dtype == torch.bool:
        return pixelwise(source, aten.ne.Scalar, 0)
    if call.dtype != call.precision:
        raise Blocked(f"casts to {call.dtype} in a model of {call.precision}")
    return Built(Cast(torch.empty(0), apart(source.axes)), (source,), source.axes)
