"""Ops that choose between values, compare them, and layers, which make logits."""

from __future__ import annotations

from dataclasses import replace
from math import inf

from gigafcn.meaning.arithmetic import shares
from gigafcn.meaning.calls import Call, passed, rule
from gigafcn.meaning.moving import mixed
from gigafcn.meaning.values import Total, Values, hull, number


@rule("where masked_fill maximum minimum lerp fmax fmin index_put slice_scatter "
      "select_scatter scatter index_fill copy_into")  # fmt: skip
def _either(call: Call) -> Values:
    parts = [v for name, v in call.arguments.items() if isinstance(v, Values)
             and name not in ("condition", "mask", "weight", "index")]  # fmt: skip
    parts += [number(v) for n, v in call.arguments.items()
              if n in ("value", "other", "end") and isinstance(v, int | float)]  # fmt: skip
    images = [p for p in parts if p.nature != "constant"]
    bounds = parts[0].bounds
    for one in parts[1:]:
        bounds = hull(bounds, one.bounds)
    if not images:
        return Values("integer", call.shape, bounds, made=call.op, key=call.key)
    first = next((p for p in images if p.total is not None), images[0])
    total = None
    if first.total is not None and call.op in ("where", "masked_fill", "lerp"):
        dim = first.total.dim
        if isinstance(dim, int):
            sums = [shares(p, dim, call) for p in parts]
            total = Total(dim, (min(s[0] for s in sums), max(s[1] for s in sums)))
            if call.op != "lerp" and any(p.total is None for p in parts):
                total = Total(dim, hull(total.bounds, (0, 0)) if bounds[0] >= 0 else (-inf, inf))
    elif call.op in ("maximum", "minimum"):
        total = None
    found = mixed(parts, first)
    return passed(replace(found, shape=call.shape, bounds=bounds, total=total, log=None), call)


@rule("copy")
def _copied(call: Call) -> Values:
    source = call.operand("src")
    return (
        replace(source, shape=call.shape)
        if source.shape == call.shape
        else replace(source, shape=call.shape, total=None, log=None)
    )


@rule("fill zero zeros_like ones_like full_like new_zeros new_ones new_full empty_like new_empty")
def _filled(call: Call) -> Values:
    value = 1.0 if "ones" in call.op else 0.0
    if "fill" in call.op or "full" in call.op:
        return replace(call.operand("value", "fill_value"), shape=call.shape)
    bounds = (-inf, inf) if "empty" in call.op else (value, value)
    return Values("constant", call.shape, bounds, key=call.key)


@rule("eq ne lt le gt ge logical_and logical_or logical_not logical_xor isnan isinf bitwise_and "
      "bitwise_or bitwise_not any all isfinite")  # fmt: skip
def _compared(call: Call) -> Values:
    return Values("integer", call.shape, (0.0, 1.0), made="a comparison", key=call.key)


@rule("round floor ceil trunc floor_divide bucketize remainder fmod one_hot")
def _rounded(call: Call) -> Values:
    low, high = call.source.bounds
    return Values("integer", call.shape, (low - 1, high + 1), made=call.op, key=call.key)


@rule("convolution _convolution conv2d conv_transpose2d mkldnn_convolution cudnn_convolution "
      "_convolution_pointwise _convolution_transpose_pointwise linear addmm mm native_batch_norm "
      "_native_batch_norm_legit_no_training _native_batch_norm_legit cudnn_batch_norm batch_norm "
      "_batch_norm_with_update _batch_norm_no_update native_layer_norm native_group_norm "
      "layer_norm group_norm instance_norm addmv mv embedding _linear_pointwise miopen_batch_norm "
      "conv1d conv3d")  # fmt: skip
def _layer(call: Call) -> Values:
    layers = {"mm": "a linear layer", "addmm": "a linear layer", "linear": "a linear layer"}
    made = "a convolution" if "conv" in call.op else layers.get(call.op, "a norm")
    source, weight = call.source, call.arguments.get("weight")
    smooths = "conv" in call.op and source.activation and isinstance(weight, Values)
    if smooths and weight is not None and weight.bounds[0] >= 0 and source.bounds[0] >= 0:
        return _smoothed(call, source)
    return Values("logits", call.shape, made=made, key=call.key)


def _smoothed(call: Call, source: Values) -> Values:
    """Probabilities that a kernel of weights of at least 0 averages, or adds up."""
    low, high = (call.values or {}).get("sums", (0.0, inf))
    kernels = call.arguments.get("groups") == source.shape[1] == call.shape[1]
    found = replace(source, shape=call.shape, bounds=(0.0, source.bounds[1] * high), log=None)
    total = source.total
    if total is not None and total.dim == 1 and kernels:
        pads = any(call.arguments.get("padding") or [0])
        sums = (0.0 if pads else total.bounds[0] * low, total.bounds[1] * high)
        total = Total(1, sums)
    else:
        total = None
    return passed(replace(found, total=total), call, "smoothing")


@rule("bmm baddbmm matmul einsum _scaled_dot_product_flash_attention_for_cpu "
      "_scaled_dot_product_attention_math scaled_dot_product_attention")  # fmt: skip
def _product_of_matrices(call: Call) -> Values:
    parts = call.operands
    if any(p.activation for p in parts) and all(p.bounds[0] >= 0 for p in parts):
        made = " and ".join(dict.fromkeys(p.made for p in parts if p.made))
        return Values("unknown", call.shape, made=f"products of {made}, added up", key=call.key)
    return Values("logits", call.shape, made="a matrix product", key=call.key)
