"""How are patch values laid out?  Maps become patch values; views of them are only remembered."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from gigafcn.convert.values import Map, PatchValue, RefusedError, relabelled
from gigafcn.graph.rules import IMAGE_AXES, Value

if TYPE_CHECKING:
    from gigafcn.convert.draft import Draft
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

    Raises
    ------
    RefusedError
        If its channels are split.
    """
    axes = found.value.axes
    assert axes is not None
    if sorted(axes) != sorted(IMAGE_AXES):
        raise RefusedError(f"takes a tensor with dimensions {', '.join(axes)} apart")
    ref = found.ref
    if axes != IMAGE_AXES:
        ref = draft.emit(aten.permute.default, ref, [axes.index(a) for a in IMAGE_AXES])
    return PatchValue(
        ref=ref,
        dims=tuple((label,) for label in axes),
        channels=found.value.shape[axes.index("c")],
        grid=found.value.grid,
        lattice=found.lattice,
    )


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
