"""Window ops at an image's edge pad themselves where that costs less than a padded copy."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from gigafcn.geometry import Box, Span
from gigafcn.graph.rules.window import Convolution

GRID = (96, 96)


class Op:
    """A convolution that notes what it is given and how many px it computes."""

    def __init__(self, rule: Convolution) -> None:
        self._rule = rule
        self.paddings: list[tuple[int, int]] = []
        self.computed = 0

    def __call__(self, window: Tensor, padding: tuple[int, int]) -> Tensor:
        self.paddings.append(padding)
        rule = self._rule
        made = functional.conv2d(window, rule.weight, None, rule.stride, padding, rule.dilation)
        self.computed += made.shape[2] * made.shape[3]
        return made


def rule_of(dilation: int, stride: int = 1) -> Convolution:
    weight = torch.randint(-9, 9, (2, 2, 3, 3)).float()
    d, s = (dilation, dilation), (stride, stride)
    return Convolution(weight, None, s, d, d, 1, GRID)


def convolved(rule: Convolution, op: Op, out: Box) -> tuple[Tensor, Tensor]:
    """The box as the rule convolves it, and as it is cut from the whole."""
    image = torch.randint(-9, 9, (1, 2, *GRID)).float()
    whole = functional.conv2d(image, rule.weight, None, rule.stride, rule.padding, rule.dilation)
    rows, columns = out.relative_to(Box(0, 0, 0, 0))
    return rule.convolve(op, image, Box.whole(GRID), out), whole[:, :, rows, columns]


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("rows", [Span(0, 32), Span(16, 48), Span(10, 48), Span(0, 48)])
def test_an_edge_is_left_to_the_op(rows: Span, stride: int) -> None:
    rule = rule_of(1, stride)
    op, out = Op(rule), Box.of(rows, Span(0, 20))
    found, expected = convolved(rule, op, out)
    assert found.equal(expected)
    assert op.paddings[0][1] > 0
    assert op.computed <= 1.2 * out.area


@pytest.mark.parametrize("rows", [Span(0, 32), Span(64, 96), Span(30, 62), Span(0, 96)])
def test_wide_gaps_compute_little_that_is_cut_off(rows: Span) -> None:
    rule = rule_of(36)
    op, out = Op(rule), Box.of(rows, Span(0, 96))
    found, expected = convolved(rule, op, out)
    assert found.equal(expected)
    assert op.computed <= 1.25 * out.area
