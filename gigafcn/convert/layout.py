"""How are patch values laid out?  Maps become patch values; views of them are only remembered."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from gigafcn.convert.values import Map, PatchValue, RefusedError, relabelled
from gigafcn.graph.rules import IMAGE_AXES, Value

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gigafcn.convert.draft import Draft
    from gigafcn.convert.network import Ref
    from gigafcn.convert.trunk import Call

aten = torch.ops.aten

VIEWS = (
    aten.view.default,
    aten._unsafe_view.default,
    aten.reshape.default,
    aten.flatten.using_ints,
    aten.unflatten.int,
    aten.unsqueeze.default,
    aten.squeeze.default,
    aten.squeeze.dim,
    aten.squeeze.dims,
    aten.select.int,
    aten.expand.default,
)
REORDERED = (aten.permute.default, aten.transpose.int, aten.t.default, aten.numpy_T.default)


def as_patch_value(found: Map, draft: Draft) -> PatchValue:
    """A map taken as a patch value.

    Channel dimensions of size 1 carry nothing: there may be more of them, or none at all.

    Raises
    ------
    RefusedError
        If its channels are split.
    """
    axes, shape = found.value.axes, found.value.shape
    assert axes is not None
    channels = [d for d, label in enumerate(axes) if label == "c"]
    kept = max(channels, key=lambda d: shape[d], default=None)
    extra = [d for d in channels if d != kept]
    if sorted({*axes, "c"}) != sorted(IMAGE_AXES) or any(shape[d] != 1 for d in extra):
        raise RefusedError(f"takes a tensor with dimensions {', '.join(axes)} apart")
    return PatchValue(
        ref=_as_image(found.ref, axes, kept, extra, draft),
        dims=tuple(() if d in extra else (label,) for d, label in enumerate(axes)),
        channels=1 if kept is None else shape[kept],
        grid=found.value.grid,
        lattice=found.lattice,
    )


def _as_image(
    ref: Ref, axes: Sequence[str], kept: int | None, extra: list[int], draft: Draft
) -> Ref:
    """(b, c, y, x) of a map whose channels are dimension ``kept``; ``extra`` ones are dropped."""
    channel = [] if kept is None else [kept]
    order = [axes.index("b"), *extra, *channel, axes.index("y"), axes.index("x")]
    if order != list(range(len(axes))):
        ref = draft.emit(aten.permute.default, ref, order)
    if extra:
        ref = draft.emit(aten.squeeze.dims, ref, list(range(1, 1 + len(extra))))
    return draft.emit(aten.unsqueeze.default, ref, 1) if kept is None else ref


def as_map(found: PatchValue, draft: Draft) -> Map | PatchValue:
    """A patch value taken as a map again, where y and x stand apart and have more than one px."""
    letters = [letter for dim in found.dims for letter in dim]
    apart = all(len(dim) == 1 for dim in found.dims) and sorted(letters) == sorted(IMAGE_AXES)
    if not apart or found.pooling is not None or found.grid == (1, 1):
        return found
    axes = tuple(letters)
    ref = found.ref
    if axes != IMAGE_AXES:
        ref = draft.emit(aten.permute.default, ref, [IMAGE_AXES.index(a) for a in axes])
    return Map(ref, Value(0, found.shape, axes), found.lattice)


def viewed(call: Call, draft: Draft) -> PatchValue:
    """A view: nothing is computed.  So is the selection from a dimension of size 1."""
    value: PatchValue = call.arguments["self"]
    if call.target in (aten.select.int, aten.expand.default):
        size = 1
        for n in call.shape:
            size *= n
        if size != value.channels * value.seen_grid[0] * value.seen_grid[1]:
            what = "one position" if call.target == aten.select.int else "copies"
            raise RefusedError(f"takes {what} of the patch (shape {value.shape} to {call.shape})")
    return relabelled(value, call.shape)


def reordered(call: Call, draft: Draft) -> PatchValue:
    """A permutation: nothing is computed."""
    value: PatchValue = call.arguments["self"]
    order = list(range(len(value.dims)))
    if "dims" in call.arguments:
        order = [d % len(order) for d in call.arguments["dims"]]
    elif "dim0" in call.arguments:
        a, b = (call.arguments[n] % len(order) for n in ("dim0", "dim1"))
        order[a], order[b] = order[b], order[a]
    else:
        order.reverse()
    return replace(value, dims=tuple(value.dims[d] for d in order))
