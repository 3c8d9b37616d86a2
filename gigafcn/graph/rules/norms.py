"""Norms: one multiply-add per channel with stored statistics, a blocker with the image's own.

Flags decide, not names: batch norm without running statistics is global, instance norm with them
is local, layer norm over channels alone is pixel-wise.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gigafcn.graph.rules.pointwise import ScaleShift, pointwise
from gigafcn.graph.rules.registry import Blocked, Built, OpCall, labels_of, register

aten = torch.ops.aten


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


@register(aten.layer_norm.default)
def _layer_norm(call: OpCall) -> Built:
    return _over_channels(call, "layer norm")


@register(aten.rms_norm.default)
def _rms_norm(call: OpCall) -> Built:
    return _over_channels(call, "RMS norm")


def _over_channels(call: OpCall, norm: str) -> Built:
    count = len(call.arguments["normalized_shape"])
    labels = labels_of(call.flat("input"), range(-count, 0))
    if set(labels) != {"c"}:
        raise Blocked(f"{norm} over {', '.join(labels)}: it needs the whole image")
    return pointwise(call, broadcasts=False)


@register(aten.group_norm.default, aten.native_group_norm.default)
def _group_norm(call: OpCall) -> Built:
    raise Blocked("group norm uses statistics of the whole image")
