"""Ops that move, pick, repeat and average values: bounds hold, totals follow their dimension."""

from __future__ import annotations

from dataclasses import replace
from math import inf, prod
from typing import TYPE_CHECKING, Any

from gigafcn.meaning.calls import RULES, Call, passed, rule
from gigafcn.meaning.values import (
    ONE,
    Total,
    Values,
    hull,
    joined,
    moved,
    part,
    plus,
    times,
    unknown,
)

if TYPE_CHECKING:
    from collections.abc import Sequence


def _dim(values: Values) -> Any:
    return None if values.total is None else values.total.dim


@rule("clone detach alias contiguous lift_fresh lift_fresh_copy dropout native_dropout "
      "feature_dropout alpha_dropout _to_copy to type_as _conj resolve_conj flip roll")  # fmt: skip
def _same(call: Call) -> Values:
    word = {"flip": "flip", "roll": "roll", "_to_copy": "cast", "to": "cast"}.get(call.op, "")
    source = call.source
    found = moved(source, _dim(source), call.shape)
    total = found.total
    if total is not None and call.op in ("flip", "roll") and total.dim in call.dims("dims"):
        found = replace(found, total=replace(total, whole=None))
    kept = passed(found, call, word)
    return (
        kept if word in ("flip", "roll") else replace(kept, key=source.key, rest_of=source.rest_of)
    )


@rule("as_strided")
def _laid_out(call: Call) -> Values:
    """Global pooling of channels-last images lays its result (b, c, 1, 1) out so: it stays."""
    source = call.source
    batch, channels = (*call.shape, 1, 1)[:2]
    strides = [*(call.arguments.get("stride") or ()), 0, 0]
    same = call.shape == source.shape and set(call.shape[2:]) <= {1}
    if not same or (strides[1] != 1 and channels > 1) or (strides[0] != channels and batch > 1):
        return unknown(call.shape, "as_strided, of which nothing is known", call.key)
    return replace(source, rest_of=source.rest_of)


@rule("view _unsafe_view reshape _reshape_alias unsqueeze squeeze flatten unflatten view_copy")
def _viewed(call: Call) -> Values:
    source, dim = call.source, _dim(call.source)
    found = None
    if dim is ONE and len(call.shape) == len(source.shape) + 1 and call.op == "unsqueeze":
        found = call.dim(rank=len(call.shape))
    elif isinstance(dim, int):
        found = _where(source.shape, dim, call.shape)
    elif dim is ONE:
        found = ONE
    kept = moved(source, found, call.shape)
    if found is None and isinstance(dim, int):
        before = prod(source.shape[:dim])
        kept = replace(
            kept, along=max(d for d in range(len(call.shape)) if prod(call.shape[:d]) <= before)
        )
    kept = passed(kept, call, "")
    return replace(kept, key=_kept_sum(call) or kept.key)


def _kept_sum(call: Call) -> Any:
    """The name of a sum whose dimension is put back, as if it had been kept."""
    key: Any = call.source.key
    if call.op != "unsqueeze" or not isinstance(key, tuple) or key[0] != "=sum" or key[3]:
        return None
    dim = call.dim(rank=len(call.shape))
    return ("=sum", key[1], key[2], True) if key[2] == (dim,) else None


def _where(shape: Sequence[int], dim: int, out: Sequence[int]) -> int | None:
    """Dimension of a view that counts what a dimension of its source counts."""
    before, size = prod(shape[:dim]), shape[dim]
    fits = [d for d in range(len(out)) if out[d] == size and prod(out[:d]) == before]
    return fits[0] if fits else None


@rule("permute transpose t movedim swapaxes swapdims adjoint mT")
def _permuted(call: Call) -> Values:
    source, rank = call.source, len(call.source.shape)
    order = list(range(rank))
    if call.op == "permute":
        order = [d % rank for d in call.arguments["dims"]]
    elif call.op in ("t", "mT", "adjoint") and rank > 1:
        order[-2:] = order[-1], order[-2]
    elif call.op == "transpose":
        a, b = call.arguments["dim0"] % rank, call.arguments["dim1"] % rank
        order[a], order[b] = order[b], order[a]
    else:
        return passed(moved(source, None, call.shape), call, "")
    dim = _dim(source)
    place = order.index(dim) if isinstance(dim, int) else dim
    return passed(moved(source, place, call.shape), call, "")


@rule("expand repeat tile expand_as")
def _repeated(call: Call) -> Values:
    source, added = call.source, len(call.shape) - len(call.source.shape)
    dim = _dim(source)
    if isinstance(dim, int):
        dim = dim + added if call.shape[dim + added] == source.shape[dim] else None
    found = passed(moved(source, dim, call.shape), call, "")
    return found if added else replace(found, key=source.key)


@rule("slice narrow split split_with_sizes chunk unsafe_chunk unsafe_split index_select select "
      "unbind index slice_copy")  # fmt: skip
def _picked(call: Call) -> Values:
    source = call.source
    dim, members = _members(call)
    found = _pick(source, call, dim, members)
    if source.log is not None:
        found = replace(found, log=_pick(source.log, call, dim, members))
    all_of_them = dim is not None and members == list(range(source.shape[dim]))
    return passed(found, call, "" if all_of_them and call.op != "select" else "slice")


def _pick(source: Values, call: Call, dim: int | None, members: list[int] | None) -> Values:
    """Some positions of a dimension."""
    drops, total = call.op in ("select", "unbind"), source.total
    if total is None or dim is None:
        return moved(source, None, call.shape)
    if dim != total.dim:
        place = total.dim
        if drops and isinstance(place, int) and place > dim:
            place -= 1
        return moved(source, place, call.shape)
    found = moved(source, ONE if drops else dim, call.shape)
    numbers = sorted(total.members)
    if found.total is None or members is None or len(set(members)) != len(members):
        return replace(found, total=None)
    if members == list(range(source.shape[dim])) and not drops:
        return found
    known = len(numbers) == source.shape[dim]
    chosen = frozenset(numbers[m] for m in members) if known else None
    return replace(found, total=part(found.total, chosen, source.bounds[0]))


def _members(call: Call) -> tuple[int | None, list[int] | None]:
    """The dimension that is picked from, and which positions; None where that is not known."""
    given, shape = call.arguments, call.source.shape
    if call.op == "index":
        tables = list(given["indices"])
        at = [d for d, table in enumerate(tables) if table is not None]
        numbers = (call.values or {}).get("indices")
        return (at[0], numbers) if len(at) == 1 else (None, None)
    dim = call.dim()
    size = shape[dim]
    if call.op in ("slice", "slice_copy"):
        spread = range(size)[slice(given["start"], given["end"], given["step"])]
        return dim, list(spread)
    if call.op == "narrow":
        start = int(given["start"])
        return dim, list(range(start, start + int(given["length"])))
    if call.op in ("select", "unbind"):
        number = given["index"] if call.op == "select" else call.index
        return dim, [number % size]
    if call.op == "index_select":
        return dim, (call.values or {}).get("index")
    return dim, _piece(call, dim, size)


def _piece(call: Call, dim: int, size: int) -> list[int]:
    """Positions of one piece of a split."""
    given = call.arguments
    sizes = given.get("split_sizes", given.get("split_size"))
    if isinstance(sizes, list | tuple):
        start = sum(sizes[: call.index])
    elif "chunks" in given:
        start = call.index * -(-size // given["chunks"])
    else:
        start = call.index * int(sizes or 1)
    return list(range(start, start + call.shape[dim]))


@rule("cat concat concatenate stack")
def _joined(call: Call) -> Values:
    tensors = call.arguments["tensors"]
    parts: list[Values] = [t for t in tensors if t.shape != (0,)]
    dim = call.dim(rank=len(call.shape))
    first = next(p for p in parts if p.nature != "constant")
    found = mixed(parts, first)
    bounds = parts[0].bounds
    for one in parts[1:]:
        bounds = hull(bounds, one.bounds)
    found = replace(
        found, shape=call.shape, bounds=bounds, total=_sum(parts, dim, stacked=call.op == "stack")
    )
    logs = [p.log for p in parts]
    if all(logs):
        inner = [log for log in logs if log is not None]
        total = _sum(inner, dim, stacked=call.op == "stack")
        wide = inner[0].bounds
        for one in inner[1:]:
            wide = hull(wide, one.bounds)
        found = replace(found, log=replace(inner[0], shape=call.shape, total=total, bounds=wide))
    else:
        found = replace(found, log=None)
    return passed(found, call, "concatenation")


def _sum(parts: Sequence[Values], dim: int, *, stacked: bool) -> Total | None:
    """The total of tensors that are joined along a dimension."""
    if len(parts) == 2 and _rest(*parts):
        return Total(dim, (1.0, 1.0))
    totals = [p.total for p in parts]
    if all(t is not None and t.dim == dim and not stacked for t in totals):
        return joined([t for t in totals if t is not None], dim)
    if stacked and all(t is not None and t.dim is ONE for t in totals):
        return joined([t for t in totals if t is not None], dim)
    known = [t for t in totals if t is not None]
    if stacked and len(known) == len(parts) and all(isinstance(t.dim, int) for t in known):
        known = [replace(t, dim=t.dim + (t.dim >= dim)) for t in known]
        stacked = False
    dims = {t.dim for t in known}
    if not stacked and len(known) == len(parts) and len(dims) == 1:
        low, high = known[0].bounds
        for each in known[1:]:
            low, high = hull((low, high), each.bounds)
        return Total(dims.pop(), (low, high))
    if any(t is not None and t.dim == dim for t in totals) and not stacked:
        bounds = (0.0, 0.0)
        for one in parts:
            own = one.total
            count = float(one.shape[dim])
            fits = own is not None and own.dim == dim
            bounds = plus(bounds, own.bounds if fits and own else times(one.bounds, (count, count)))
        return Total(dim, bounds)
    return None


def _rest(a: Values, b: Values) -> bool:
    """Whether one is 1 minus the other."""
    return (a.rest_of is not None and a.rest_of == b.key) or (
        b.rest_of is not None and b.rest_of == a.key
    )


def mixed(parts: Sequence[Values], first: Values) -> Values:
    """The nature of tensors side by side: of one kind, or unknown."""
    natures = {p.nature for p in parts if p.nature != "constant"}
    activations = {p.activation for p in parts if p.nature != "constant"}
    if len(natures) == 1 and len(activations) == 1:
        return first
    if natures <= {"scores", "integer"}:
        named = next((p for p in parts if p.activation), first)
        return replace(named, nature="scores")
    names = " and ".join(dict.fromkeys(p.made or p.nature for p in parts if p.nature != "constant"))
    return replace(first, nature="unknown", made=f"{names}, joined", activation="")


@rule("upsample_nearest2d upsample_nearest1d _upsample_nearest_exact2d upsample_bilinear2d "
      "_upsample_bilinear2d_aa upsample_bicubic2d _upsample_bicubic2d_aa upsample_linear1d "
      "reflection_pad2d replication_pad2d reflection_pad1d replication_pad1d "
      "_adaptive_avg_pool2d adaptive_avg_pool2d grid_sampler grid_sampler_2d pixel_shuffle "
      "pixel_unshuffle channel_shuffle")  # fmt: skip
def _resized(call: Call) -> Values:
    source = call.source
    found = moved(source, _dim(source), call.shape)
    word = "resize" if "upsample" in call.op else call.op.strip("_").removesuffix("2d")
    if "bicubic" in call.op or "grid" in call.op or "shuffle" in call.op:
        found = replace(found, log=None)
    if "bicubic" in call.op:
        reach = source.bounds[1] - source.bounds[0]
        found = replace(found, bounds=plus(source.bounds, (-reach, reach)))
        word = "bicubic resize"
    elif call.op.startswith("grid"):
        found = replace(found, bounds=hull(source.bounds, (0, 0)), total=None)
    interpolates = "nearest" not in call.op and "pad" not in call.op
    if "shuffle" in call.op:
        found = replace(found, total=None)
    elif found.total is not None and found.total.dim not in (0, len(call.shape) - 3):
        found = replace(found, total=None, along=None if source.total is None else source.total.dim)
    if interpolates and found.log is not None:
        total = found.log.total
        less = None if total is None else Total(total.dim, (0.0, total.bounds[1]))
        found = replace(found, log=replace(found.log, total=less))
    return passed(found, call, word)


@rule("avg_pool2d avg_pool1d max_pool2d_with_indices max_pool2d amax amin max min median nanmedian "
      "kthvalue topk sort cummax cummin")  # fmt: skip
def _chosen(call: Call) -> Values:
    source = call.source
    if call.index or call.op == "argmax":
        return Values("integer", call.shape, made=call.op, key=call.key)
    if "other" in call.arguments:
        return RULES[f"{call.op}imum"](call)
    found = replace(moved(source, None, call.shape), log=None)
    if call.op.startswith("avg_pool"):
        pads = any(call.arguments.get("padding") or [0])
        found = replace(moved(source, _dim(source), call.shape), log=None)
        if pads and call.arguments.get("count_include_pad", True):
            return passed(_diluted(found), call)
        if found.total is not None and found.total.dim != len(call.shape) - 3:
            found = replace(found, total=None)
    return passed(found, call, call.op.split("_with")[0])


def _diluted(values: Values) -> Values:
    """Values among which zeros were mixed."""
    total = values.total
    less = None if total is None else Total(total.dim, hull(total.bounds, (0, 0)))
    return replace(values, bounds=hull(values.bounds, (0, 0)), total=less, log=None)


@rule("constant_pad_nd im2col unfold col2im")
def _padded(call: Call) -> Values:
    source, total = call.source, call.source.total
    if call.op != "constant_pad_nd":
        return passed(replace(moved(source, None, call.shape), log=None), call)
    value = float(call.arguments.get("value") or 0)
    amounts = call.arguments["pad"]
    found = moved(source, _dim(source), call.shape)
    if max(amounts) <= 0:
        crops = (
            total is None
            or call.shape[total.dim if isinstance(total.dim, int) else 0]
            == (source.shape[total.dim if isinstance(total.dim, int) else 0])
        )
        return passed(found if crops else replace(found, total=None), call, "crop")
    found = replace(found, bounds=hull(source.bounds, (value, value)), log=None)
    if total is not None and isinstance(total.dim, int):
        size, before = call.shape[total.dim], source.shape[total.dim]
        if size != before:
            more = (size - before) * value
            found = replace(found, total=Total(total.dim, plus(total.bounds, (more, more))))
        else:
            found = replace(
                found, total=Total(total.dim, hull(total.bounds, (size * value, size * value)))
            )
    return passed(found, call, "pad")


@rule("mean sum nansum")
def _reduced(call: Call) -> Values:
    source, total, dims = call.source, call.source.total, call.dims()
    keep = bool(call.arguments.get("keepdim"))
    count = prod(source.shape[d] for d in dims)
    bounds, dim = source.bounds, _dim(source)
    over = isinstance(dim, int) and dim in dims
    if over and total is not None:
        others = count // source.shape[dim]
        factor = 1 / source.shape[dim] if call.op == "mean" else others
        bounds = times(total.bounds, (factor, factor))
        kept = call.op == "sum" and keep and others == 1
        total = replace(total, bounds=bounds) if kept else None
    elif call.op != "mean":
        bounds = times(bounds, (count, count))
        total = total and replace(total, bounds=times(total.bounds, (count, count)), whole=None)
    if total is not None and isinstance(dim, int) and not keep:
        total = replace(total, dim=dim - sum(d < dim for d in dims))
    key = ("=sum", source.key, tuple(dims), keep) if call.op == "sum" else call.key
    through = "mean" if call.op == "mean" else "sum"
    found = replace(source, shape=call.shape, bounds=bounds, total=total, along=None, log=None)
    return replace(passed(found, call, through), key=key)


@rule("argmax argmin")
def _counted(call: Call) -> Values:
    return Values("integer", call.shape, made=call.op, key=call.key, bounds=(0, inf))
