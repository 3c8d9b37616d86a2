"""Rules of reductions: local over channels alone, a blocker over space.

What decides is the label of the reduced dimensions, not the op's name: layer norm, softmax and
mean over channels are pixel-wise; over y or x they need the whole image.
"""

from __future__ import annotations

import torch

from gigafcn.graph.rules.pointwise import pointwise
from gigafcn.graph.rules.registry import Blocked, Built, OpCall, Value, register

aten = torch.ops.aten


def _over(call: OpCall, value: Value, dims: list[int] | None) -> list[str]:
    """Labels of the reduced dimensions; all when none are named."""
    assert value.axes is not None
    return [value.axes[d % len(value.axes)] for d in dims] if dims else list(value.axes)


def _per_pixel(call: OpCall, dims: list[int] | None) -> Built:
    labels = _over(call, call.value("self"), dims)
    spatial = [label for label in labels if label != "c"]
    if spatial:
        raise Blocked(f"reduces over {', '.join(spatial)}: it needs the whole image")
    return pointwise(call)


@register(aten.glu.default)
def _glu(call: OpCall) -> Built:
    return _per_pixel(call, [call.arguments["dim"]])


@register(aten.channel_shuffle.default)
def _channel_shuffle(call: OpCall) -> Built:
    # The op shuffles dimension 1, whatever the layout.
    call.image("self")
    return pointwise(call)


@register(aten.softmax.int, aten.log_softmax.int, aten._softmax.default, aten._log_softmax.default)
def _softmax(call: OpCall) -> Built:
    return _per_pixel(call, [call.arguments["dim"]])


@register(
    aten.mean.dim,
    aten.sum.dim_IntList,
    aten.amax.default,
    aten.amin.default,
    aten.var.correction,
)
def _reduction(call: OpCall) -> Built:
    built = _per_pixel(call, call.arguments["dim"])
    if not call.arguments["keepdim"]:
        raise Blocked("drops the channel dimension (keepdim=False)")
    return built


@register(aten.layer_norm.default)
def _layer_norm(call: OpCall) -> Built:
    count = len(call.arguments["normalized_shape"])
    labels = _over(call, call.value("input"), list(range(-count, 0)))
    if labels != ["c"]:
        raise Blocked(f"layer norm over {', '.join(labels)}: it needs the whole image")
    return pointwise(call, broadcasts=False)


@register(aten.linear.default)
def _linear(call: OpCall) -> Built:
    value = call.value("input")
    assert value.axes is not None
    if value.axes[-1] != "c":
        raise Blocked(f"a linear layer over {value.axes[-1]!r} mixes pixels")
    return pointwise(call, broadcasts=False)


@register(
    aten.adaptive_avg_pool2d.default,
    aten._adaptive_avg_pool2d.default,
    aten.adaptive_max_pool2d.default,
)
def _adaptive_pool(call: OpCall) -> Built:
    raise Blocked("adaptive pooling: its windows grow with the image")


@register(aten.group_norm.default, aten.native_group_norm.default)
def _group_norm(call: OpCall) -> Built:
    raise Blocked("group norm uses statistics of the whole image")
