"""How does an op on patch values look in the converted network?

Here a classifier stops being local: the map of a patch is flattened or reduced to one vector.  In
the converted network the vector of the patch at position j stands at position j of a map, so

- a view, a permutation or dropout is nothing, only the layout that is remembered changes;
- a linear layer over a flattened map is a convolution with the kernel of that map, over a vector
  a 1 x 1 convolution;
- a mean or maximum over y and x is a pool as large as the map of a patch, stride 1;
- adaptive pooling to k x k is an average over windows where k divides the map, and otherwise goes
  into the weights of the linear layer that follows;
- activations, batch norm, softmax and the like are themselves along channels.

What else there is keeps the network from being converted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from gigafcn.convert import layout, linear, pooling
from gigafcn.convert.trunk import Call
from gigafcn.convert.values import Constant, Lattice, Map, PatchValue, RefusedError, common
from gigafcn.graph.rules import Blocked
from gigafcn.graph.rules.pointwise import Pointwise

if TYPE_CHECKING:
    from gigafcn.convert.draft import Draft

aten = torch.ops.aten

Handler = Callable[[Call, "Draft"], PatchValue]

VARIADIC = ("dim", "dims", "normalized_shape", "size", "repeats")
"""Arguments that name or count dimensions: such an op is written by its own function or not."""


def patch_call(call: Call, draft: Draft, reason: str | None) -> PatchValue:
    """Write an op that merges y and x, or works on what was merged.

    Parameters
    ----------
    reason
        Why the op is not local; None if it has patch values among its arguments.

    Raises
    ------
    RefusedError
        If it has no counterpart.
    """
    arguments = {name: _merged(value, draft) for name, value in call.arguments.items()}
    call = replace(call, arguments=arguments)
    handler = HANDLERS.get(call.target)
    if handler is not None:
        if call.target not in AFTER_POOLING:
            _refuse_after_pooling(arguments.values())
        return handler(call, draft)
    if reason is not None:
        raise RefusedError(reason)
    try:
        return _elementwise(call, draft)
    except Blocked as blocked:
        raise RefusedError(str(blocked)) from None


def _merged(argument: Any, draft: Draft) -> Any:
    """Arguments in which every map is a patch value."""
    if isinstance(argument, list | tuple):
        return [_merged(item, draft) for item in argument]
    return layout.as_patch_value(argument, draft) if isinstance(argument, Map) else argument


def _elementwise(call: Call, draft: Draft) -> PatchValue:
    """An op that torch applies to each element on its own."""
    values = [v for v in call.arguments.values() if isinstance(v, PatchValue)]
    if not values or any(name in call.arguments for name in VARIADIC):
        raise Blocked("has no counterpart in a network for images of any size")
    first = values[0]
    lattice = _joined(values)
    arguments = {n: _broadcast(v, first) for n, v in call.arguments.items()}
    seen = {
        n: v.as_image() if isinstance(v, PatchValue) else _tensor(v) for n, v in arguments.items()
    }
    shape = (1, first.channels, *first.seen_grid)
    built = call.built(seen, shape)
    if built.rule is None:
        return first
    _refuse_after_pooling(values)
    if not isinstance(built.rule, Pointwise):
        raise Blocked("has no counterpart in a network for images of any size")
    if call.shape != first.shape:
        raise RefusedError(f"makes shape {call.shape} of {first.shape}")
    schema = call.target._schema.arguments
    plain = {n: v.ref if isinstance(v, PatchValue) else v for n, v in arguments.items()}
    positional = [plain[a.name] for a in schema if not a.kwarg_only]
    options = {
        a.name: plain[a.name] for a in schema if a.kwarg_only and plain[a.name] != a.default_value
    }
    ref = draft.emit(call.target, *positional, options=options)
    return replace(first, ref=ref, lattice=lattice)


def _refuse_after_pooling(values: Iterable[Any]) -> None:
    for value in values:
        if isinstance(value, PatchValue) and value.bins is not None:
            raise RefusedError(
                f"stands between adaptive pooling of {value.grid[0]} x {value.grid[1]} px to "
                f"{value.bins[0]} x {value.bins[1]} and the linear layer that would take it over"
            )


def _joined(values: list[PatchValue]) -> Lattice:
    """Where values that are joined lie."""
    for value in values[1:]:
        _refuse_mixture(values[0], value)
    lattice = common([value.lattice for value in values])
    assert lattice is not None
    return lattice


def _refuse_mixture(a: PatchValue, b: PatchValue) -> None:
    if a.seen_grid != b.seen_grid:
        y, x = max(a.seen_grid, b.seen_grid)
        raise RefusedError(
            f"joins a value of the whole patch with its map of {y} x {x} px, as "
            f"squeeze-and-excitation does: every patch has its own, so patches share no map"
        )
    if a.dims != b.dims or a.lattice != b.lattice:
        raise RefusedError(f"joins tensors of layouts {a.dims} and {b.dims}")


def _tensor(argument: Any) -> Any:
    return argument.tensor if isinstance(argument, Constant) else argument


def _broadcast(argument: Any, value: PatchValue) -> Any:
    """A constant that varies along channels alone, as it is broadcast against the map."""
    if not isinstance(argument, Constant) or argument.tensor.numel() == 1:
        return argument
    shape = argument.tensor.shape
    first = len(value.dims) - len(shape)
    for dim, size in enumerate(shape):
        if size != 1 and not (first + dim >= 0 and value.is_only(first + dim, "c")):
            raise RefusedError(f"a constant of shape {tuple(shape)} varies over positions")
    return Constant(argument.tensor.reshape(1, -1, 1, 1))


def _batch_norm(call: Call, draft: Draft) -> PatchValue:
    value: PatchValue = call.arguments["input"]
    fake = {n: _tensor(v) for n, v in call.arguments.items()} | {"input": value.as_image()}
    _checked(call, fake, value)
    if len(value.dims) < 2 or not value.is_only(1, "c"):
        raise RefusedError("normalises every element of a flattened map on its own")
    arguments = [call.arguments[a.name] for a in call.target._schema.arguments]
    arguments[0] = value.ref
    ref = draft.emit(call.target, *arguments, output=0 if call.several else None)
    return value.with_ref(ref)


def _checked(call: Call, arguments: dict[str, Any], value: PatchValue) -> None:
    """Let the op's rule refuse what it refuses anywhere."""
    shape = (1, value.channels, *value.seen_grid)
    try:
        call.built(arguments, shape)
    except Blocked as blocked:
        raise RefusedError(str(blocked)) from None


def _prelu(call: Call, draft: Draft) -> PatchValue:
    value: PatchValue = call.arguments["self"]
    if len(value.dims) < 2 or not value.is_only(1, "c"):
        raise RefusedError("has a slope for every element of a flattened map")
    return value.with_ref(draft.emit(call.target, value.ref, call.arguments["weight"]))


def _layer_norm(call: Call, draft: Draft) -> PatchValue:
    value: PatchValue = call.arguments["input"]
    normalised = len(call.arguments["normalized_shape"])
    if normalised != 1 or not value.is_only(len(value.dims) - 1, "c"):
        raise RefusedError("layer norm over more than channels: it depends on the whole patch")
    last = draft.emit(aten.permute.default, value.ref, [0, 2, 3, 1])
    others = [call.arguments[n] for n in ("normalized_shape", "weight", "bias", "eps")]
    normed = draft.emit(aten.layer_norm.default, last, *others)
    return value.with_ref(draft.emit(aten.permute.default, normed, [0, 3, 1, 2]))


def _softmax(call: Call, draft: Draft) -> PatchValue:
    value: PatchValue = call.arguments["self"]
    dim = call.arguments["dim"] % len(value.dims)
    if not value.is_only(dim, "c"):
        raise RefusedError("softmax over more than channels")
    others = [v for n, v in call.arguments.items() if n not in ("self", "dim")]
    return value.with_ref(draft.emit(call.target, value.ref, 1, *others))


def _concatenated(call: Call, draft: Draft) -> PatchValue:
    values: list[Any] = call.arguments["tensors"]
    if not all(isinstance(v, PatchValue) for v in values):
        raise RefusedError("concatenates a constant, such as a class token, with the patch")
    lattice = _joined([replace(value, channels=1) for value in values])
    dim = call.arguments["dim"] % len(values[0].dims)
    if not all(v.is_only(dim, "c") for v in values):
        raise RefusedError("concatenates positions, not channels")
    first: PatchValue = values[0]
    ref = draft.emit(aten.cat.default, [v.ref for v in values], 1)
    channels = sum(v.channels for v in values)
    return replace(first, ref=ref, channels=channels, lattice=lattice)


AFTER_POOLING = {*layout.VIEWS, *layout.REORDERED, *linear.MATRIX_PRODUCTS}
"""Ops that may follow an adaptive pooling which goes into the weights."""

HANDLERS: dict[Any, Handler] = {
    **dict.fromkeys(layout.VIEWS, layout.viewed),
    **dict.fromkeys(layout.REORDERED, layout.reordered),
    **linear.HANDLERS,
    **pooling.HANDLERS,
    aten._native_batch_norm_legit_no_training.default: _batch_norm,
    aten.batch_norm.default: _batch_norm,
    aten.prelu.default: _prelu,
    aten.layer_norm.default: _layer_norm,
    aten.softmax.int: _softmax,
    aten.log_softmax.int: _softmax,
    aten._softmax.default: _softmax,
    aten._log_softmax.default: _softmax,
    aten.cat.default: _concatenated,
}
