"""Rules of reductions: local over channels alone, a blocker over space.

What decides is the label of the reduced dimensions, not the op's name: softmax, mean, argmax and
cumulative sums over channels are pixel-wise; over y or x they need the whole image.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from gigafcn.graph.rules.pointwise import pointwise
from gigafcn.graph.rules.registry import Blocked, Built, OpCall, kept_dim, labels_of, register

if TYPE_CHECKING:
    from collections.abc import Sequence

aten = torch.ops.aten


def _dims(call: OpCall, name: str) -> list[int]:
    """The dimensions that an op works along; all if it names none."""
    given = call.arguments[name]
    if isinstance(given, int):
        return [given]
    return list(given or range(len(call.flat("self").shape)))


def _per_pixel(call: OpCall, dims: Sequence[int], axes: tuple[str, ...] | None = None) -> Built:
    """A pixel-wise op if it works along channels alone."""
    source = call.flat("self")
    spatial = [label for label in labels_of(source, dims) if label != "c"]
    if spatial:
        where = ", ".join(letter for label in spatial for letter in label if letter in "yx")
        raise Blocked(f"{_verb(call)} over {where or 'the batch'}: it needs the whole image")
    if source.pixels is None:
        return pointwise(call, axes=axes)
    assert source.axes is not None
    kept = [kept_dim(source.axes, d) for d in dims]
    name = "dims" if "dims" in call.arguments else "dim"
    given = kept[0] if isinstance(call.arguments[name], int) else kept
    return pointwise(replace(call, arguments={**call.arguments, name: given}), axes=axes)


def _verb(call: OpCall) -> str:
    """What the op does, for the user."""
    name = str(call.target).removeprefix("aten.").split(".")[0].strip("_")
    plain = {
        "amax": "takes the maximum",
        "amin": "takes the minimum",
        "linalg_vector_norm": "takes the norm",
        "max": "takes the maximum",
        "mean": "takes the mean",
        "min": "takes the minimum",
        "norm": "takes the norm",
        "sum": "sums",
        "var": "takes the variance",
        "std": "takes the standard deviation",
    }
    return plain.get(name, f"applies {name}")


@register(
    aten.glu.default,
    aten.softmax.int,
    aten.log_softmax.int,
    aten._softmax.default,
    aten._log_softmax.default,
    aten.cumsum.default,
    aten.cumprod.default,
    aten.sort.default,
    aten.sort.stable,
)
def _along(call: OpCall) -> Built:
    return _per_pixel(call, _dims(call, "dim"))


@register(aten.flip.default)
def _flip(call: OpCall) -> Built:
    return _per_pixel(call, _dims(call, "dims"))


@register(aten.roll.default)
def _roll(call: OpCall) -> Built:
    labels = labels_of(call.value("self"), call.arguments["dims"])
    if set(labels) != {"c"}:
        raise Blocked(f"rolls over {', '.join(labels)}: it reads the opposite edge of the image")
    return pointwise(call)


@register(aten.channel_shuffle.default)
def _channel_shuffle(call: OpCall) -> Built:
    # The op shuffles dimension 1, whatever the layout.
    source = call.image("self")
    if call.arguments["groups"] == 1:
        return Built(None, (source,), source.axes or ())
    return pointwise(call)


@register(
    aten.mean.dim,
    aten.sum.dim_IntList,
    aten.prod.dim_int,
    aten.amax.default,
    aten.amin.default,
    aten.max.dim,
    aten.min.dim,
    aten.argmax.default,
    aten.argmin.default,
    aten.logsumexp.default,
    aten.linalg_vector_norm.default,
    aten.norm.ScalarOpt_dim,
    aten.std.correction,
    aten.std.dim,
    aten.std_mean.correction,
    aten.var.correction,
    aten.var.dim,
    aten.var_mean.correction,
    aten.topk.default,
)
def _reduction(call: OpCall) -> Built:
    source = call.flat("self")
    assert source.axes is not None
    dims = _dims(call, "dim")
    if call.arguments.get("keepdim", True):
        return _per_pixel(call, dims)
    gone = {d % len(source.axes) for d in dims}
    axes = tuple(label for d, label in enumerate(source.axes) if d not in gone)
    return _per_pixel(call, dims, axes)


@register(
    aten.max.default,
    aten.mean.default,
    aten.min.default,
    aten.sum.default,
    aten.std.default,
    aten.var.default,
    aten.any.default,
    aten.all.default,
)
def _over_everything(call: OpCall) -> Built:
    raise Blocked(f"{_verb(call)} over all pixels: it needs the whole image")


@register(
    aten.adaptive_avg_pool2d.default,
    aten._adaptive_avg_pool2d.default,
    aten.adaptive_max_pool2d.default,
)
def _adaptive_pool(call: OpCall) -> Built:
    size = tuple(call.shape[2:])
    if size == (1, 1):
        raise Blocked("pools over the whole image (global pooling)")
    raise Blocked(f"adaptive pooling to {size[0]} x {size[1]} px: its windows grow with the image")


def _refusing(reason: str) -> Any:
    def refuse(call: OpCall) -> Built:
        raise Blocked(reason)

    return refuse


register(aten.grid_sampler.default, aten.grid_sampler_2d.default)(
    _refusing("samples at positions that are computed: no bound on what it reads")
)
register(aten.nonzero.default, aten.masked_select.default)(
    _refusing("the size of its result depends on the values of pixels")
)
register(aten.fft_fft2.default, aten.fft_rfft2.default, aten.fft_ifft2.default)(
    _refusing("Fourier transform over the whole image")
)
register(aten.rand_like.default, aten.randn_like.default, aten.bernoulli.default)(
    _refusing("is random")
)
