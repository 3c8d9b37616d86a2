"""``run`` of every rule, box by box, against torch's own op on the whole tensor."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest
import torch

from gigafcn.geometry import Box
from gigafcn.graph.rules import apart, place
from gigafcn.graph.rules.pointwise import Pointwise, ScaleShift
from gigafcn.graph.rules.registry import window_of
from gigafcn.graph.rules.resample import Bilinear
from gigafcn.graph.rules.taps import TapResize
from gigafcn.graph.rules.window import AveragePool, Convolution, TransposedConvolution
from tests.graph.op_uses import USES
from tests.graph.use import CHANNELS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from tests.graph.use import Use

ROUNDED = (
    AveragePool,
    Bilinear,
    Convolution,
    Pointwise,
    ScaleShift,
    TapResize,
    TransposedConvolution,
)
"""Rules whose sums may be added in another order than torch's own run of the whole tensor."""


def boxes(grid: tuple[int, int], rng: random.Random) -> Iterator[Box]:
    """The whole, single pixels at the corners, edge strips, and random boxes."""
    height, width = grid
    yield Box.whole(grid)
    yield from (Box(y, x, y + 1, x + 1) for y in (0, height - 1) for x in (0, width - 1))
    yield Box(0, 0, 1, width)
    yield Box(0, max(0, width - 2), height, width)
    for _ in range(5):
        (y0, y1), (x0, x1) = (sorted(rng.sample(range(n + 1), 2)) for n in grid)
        yield Box(y0, x0, y1, x1)


def held_around(need: Box, grid: tuple[int, int], rng: random.Random) -> Box:
    """A box in which an executor might hold the needed pixels, often larger than they are."""
    if need.is_empty:
        return Box(0, 0, 0, 0)
    return Box(
        rng.randint(max(0, need.y0 - 2), need.y0),
        rng.randint(max(0, need.x0 - 2), need.x0),
        rng.randint(need.y1, min(grid[0], need.y1 + 2)),
        rng.randint(need.x1, min(grid[1], need.x1 + 2)),
    )


def in_double(tensor: Tensor) -> Tensor:
    """A weight in double precision; tables stay whole numbers."""
    return tensor.double() if tensor.is_floating_point() else tensor


def window(tensor: Tensor, held: Box, axes: tuple[str, ...], rng: random.Random) -> Tensor:
    """A box of a whole tensor in memory of its own, in one of two layouts."""
    whole = Box.whole((tensor.shape[axes.index("y")], tensor.shape[axes.index("x")]))
    layout = rng.choice((torch.contiguous_format, torch.channels_last))
    found = window_of(tensor, whole, held, axes).clone()
    return found.contiguous(memory_format=layout) if found.dim() == 4 else found


def check_boxes(use: Use, seed: int = 0) -> None:
    """Assert that every box equals the same part of the whole."""
    rng = random.Random(seed)
    image = torch.randn(1, CHANNELS, *use.grid, dtype=torch.float64).float().double()
    built = use.built()
    assert built.rule is not None
    rule, axes, given = place(built.rule, in_double), apart(built.axes), apart(use.axes)
    expected, inputs = use.once(image).double(), use.inputs(image)
    grid = expected.shape[axes.index("y")], expected.shape[axes.index("x")]
    # 1e-12: rounding of sums of at most 100 products of size 1, in double.
    tolerance = 1e-12 if isinstance(rule, ROUNDED) else 0.0
    for out in boxes(grid, rng):
        need = Box.of(rule.need(out.y, 0), rule.need(out.x, 1)).clip(use.grid)
        held = held_around(need, use.grid, rng)
        windows = [window(tensor, held, given, rng) for tensor in inputs]
        found = rule.run(windows, [held] * len(windows), out)
        whole = window_of(expected, Box.whole(grid), out, axes)
        assert found.shape == whole.shape, f"{use}: box {out} has shape {found.shape}"
        difference = (found.double() - whole).abs().max().item()
        assert difference <= tolerance, f"{use}: box {out} differs by {difference}"


@pytest.mark.parametrize("rule", USES, ids=lambda rule: str(rule.__name__))
def test_a_rule_run_box_by_box_equals_the_whole_op(rule: type[Any]) -> None:
    torch.manual_seed(0)
    for number, use in enumerate(USES[rule]):
        check_boxes(use, number)
