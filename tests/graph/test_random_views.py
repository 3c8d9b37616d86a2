"""Random views and permutations, followed label by label, against torch's own, box by box."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
import torch

from gigafcn.geometry import Box
from gigafcn.graph.rules import (
    IMAGE_AXES,
    Blocked,
    OpCall,
    Value,
    apart,
    build,
    whole_shape,
)
from gigafcn.graph.rules.registry import window_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from torch import Tensor

aten = torch.ops.aten
SIZES = ((1, 4, 4, 6), (1, 1, 4, 2), (1, 6, 1, 4), (1, 2, 8, 1), (1, 8, 2, 2), (1, 4, 1, 1))


@dataclass(frozen=True, slots=True)
class Followed:
    """A tensor as the model sees it, and as tracing keeps it."""

    seen: Tensor
    kept: Tensor
    value: Value


def image(shape: tuple[int, ...]) -> Followed:
    """Numbers that all differ."""
    size = shape[0] * shape[1] * shape[2] * shape[3]
    tensor = torch.arange(size, dtype=torch.float64).view(shape)
    return Followed(tensor, tensor, Value(0, shape, IMAGE_AXES))


def divided(size: int, rng: random.Random) -> list[int]:
    """A random shape of so many elements."""
    shape = []
    while size > 1:
        part = rng.choice([d for d in range(1, size + 1) if size % d == 0])
        shape.append(part)
        size //= part
    return [*shape, 1] if rng.random() < 0.3 else shape or [1]


def regrouped(shape: tuple[int, ...], rng: random.Random) -> list[int]:
    """A random view of a shape that splits and merges neighbours."""
    parts = [d for size in shape for d in (divided(size, rng) if rng.random() < 0.4 else [size])]
    result = [parts[0]]
    for part in parts[1:]:
        if rng.random() < 0.3:
            result[-1] *= part
        else:
            result.append(part)
    return result


def applied(
    now: Followed, target: Callable[..., Any], argument: Any, rng: random.Random
) -> Followed:
    """One op more, its rule compared with torch on the whole and on random boxes."""
    seen = target(now.seen, argument)
    names = [a.name for a in target._schema.arguments]  # type: ignore[attr-defined]
    arguments = dict(zip(names, (now.value, argument), strict=True))
    call = OpCall(target, arguments, tuple(seen.shape), 0, windows=rng.random() < 0.5)
    built = build(call)
    axes = apart(built.axes)
    if built.rule is None:
        return Followed(
            seen, now.kept, Value(0, tuple(seen.shape), built.axes, None, now.value.pixels)
        )
    pixels = None if axes == built.axes else now.value.grid
    kept = seen.reshape(
        tuple(seen.shape) if pixels is None else whole_shape(tuple(seen.shape), built.axes, pixels)
    )
    grid = kept.shape[axes.index("y")], kept.shape[axes.index("x")]
    for out in (Box.whole(grid), part_of(grid, rng), part_of(grid, rng)):
        need = Box.of(built.rule.need(out.y, 0), built.rule.need(out.x, 1))
        assert need.clip(now.value.grid) == need
        held = window_of(now.kept, Box.whole(now.value.grid), need, apart(now.value.axes or ()))
        found = built.rule.run([held], [need], out)
        assert torch.equal(found, window_of(kept, Box.whole(grid), out, axes)), (now.value, call)
    return Followed(seen, kept, Value(0, tuple(seen.shape), built.axes, built.rule, pixels))


def part_of(grid: tuple[int, int], rng: random.Random) -> Box:
    """A random box with something in it."""
    (y0, y1), (x0, x1) = (sorted(rng.sample(range(n + 1), 2)) for n in grid)
    return Box(y0, x0, y1, x1)


@pytest.mark.parametrize("shape", SIZES)
def test_what_is_followed_is_what_torch_does(shape: tuple[int, ...]) -> None:
    rng = random.Random(0)
    followed = 0
    for _ in range(300):
        now = image(shape)
        for _ in range(6):
            order = rng.sample(range(now.seen.dim()), now.seen.dim())
            view = regrouped(tuple(now.seen.shape), rng)
            step = (aten.permute.default, order), (aten.reshape.default, view)
            try:
                now = applied(now, *rng.choice(step), rng)
            except Blocked:
                break
            followed += 1
    assert followed > 300
