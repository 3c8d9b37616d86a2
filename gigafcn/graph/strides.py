"""How coarse each tensor is against the image: strides, the period, and shift invariance."""

from __future__ import annotations

from fractions import Fraction
from math import lcm
from typing import TYPE_CHECKING

from gigafcn.graph.rules.regroup import (
    PixelShuffle,
    PixelUnshuffle,
    PixelView,
    RepeatPixels,
    Windows,
)
from gigafcn.graph.rules.resample import Bilinear, Nearest
from gigafcn.graph.rules.shape import Crop
from gigafcn.graph.rules.taps import TapResize
from gigafcn.graph.rules.unpool import MaxPoolIndices, MaxUnpool
from gigafcn.graph.rules.window import AveragePool, Convolution, MaxPool, TransposedConvolution

if TYPE_CHECKING:
    from gigafcn.graph.model_graph import ModelGraph
    from gigafcn.graph.rules import Rule

Resize = Nearest | Bilinear | TapResize


def rule_stride(rule: Rule, axis: int) -> Fraction:
    """Input pixels per output pixel of one op."""
    match rule:
        case Convolution() | MaxPool() | MaxPoolIndices() | AveragePool():
            return Fraction(rule.stride[axis])
        case TransposedConvolution() | MaxUnpool():
            return Fraction(1, rule.stride[axis])
        case PixelShuffle():
            return Fraction(1, rule.factor)
        case PixelUnshuffle():
            return Fraction(rule.factor)
        case PixelView():
            return Fraction(rule.split[axis], rule.merged[axis])
        case RepeatPixels():
            return Fraction(1, rule.times if axis == rule.axis else 1)
        case Nearest() | Bilinear() | TapResize():
            return _resize_stride(rule, axis)
        case Crop() | Windows():
            return Fraction(rule.step if axis == rule.axis else 1)
        case _:
            return Fraction(1)


def _resize_stride(rule: Resize, axis: int) -> Fraction:
    given = rule.scales[axis]
    if given:
        return 1 / Fraction(given).limit_denominator(1 << 16)
    return Fraction(rule.grid[axis], rule.out_grid[axis])


def node_strides(graph: ModelGraph, axis: int, *, sized: bool = True) -> list[Fraction]:
    """Image pixels per pixel of every node.

    ``sized=False`` takes resizes to a given size as ratio 1: their true ratio shows only when the
    image is a multiple of the other layers' period.
    """
    if graph.scales is not None:
        return [scale[axis] for scale in graph.scales]
    strides = [Fraction(1)]
    for node in graph.nodes[1:]:
        assert node.rule is not None
        step = rule_stride(node.rule, axis)
        by_size = isinstance(node.rule, Resize) and not node.rule.scales[axis]
        strides.append(strides[node.inputs[0]] * (step if sized or not by_size else Fraction(1)))
    return strides


def period(graph: ModelGraph, axis: int, *, sized: bool = True) -> int:
    """Smallest P such that for image sizes n*P every tensor's size is affine in n.

    A tensor of stride S has n*P/S pixels plus a constant, so P must be a multiple of the numerator
    of every S.  1 for a model without a period, whose images are not padded.
    """
    if graph.scales is not None:
        return 1
    return lcm(*(stride.numerator for stride in node_strides(graph, axis, sized=sized)))


def shift_invariant(graph: ModelGraph) -> bool:
    """False if a resize's weights depend on where in the image a pixel lies."""
    for node in graph.nodes:
        rule = node.rule
        if isinstance(rule, Bilinear | TapResize) and rule.align_corners:
            return False
        if isinstance(rule, Resize):
            ratios = (_resize_stride(rule, axis) for axis in (0, 1))
            if any(r.numerator != 1 and r.denominator != 1 for r in ratios):
                return False
    return True
