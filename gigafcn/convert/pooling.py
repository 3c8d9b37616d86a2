"""Reductions over y and x, and adaptive pooling, as pools of the size of a patch's map."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from gigafcn.convert.trunk import averaged
from gigafcn.convert.values import PatchValue, RefusedError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gigafcn.convert.draft import Draft
    from gigafcn.convert.trunk import Call

aten = torch.ops.aten

Pair = tuple[int, int]


def _mean(call: Call, draft: Draft) -> PatchValue:
    return _reduced(call, draft, "average")


def _sum(call: Call, draft: Draft) -> PatchValue:
    return _reduced(call, draft, "sum")


def _maximum(call: Call, draft: Draft) -> PatchValue:
    if call.index != 0:
        raise RefusedError("uses where in the patch its maximum lies")
    return _reduced(call, draft, "maximum")


def _reduced(call: Call, draft: Draft, kind: str) -> PatchValue:
    """A reduction over all of y or x, or both."""
    value: PatchValue = call.arguments["self"]
    given = call.arguments.get("dim")
    dims = range(len(value.dims)) if given in (None, []) else given
    dims = {d % len(value.dims) for d in ([dims] if isinstance(dims, int) else dims)}
    letters = {letter for d in dims for letter in value.dims[d]}
    if any(value.size(letter) > 1 for letter in letters & {"b", "c"}) or "b" in letters:
        raise RefusedError(f"takes the {kind} over more than y and x")
    pooled = _pooled(value, draft, kind, letters, call.precision)
    keep = call.arguments.get("keepdim", False)
    kept = tuple(d for i, d in enumerate(value.dims) if keep or i not in dims)
    return replace(pooled, dims=kept)


def _pooled(
    value: PatchValue, draft: Draft, kind: str, letters: set[str], precision: torch.dtype
) -> PatchValue:
    """One px instead of the map of a patch, along y, x or both."""
    kernel = (
        value.grid[0] if "y" in letters else 1,
        value.grid[1] if "x" in letters else 1,
    )
    ref, rate = value.ref, value.lattice.rate
    if kernel != (1, 1):
        if kind == "maximum":
            ref = draft.emit(aten.max_pool2d.default, ref, kernel, [1, 1], [0, 0], rate)
        else:
            ref = averaged(
                draft,
                ref,
                channels=value.channels,
                kernel=kernel,
                dilation=rate,
                stride=(1, 1),
                divisor=1 if kind == "sum" else None,
                precision=precision,
            )
        draft.changed(f"{kind} over the map of a patch is a pool {kernel[0]} x {kernel[1]}")
    grid = [1 if k > 1 else n for k, n in zip(kernel, value.grid, strict=True)]
    return replace(value, ref=ref, grid=(grid[0], grid[1]))


def _adaptive_average(call: Call, draft: Draft) -> PatchValue:
    value: PatchValue = call.arguments["self"]
    size = _output_size(call, value)
    if all(k == 1 or n == k for k, n in zip(size, value.grid, strict=True)):
        letters = {letter for letter, k in zip("yx", size, strict=True) if k == 1}
        return _pooled(value, draft, "average", letters, call.precision)
    if all(n % k == 0 for k, n in zip(size, value.grid, strict=True)):
        return _binned(value, draft, size, call.precision)
    weights = [
        _adaptive_weights(n, k, call.precision) for n, k in zip(value.grid, size, strict=True)
    ]
    return replace(value, pooling=(weights[0], weights[1]), bins=size)


def _output_size(call: Call, value: PatchValue) -> Pair:
    if value.dims != (("b",), ("c",), ("y",), ("x",)):
        return _output_size_1d(call, value)
    asked: Sequence[int | None] = call.arguments["output_size"]
    size = [n if k is None else k for k, n in zip(asked, value.grid, strict=True)]
    return size[0], size[1]


def _output_size_1d(call: Call, value: PatchValue) -> Pair:
    """Pooling (b, c, y * x) to (b, c, 1)."""
    if value.is_only(len(value.dims) - 1, "yx") and list(call.arguments["output_size"]) == [1]:
        return 1, 1
    raise RefusedError(f"pools a tensor with dimensions {value.dims}")


def _binned(value: PatchValue, draft: Draft, size: Pair, precision: torch.dtype) -> PatchValue:
    """Averages over n / k px; the k of one patch then lie n / k times as far apart."""
    kernel = value.grid[0] // size[0], value.grid[1] // size[1]
    ref = averaged(
        draft,
        value.ref,
        channels=value.channels,
        kernel=kernel,
        dilation=value.lattice.rate,
        stride=(1, 1),
        divisor=None,
        precision=precision,
    )
    rate = value.lattice.rate[0] * kernel[0], value.lattice.rate[1] * kernel[1]
    draft.changed(
        f"adaptive pooling of {value.grid[0]} x {value.grid[1]} to {size[0]} x {size[1]} px is a "
        f"pool {kernel[0]} x {kernel[1]}, what follows is dilated"
    )
    return replace(value, ref=ref, grid=size, lattice=replace(value.lattice, rate=rate))


def _adaptive_weights(size: int, bins: int, precision: torch.dtype) -> torch.Tensor:
    """How much each of ``size`` px has of each of ``bins`` averages."""
    weights = torch.zeros(bins, size, dtype=precision)
    for k in range(bins):
        start, stop = k * size // bins, -(-(k + 1) * size // bins)
        weights[k, start:stop] = 1 / (stop - start)
    return weights


def _adaptive_maximum(call: Call, draft: Draft) -> PatchValue:
    value: PatchValue = call.arguments["self"]
    if call.index != 0:
        raise RefusedError("uses where in the patch its maximum lies")
    size = _output_size(call, value)
    letters = {letter for letter, k in zip("yx", size, strict=True) if k == 1}
    if any(k not in (1, n) for k, n in zip(size, value.grid, strict=True)):
        raise RefusedError(f"takes maxima of {size[0]} x {size[1]} parts of the patch")
    return _pooled(value, draft, "maximum", letters, call.precision)


HANDLERS: dict[Any, Callable[[Call, Draft], PatchValue]] = {
    aten.mean.dim: _mean,
    aten.mean.default: _mean,
    aten.sum.dim_IntList: _sum,
    aten.amax.default: _maximum,
    aten.max.dim: _maximum,
    aten.adaptive_avg_pool2d.default: _adaptive_average,
    aten._adaptive_avg_pool2d.default: _adaptive_average,
    aten.adaptive_avg_pool1d.default: _adaptive_average,
    aten.adaptive_max_pool2d.default: _adaptive_maximum,
    aten.adaptive_max_pool1d.default: _adaptive_maximum,
}
