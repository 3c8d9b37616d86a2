"""What an op's output truly depends on, found by running torch's own op on poisoned images.

One image per input row (or column) holds NaN there and noise elsewhere; the outputs that turn NaN
depend on it.  This knows nothing of kernels, strides or paddings, so it can judge ``need``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from gigafcn.geometry import EMPTY, Span
from gigafcn.graph.rules import apart
from tests.graph.use import CHANNELS

if TYPE_CHECKING:
    from torch import Tensor

    from gigafcn.graph.rules import Rule
    from tests.graph.use import Use


def dependencies(use: Use, axis: int, axes: tuple[str, ...]) -> Tensor:
    """Truth table (input position, output position) along one axis."""
    size = use.grid[axis]
    images = torch.randn(1, CHANNELS, *use.grid, dtype=torch.float64).repeat(size, 1, 1, 1)
    clean = use.whole(images)
    for position in range(size):
        images[position].select(1 + axis, position).fill_(float("nan"))
    # NaN differs from everything; integers hold none, but change with it.
    poisoned = use.whole(images) != clean
    kept = axes.index("yx"[axis])
    return poisoned.movedim((axes.index("b"), kept), (0, 1)).flatten(2).any(dim=2)


def true_hull(table: Tensor, out: Span) -> Span:
    """Smallest span of inputs that any output position in ``out`` depends on."""
    touched = table[:, out.start : out.stop].any(dim=1).nonzero()
    return Span(int(touched.min()), int(touched.max()) + 1) if len(touched) else EMPTY


def check_need(use: Use) -> None:
    """Assert that ``need`` is sufficient for every span, and the exact hull where it claims so."""
    built = use.built()
    assert built.rule is not None
    for axis in (0, 1):
        table = dependencies(use, axis, apart(built.axes))
        size = use.grid[axis]
        for start in range(table.shape[1]):
            for stop in range(start + 1, table.shape[1] + 1):
                out = Span(start, stop)
                _check_span(use, built.rule, axis, out, true_hull(table, out))
        assert built.rule.need(EMPTY, axis).clip(size).is_empty


def _check_span(use: Use, rule: Rule, axis: int, out: Span, truth: Span) -> None:
    literal = rule.need(out, axis)
    need = literal.clip(use.grid[axis])
    where = f"{use}, axis {axis}, output {out}: need {literal}, truly {truth}"
    assert need.contains(truth), f"not enough: {where}"
    if use.exact[axis]:
        assert need == truth, f"too much: {where}"
    elif use.exact_inside and not truth.is_empty:
        assert literal.start < 0 or need.start == truth.start, f"starts early: {where}"
        assert literal.stop > use.grid[axis] or need.stop == truth.stop, f"ends late: {where}"
