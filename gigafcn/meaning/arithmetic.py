"""Ops that compute with values: activations, sums, products, and layers, which make logits."""

from __future__ import annotations

import math
from dataclasses import replace
from math import inf
from typing import Any

from gigafcn.meaning.calls import Call, passed, rule
from gigafcn.meaning.values import (
    Bounds,
    Total,
    Values,
    clipped,
    inverse,
    negative,
    number,
    plus,
    times,
)

GUARD = 1e-3
"""Largest number that counts as a guard against dividing by zero."""

WIDE = 8.0
"""Logits that are kept within so much or more are logits still: a sigmoid of it is 0.9997."""


@rule("_softmax softmax _safe_softmax")
def _softmax(call: Call) -> Values:
    dim = call.dim()
    return _exclusive(call, dim, "softmax")


def _exclusive(call: Call, dim: int, made: str) -> Values:
    count = call.shape[dim]
    total = Total(dim, (1.0, 1.0), call.key, frozenset(range(count)), (1.0, 1.0), count)
    return Values(
        "scores", call.shape, (0.0, 1.0), total, made, activation="softmax", along=dim, key=call.key
    )


@rule("sigmoid")
def _sigmoid(call: Call) -> Values:
    return _independent(call, "sigmoid")


def _independent(call: Call, made: str) -> Values:
    return Values("scores", call.shape, (0.0, 1.0), made=made, activation="sigmoid", key=call.key)


@rule("_log_softmax log_softmax")
def _log_softmax(call: Call) -> Values:
    inner = _exclusive(call, call.dim(), "log_softmax")
    return _log_of(replace(inner, key=("=exp", call.key)), call)


@rule("log_sigmoid_forward log_sigmoid")
def _log_sigmoid(call: Call) -> Values:
    return _log_of(_independent(replace_key(call, ("=exp", call.key)), "logsigmoid"), call)


def replace_key(call: Call, key: Any) -> Call:
    """The call under another name."""
    return replace(call, key=key)


def _log_of(inner: Values, call: Call) -> Values:
    """Logarithms of what is known."""
    low, high = (-inf if end <= 0 else math.log(end) for end in inner.bounds)
    return Values(
        "scores", call.shape, (low, high), made=inner.made, through=inner.through,
        activation=inner.activation, along=inner.along, log=inner, key=call.key,
    )  # fmt: skip


@rule("log")
def _log(call: Call) -> Values:
    source = call.source
    if source.key and isinstance(source.key, tuple) and source.key[0] == "=exp":
        return replace(_bent(call, (-inf, inf)), nature="logits")
    if source.activation or source.in_unit():
        return replace(_log_of(source, call), made=f"log of {source.made}")
    return _bent(call, (-inf, inf))


@rule("exp")
def _exp(call: Call) -> Values:
    source = call.source
    if source.log is not None:
        return passed(source.log, call)
    bounds = tuple(math.exp(min(end, 700.0)) for end in source.bounds)
    return replace(_bent(call, (bounds[0], inf if source.bounds[1] > 700 else bounds[1])),
                   key=("=exp", source.key))  # fmt: skip


@rule("logsumexp")
def _logsumexp(call: Call) -> Values:
    key = ("=logsumexp", call.source.key, tuple(call.dims()), bool(call.arguments.get("keepdim")))
    return replace(call.source, nature="scores", shape=call.shape, bounds=(-inf, inf), total=None,
                   made="logsumexp", log=None, key=key)  # fmt: skip


def _bent(call: Call, bounds: Bounds) -> Values:
    """What a function of single values leaves: no logits."""
    source = call.source
    return Values("scores" if source.nature != "unknown" else "unknown", call.shape, bounds,
                  made=call.op.strip("_") if not source.activation else source.made,
                  through=(*source.through, call.op) if source.activation else (),
                  activation=source.activation, key=call.key)  # fmt: skip


BENT: dict[str, Bounds] = {
    "tanh": (-1, 1), "hardsigmoid": (0, 1), "softplus": (0, inf), "relu6": (0, 6), "sin": (-1, 1),
    "cos": (-1, 1), "erf": (-1, 1), "softsign": (-1, 1), "silu": (-0.3, inf), "gelu": (-0.2, inf),
    "mish": (-0.4, inf), "hardswish": (-0.4, inf), "elu": (-inf, inf), "leaky_relu": (-inf, inf),
    "celu": (-inf, inf), "selu": (-inf, inf), "prelu": (-inf, inf), "_prelu_kernel": (-inf, inf),
    "rrelu": (-inf, inf), "atan": (-1.6, 1.6), "log1p": (-inf, inf), "expm1": (-1, inf),
    "log2": (-inf, inf), "log10": (-inf, inf), "var": (0, inf), "std": (0, inf), "exp2": (0, inf),
    "linalg_vector_norm": (0, inf), "norm": (0, inf), "rsqrt": (0, inf), "sign": (-1, 1),
    "hardshrink": (-inf, inf), "softshrink": (-inf, inf), "tan": (-inf, inf), "acos": (0, 3.2),
    "asin": (-1.6, 1.6), "sinh": (-inf, inf), "cosh": (1, inf), "glu": (-inf, inf),
    "nan_to_num": (-inf, inf), "cumsum": (-inf, inf), "cumprod": (-inf, inf), "prod": (-inf, inf),
    "atan2": (-3.2, 3.2), "hypot": (0, inf),
}  # fmt: skip
"""Functions of single values, and the bounds of what they give."""


@rule(" ".join(BENT))
def _function(call: Call) -> Values:
    if call.op == "elu":
        return _bent(call, (-abs(float(call.arguments.get("alpha") or 1)), inf))
    return _bent(call, BENT[call.op])


@rule("abs square sqrt pow")
def _power(call: Call) -> Values:
    low, high = call.source.bounds
    exponent = call.arguments.get("exponent", 0.5)
    if call.op == "sqrt" or (call.op == "pow" and isinstance(exponent, int | float)):
        power = float(exponent)
        if low >= 0 and power > 0:
            return _bent(call, (low**power, high**power))
        return _bent(call, (0.0, inf) if power % 2 == 0 else (-inf, inf))
    if call.op == "pow":
        return _bent(call, (-inf, inf))
    largest = max(abs(low), abs(high))
    least = 0.0 if low <= 0 <= high else min(abs(low), abs(high))
    power = 1 if call.op == "abs" else 2
    return _bent(call, (least**power, largest**power))


@rule("logit")
def _logit(call: Call) -> Values:
    return Values("logits", call.shape, made="logit", key=call.key)


@rule("clamp clip clamp_min clamp_max hardtanh relu threshold")
def _clamped(call: Call) -> Values:
    source, given = call.source, call.arguments
    low = given.get("min", given.get("min_val"))
    high = given.get("max", given.get("max_val"))
    if call.op in ("relu", "threshold"):
        low = 0.0
    low = low.bounds[0] if isinstance(low, Values) else low
    high = high.bounds[1] if isinstance(high, Values) else high
    ends = (-inf if low is None else float(low), inf if high is None else float(high))
    bounds = clipped(source.bounds, *ends)
    found = replace(source, shape=call.shape, bounds=bounds, total=_clamped_total(source, bounds),
                    log=source.log and _clamped_log(source.log, ends))  # fmt: skip
    if source.nature in ("logits", "image") and not source.activation:
        found = replace(found, nature=_still(source, bounds), made=call.op)
    if source.activation:
        return passed(found, call)
    guards = isinstance(source.key, tuple) and source.key[0] == "=sum" and ends[0] <= GUARD
    return found if guards and ends[1] == inf else replace(found, key=call.key)


def _still(source: Values, bounds: Bounds) -> Any:
    """What logits or pixels are after clamping: still that if nearly nothing was cut off."""
    low, high = bounds
    if low <= -WIDE and high >= WIDE:
        return source.nature
    return "scores" if low >= 0 or high <= 0 or (low >= -1 and high <= 1) else "unknown"


def _clamped_total(source: Values, bounds: Bounds) -> Total | None:
    """Each value of at least 0 rises by no more than the floor; above a half there is one."""
    total = source.total
    if total is None or bounds == source.bounds:
        return total
    low, high = bounds
    if source.bounds[0] < 0 or not isinstance(total.dim, int) or max(total.bounds) > 1 + GUARD:
        return None
    rise = max(0.0, low - source.bounds[0]) * source.shape[total.dim]
    cut = (1 - high) if high > 0.5 else 1.0
    sums = (max(0.0, total.bounds[0] - max(0.0, cut)), total.bounds[1] + rise)
    tiny = rise <= GUARD and cut <= GUARD
    return replace(total, bounds=sums) if tiny else Total(total.dim, sums)


def _clamped_log(inner: Values, ends: Bounds) -> Values:
    low, high = (math.exp(min(max(end, -700.0), 700.0)) for end in ends)
    bounds = clipped(inner.bounds, low, high)
    return replace(inner, bounds=bounds, total=_clamped_total(inner, bounds))


@rule("add sub rsub subtract")
def _added(call: Call) -> Values:
    a, b = call.operand("self"), call.operand("other")
    scale = call.arguments.get("alpha")
    b = b if scale in (None, 1) else _scaled(b, float(scale))
    if call.op == "rsub":
        a, b = b, a
    negated = call.op != "add"
    if negated and _is_logsumexp(a, b):
        inner = _exclusive(replace_key(call, ("=exp", call.key)), b.key[2][0], "logsumexp")  # type: ignore[index]
        return _log_of(inner, call)
    bounds = plus(a.bounds, negative(b.bounds) if negated else b.bounds)
    total = _added_total(a, b, call, negated=negated)
    found = replace(_mixture(a, b, call), bounds=bounds, total=total, log=None)
    key = call.key
    if not negated and b.key == number(1).key:
        key = ("=one more", a.key)
    elif not negated and a.key == number(1).key:
        key = ("=one more", b.key)
    elif not negated and b.nature == "constant" and 0 <= b.bounds[0] <= b.bounds[1] <= GUARD:
        key = a.key if isinstance(a.key, tuple) and a.key[0] == "=sum" else key
    if negated and a.key == number(1).key:
        return replace(found, key=key, rest_of=b.key)
    return replace(found, key=key, rest_of=None)


def _is_logsumexp(a: Values, b: Values) -> bool:
    key = b.key
    return (
        isinstance(key, tuple) and key[0] == "=logsumexp" and key[1] == a.key and len(key[2]) == 1
        and len(b.shape) == len(a.shape)
    )  # fmt: skip


def _scaled(values: Values, by: float) -> Values:
    total = values.total
    total = total and Total(total.dim, times(total.bounds, (by, by)))
    return replace(values, bounds=times(values.bounds, (by, by)), total=total, log=None,
                   key=("scaled", values.key, by))  # fmt: skip


def shares(values: Values, dim: int, call: Call) -> Bounds:
    """Bounds of what an operand adds up to along a dimension of the result."""
    rank = len(call.shape)
    place = dim - (rank - len(values.shape))
    total = values.total
    whole = place >= 0 and values.shape[place] == call.shape[dim]
    if total is not None and isinstance(total.dim, int) and whole and total.dim == place:
        return total.bounds
    return times(values.bounds, (call.shape[dim], call.shape[dim]))


def _total_dim(a: Values, b: Values, call: Call) -> int | None:
    for one in (a, b):
        if one.total is not None and isinstance(one.total.dim, int):
            dim = one.total.dim + len(call.shape) - len(one.shape)
            if one.shape[one.total.dim] == call.shape[dim]:
                return dim
    return None


def _added_total(a: Values, b: Values, call: Call, *, negated: bool) -> Total | None:
    dim = _total_dim(a, b, call)
    if dim is None:
        return None
    more = shares(b, dim, call)
    return Total(dim, plus(shares(a, dim, call), negative(more) if negated else more))


def _mixture(a: Values, b: Values, call: Call) -> Values:
    """Nature and origin of a sum."""
    for one, other in ((a, b), (b, a)):
        if other.nature == "constant":
            return passed(replace(one, shape=call.shape), call)
    natures = {a.nature, b.nature}
    first = a if a.activation else b
    found = replace(first, shape=call.shape)
    if "unknown" in natures:
        unsure = a if a.nature == "unknown" else b
        return replace(unsure, shape=call.shape)
    if "image" in natures:
        return replace(found, nature="image", made="a sum with the image", activation="")
    if natures == {"logits", "scores"} and first.activation:
        made = f"a sum of {first.made} and a layer's output"
        return replace(found, nature="unknown", made=made, activation="")
    if "logits" in natures:
        return replace(found, nature="logits", made="a sum of layers", activation="")
    return passed(replace(found, nature="scores"), call, "sum")


@rule("mul multiply div divide true_divide reciprocal neg")
def _multiplied(call: Call) -> Values:
    if call.op == "neg":
        source = call.source
        return replace(passed(_scaled(source, -1.0), call, ""), key=("negative", source.key))
    if call.op == "reciprocal":
        return _divided(number(1), call.source, call)
    a, b = call.operand("self"), call.operand("other")
    if "div" in call.op:
        if call.arguments.get("rounding_mode"):
            return Values("integer", call.shape, made="whole division", key=call.key)
        return _divided(a, b, call)
    bounds = times(a.bounds, b.bounds)
    dim = _total_dim(a, b, call)
    total = None if dim is None else _product_total(a, b, dim, call)
    found = replace(_product(a, b, call), bounds=bounds, total=total, log=None, rest_of=None)
    return replace(found, key=call.key)


def _product_total(a: Values, b: Values, dim: int, call: Call) -> Total | None:
    if b.total is not None and a.total is None:
        a, b = b, a
    sums = shares(a, dim, call)
    if b.bounds[0] == b.bounds[1]:
        return Total(dim, times(sums, b.bounds))
    if a.bounds[0] < 0:
        return None
    return Total(dim, times(sums, b.bounds))


def _product(a: Values, b: Values, call: Call) -> Values:
    """Nature and origin of a product."""
    for one, other in ((a, b), (b, a)):
        if other.nature == "constant":
            return passed(replace(one, shape=call.shape), call, "product")
    natures = {a.nature, b.nature}
    first = a if a.activation else b
    found = replace(first, shape=call.shape)
    if natures <= {"scores", "integer"}:
        return passed(replace(found, nature="scores"), call, "product")
    if natures == {"logits", "integer"}:
        return replace(found, nature="logits", activation="")
    if natures <= {"image", "scores", "integer"}:
        return replace(found, nature="image", made="a product with the image", activation="")
    made = " and ".join(dict.fromkeys(one.made or f"the {one.nature}" for one in (a, b)))
    return replace(found, nature="unknown", made=f"a product of {made}", activation="")


def _divided(a: Values, b: Values, call: Call) -> Values:
    key: Any = b.key if isinstance(b.key, tuple) else ("",)
    sums = key[0] == "=sum" and key[1] == a.key and len(key[2]) == 1
    if sums and a.bounds[0] >= 0 and len(a.shape) == len(b.shape):
        made = "softmax, written with exp" if a.made == "exp" else f"{a.made}, normalised"
        return _exclusive(call, key[2][0], made)
    if key[0] == "=one more":
        below: Any = key[1] if isinstance(key[1], tuple) else ("",)
        if below[0] == "=exp" and (a.key == number(1).key or a.key == below):
            return _independent(call, "sigmoid, written with exp")
    by = inverse(b.bounds)
    dim = _total_dim(a, a, call)
    total = (
        None
        if dim is None or b.nature != "constant"
        else _product_total(a, replace(b, bounds=by), dim, call)
    )
    bounds = times(a.bounds, by)
    if b.nature == "constant":
        found = passed(replace(a, shape=call.shape), call)
    elif a.nature == "constant":
        found = replace(b, nature="unknown" if b.nature in ("logits", "unknown") else "scores")
    elif {a.nature, b.nature} <= {"scores", "integer"}:
        found = replace(a if a.activation else b, nature="scores")
    else:
        found = replace(a, nature="unknown", activation="", made="a quotient")
    return replace(found, shape=call.shape, bounds=bounds, total=total, log=None, key=call.key,
                   rest_of=None)  # fmt: skip
