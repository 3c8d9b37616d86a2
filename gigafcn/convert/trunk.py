"""How does an op on a map look in the converted network?

Like in the original, but for two things.  Sizes that export has written down for one patch (of
views, of resizes) become sizes of the tensor at hand.  And where a denser map is asked for, strides
beyond it become dilation: an op that would have stepped by ``t`` steps by less, its neighbours in
the original then lie ``rate`` px apart, and everything after it dilates by that (à trous).  Per
axis, with input rate r, an op of stride t that keeps stride t' has dilation d * r, padding p * r
and output rate r * t / t'.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import gcd
from typing import TYPE_CHECKING, Any

import torch

from gigafcn.convert.network import Ref, Size
from gigafcn.convert.values import Constant, Lattice, Map, RefusedError, common
from gigafcn.graph.rules import Blocked, Built, OpCall, Value, build
from gigafcn.graph.rules.channels import ChannelSlice, Expand
from gigafcn.graph.rules.merge import Concatenation
from gigafcn.graph.rules.pointwise import Cast, Pointwise, ScaleShift
from gigafcn.graph.rules.regroup import ChannelView, PixelView
from gigafcn.graph.rules.shape import BorderPad, ConstantPad, Crop, Permute
from gigafcn.graph.rules.unpool import MaxPoolIndices, MaxUnpool
from gigafcn.graph.rules.window import AveragePool, Convolution, MaxPool
from gigafcn.graph.strides import Resize, rule_stride

if TYPE_CHECKING:
    from collections.abc import Sequence
    from fractions import Fraction

    from gigafcn.convert.draft import Draft

aten = torch.ops.aten

Pair = tuple[int, int]

LARGE_KERNEL = 4
"""Side in px from which a max pool over the whole map of a patch counts as global."""


@dataclass(frozen=True, slots=True)
class Call:
    """One op of the original with what is known of its arguments."""

    target: Any
    arguments: dict[str, Any]
    """By schema name: constants, maps, patch values, lists of them, plain values."""

    shape: tuple[int, ...]
    """Of the result for one patch."""

    index: int
    """Which result of several."""

    several: bool
    """Whether the op has several results."""

    precision: torch.dtype
    """Of the network."""

    dtype: torch.dtype
    """Of the result."""

    def built(self, arguments: dict[str, Any], shape: tuple[int, ...] | None = None) -> Built:
        """The op's rule, for arguments as rules see them.

        Raises
        ------
        Blocked
            If it has none.
        """
        seen = shape or self.shape
        call = OpCall(self.target, arguments, seen, self.index, self.precision, self.dtype)
        return build(call)


@dataclass(frozen=True, slots=True)
class Along:
    """An op that looks through windows, along one axis of the converted network."""

    stride: int
    dilation: int
    before: int
    after: int
    lattice_stride: Fraction
    rate: int


def map_call(call: Call, draft: Draft, output_stride: int | None) -> Map:
    """Write an op whose image-dependent arguments are all maps.

    Raises
    ------
    Blocked
        If the op has no local rule.
    RefusedError
        If it cannot be written for images of any size, or with the strides asked for.
    """
    maps = _maps(list(call.arguments.values()))
    arguments = {name: _as_rules_see(value) for name, value in call.arguments.items()}
    built = call.built(arguments)
    if not {"y", "x"} <= set(built.axes):
        raise Blocked("flattens the map")
    lattice = common([m.lattice for m in maps])
    if lattice is None:
        raise RefusedError(
            "joins maps of different strides, as they are once strides became dilation"
        )
    if built.rule is None:
        return next(m for m in maps if m.value is built.inputs[0])
    value = Value(0, call.shape, built.axes, built.rule)
    return _written(call, draft, built, maps[0], lattice, value, output_stride)


def _maps(arguments: Sequence[Any]) -> list[Map]:
    found: list[Map] = []
    for argument in arguments:
        if isinstance(argument, list | tuple):
            found += _maps(argument)
        elif isinstance(argument, Map):
            found.append(argument)
    return found


def _as_rules_see(argument: Any) -> Any:
    if isinstance(argument, list | tuple):
        return [_as_rules_see(item) for item in argument]
    if isinstance(argument, Map):
        return argument.value
    return argument.tensor if isinstance(argument, Constant) else argument


def _written(
    call: Call,
    draft: Draft,
    built: Built,
    source: Map,
    lattice: Lattice,
    value: Value,
    output_stride: int | None,
) -> Map:
    rule = built.rule
    match rule:
        case Convolution() | MaxPool() | AveragePool():
            along = (
                _along(rule, call, lattice, 0, output_stride),
                _along(rule, call, lattice, 1, output_stride),
            )
            ref = _window(rule, call, draft, source.ref, along)
            strides = along[0].lattice_stride, along[1].lattice_stride
            return Map(ref, value, lattice.moved(strides, (along[0].rate, along[1].rate)))
        case Crop():
            return _crop(rule, call, draft, replace(source, lattice=lattice), value, output_stride)
        case ConstantPad() | BorderPad():
            return Map(_pad(call, draft, source), value, lattice)
        case Expand():
            return Map(_expanded(call, draft, value), value, lattice)
        case ChannelView():
            return Map(_view(rule, draft, source), value, lattice)
        case MaxPoolIndices() | MaxUnpool():
            raise RefusedError("works with positions of maxima in the patch")
        case Pointwise() | ScaleShift() | Cast() | ChannelSlice() | Concatenation() | Permute():
            return Map(_copied(call, draft), value, lattice)
        case _:
            return _resampled(call, draft, rule, replace(source, lattice=lattice), value)


def _resampled(call: Call, draft: Draft, rule: Any, source: Map, value: Value) -> Map:
    """An op that changes the resolution, or that is not known here."""
    lattice = source.lattice
    if lattice.rate != (1, 1):
        raise RefusedError("changes the resolution after a stride that became dilation")
    if isinstance(rule, Resize) and None in rule.scales:
        raise RefusedError("resizes to a size in px that is written down for one patch")
    strides = [s * rule_stride(rule, axis) for axis, s in enumerate(lattice.stride)]
    ref = _view(rule, draft, source) if isinstance(rule, PixelView) else _copied(call, draft)
    return Map(ref, value, lattice.moved((strides[0], strides[1]), (1, 1)))


def _expanded(call: Call, draft: Draft, value: Value) -> Ref:
    """Copies of channels; batch, y and x keep their size."""
    assert value.axes is not None
    sizes = [n if a == "c" else -1 for a, n in zip(value.axes, value.shape, strict=True)]
    return draft.emit(aten.expand.default, call.arguments["self"].ref, sizes)


def _copied(call: Call, draft: Draft) -> Ref:
    """The same op with the same arguments."""
    schema = call.target._schema.arguments
    plain = {name: _as_refs(value) for name, value in call.arguments.items()}
    by_position = [plain[a.name] for a in schema if not a.kwarg_only]
    options = {
        a.name: plain[a.name]
        for a in schema
        if a.kwarg_only and call.arguments[a.name] != a.default_value
    }
    output = call.index if call.several else None
    return draft.emit(call.target, *by_position, options=options, output=output)


def _as_refs(argument: Any) -> Any:
    if isinstance(argument, list | tuple):
        return [_as_refs(item) for item in argument]
    return argument.ref if isinstance(argument, Map) else argument


def kept_stride(step: int, lattice: Lattice, axis: int, output_stride: int | None) -> int:
    """How much of an op's stride stays a stride."""
    if output_stride is None:
        return step
    left = output_stride / lattice.stride[axis]
    if left.denominator != 1:
        raise RefusedError(
            f"stands at stride {lattice.stride[axis]}, which does not divide the output stride "
            f"{output_stride} that was asked for"
        )
    return gcd(step, left.numerator)


def _along(
    rule: Convolution | MaxPool | AveragePool,
    call: Call,
    lattice: Lattice,
    axis: int,
    output_stride: int | None,
) -> Along:
    """Strides, dilation and padding along one axis."""
    kernel, padding = rule.kernel[axis], rule.padding[axis]
    dilation = 1 if isinstance(rule, AveragePool) else rule.dilation[axis]
    step = 1 if _is_global(rule) else rule.stride[axis]
    kept = kept_stride(step, lattice, axis, output_stride)
    count, size = call.shape[2 + axis], rule.grid[axis]
    reach = dilation * (kernel - 1)
    # As much behind as the last window needs, beyond what is there ("same", ceil_mode).
    overhang = (count - 1) * rule.stride[axis] + reach + 1 - size - padding
    after = max(overhang, padding if _symmetric(call) else 0)
    rate = lattice.rate[axis]
    return Along(
        stride=kept,
        dilation=dilation * rate,
        before=padding * rate,
        after=after * rate,
        lattice_stride=lattice.stride[axis] * kept,
        rate=rate * step // kept,
    )


def _symmetric(call: Call) -> bool:
    return not isinstance(call.arguments.get("padding"), str)


def _is_global(rule: Convolution | MaxPool | AveragePool) -> bool:
    """Whether a pool without padding covers the whole map of a patch.

    A max pool of 2 or 3 px that happens to do so is a layer like those before it.
    """
    if isinstance(rule, Convolution) or rule.kernel != rule.grid or any(rule.padding):
        return False
    if isinstance(rule, MaxPool):
        return min(rule.kernel) >= LARGE_KERNEL and rule.dilation == (1, 1)
    return True


def _window(
    rule: Convolution | MaxPool | AveragePool,
    call: Call,
    draft: Draft,
    ref: Ref,
    along: tuple[Along, Along],
) -> Ref:
    """Write a convolution or a pool."""
    if all(a.rate == 1 for a in along) and not _is_global(rule):
        return _copied(call, draft)  # nothing became dilation: ceil_mode and divisors stay
    if isinstance(rule, AveragePool):
        _refuse_partial_averages(rule, along)
        return averaged(
            draft,
            _padded(draft, ref, along, 0.0),
            channels=call.shape[1],
            kernel=rule.kernel,
            dilation=(along[0].dilation, along[1].dilation),
            stride=(along[0].stride, along[1].stride),
            divisor=rule.divisor,
            precision=call.precision,
        )
    strides = [along[0].stride, along[1].stride]
    dilations = [along[0].dilation, along[1].dilation]
    if isinstance(rule, MaxPool):
        ref = _padded(draft, ref, along, float("-inf"))
        kernel = list(rule.kernel)
        return draft.emit(aten.max_pool2d.default, ref, kernel, strides, [0, 0], dilations)
    padding = [along[0].before, along[1].before]
    if any(a.before != a.after for a in along) and not _symmetric(call):
        ref, padding = _padded(draft, ref, along, 0.0), [0, 0]
    weight, bias = call.arguments["weight"], call.arguments["bias"]
    return draft.emit(
        aten.conv2d.default, ref, weight, bias, strides, padding, dilations, rule.groups
    )


def _refuse_partial_averages(rule: AveragePool, along: tuple[Along, Along]) -> None:
    """Refuse windows that are divided by fewer px at the edge: not so once they are dilated."""
    if rule.divisor is not None:
        return
    hangs = any(a.after > a.before for a in along)
    if hangs or (any(rule.padding) and not rule.count_include_pad):
        raise RefusedError(
            "averages over parts of windows at the patch's edge, which a stride that became "
            "dilation cannot keep"
        )


def _padded(draft: Draft, ref: Ref, along: tuple[Along, Along], value: float) -> Ref:
    amounts = [along[1].before, along[1].after, along[0].before, along[0].after]
    if not any(amounts):
        return ref
    return draft.emit(aten.constant_pad_nd.default, ref, amounts, value)


def averaged(  # noqa: PLR0913 - a pool has these
    draft: Draft,
    ref: Ref,
    *,
    channels: int,
    kernel: Pair,
    dilation: Pair,
    stride: Pair,
    divisor: int | None,
    precision: torch.dtype,
) -> Ref:
    """Write an average over windows; torch's own has no dilation, a convolution has."""
    if kernel == (1, 1) and stride == (1, 1) and divisor in (None, 1):
        return ref
    if all(d == 1 or k == 1 for d, k in zip(dilation, kernel, strict=True)):
        return draft.emit(
            aten.avg_pool2d.default, ref, kernel, stride, [0, 0], False, True, divisor
        )
    share = 1 / (divisor or kernel[0] * kernel[1])
    weight = torch.full((channels, 1, *kernel), share, dtype=precision)
    return draft.emit(aten.conv2d.default, ref, weight, None, stride, [0, 0], dilation, channels)


def _crop(
    rule: Crop, call: Call, draft: Draft, source: Map, value: Value, output_stride: int | None
) -> Map:
    """A slice along y or x, counted from both ends."""
    axis, lattice = rule.axis, source.lattice
    rate = lattice.rate[axis]
    dim = rule.axes.index("yx"[axis])
    kept = kept_stride(rule.step, lattice, axis, output_stride)
    last = rule.start + (call.shape[dim] - 1) * rule.step + 1
    behind = (source.value.shape[dim] - last) * rate
    end = -behind if behind else None
    ref = draft.emit(aten.slice.Tensor, source.ref, dim, rule.start * rate, end, kept)
    strides, rates = list(lattice.stride), list(lattice.rate)
    strides[axis] *= kept
    rates[axis] = rate * rule.step // kept
    return Map(ref, value, lattice.moved((strides[0], strides[1]), (rates[0], rates[1])))


def _pad(call: Call, draft: Draft, source: Map) -> Ref:
    """Padding, as many times wider as neighbours lie apart."""
    name = "pad" if "pad" in call.arguments else "padding"
    rate = source.lattice.rate
    factors = (rate[1], rate[1], rate[0], rate[0])
    amounts = [n * f for n, f in zip(call.arguments[name], factors, strict=False)]
    return _copied(replace(call, arguments=call.arguments | {name: amounts}), draft)


def _view(rule: ChannelView | PixelView, draft: Draft, source: Map) -> Ref:
    """A view of channels; batch, y and x follow from the tensor at hand."""
    sizes: list[Any] = []
    for label, n in zip(rule.out_axes, rule.shape, strict=True):
        times = over = 1
        if isinstance(rule, PixelView) and label in ("y", "x"):
            times, over = rule.merged["yx".index(label)], rule.split["yx".index(label)]
        size = Size(source.ref, rule.axes.index(label), times, over) if label != "c" else n
        sizes.append(size)
    return draft.emit(aten.reshape.default, source.ref, sizes)
