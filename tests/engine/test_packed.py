"""Packed convolutions say the same as plain ones."""

from __future__ import annotations

import random

import pytest
import torch
from torch import nn

from gigafcn.engine.packed import PackedConvolution, pack_convolutions, packable
from gigafcn.geometry import Box
from gigafcn.graph.model_graph import to_device
from gigafcn.graph.rules.window import Convolution
from tests.graph.op_uses import USES
from tests.graph.test_rule_boxes import boxes
from tests.nets import randomised
from tests.sweeping import traced

CPU = torch.device("cpu")


def modules() -> list[nn.Module]:
    """Convolutions of all kinds: strided, dilated, grouped, depthwise, wide, one pixel."""
    return [
        nn.Conv2d(4, 8, 3, 2, 1),
        nn.Conv2d(4, 8, (2, 5), (3, 1), (0, 4), (2, 1), bias=False),
        nn.Conv2d(4, 8, 3, padding=1, groups=2),
        nn.Conv2d(4, 4, 3, padding=1, groups=4),
        nn.Conv2d(4, 1, 1),
        nn.Conv2d(4, 70, 7, padding=3),
    ]


@pytest.mark.parametrize("number", range(6))
def test_a_packed_convolution_says_the_same_up_to_rounding(number: int) -> None:
    size = (31, 26)
    graph = to_device(traced(randomised(modules()[number]), size, 4), CPU, torch.float32)
    plain, packed = graph.result.rule, pack_convolutions(graph).result.rule
    assert isinstance(plain, Convolution)
    assert isinstance(packed, PackedConvolution)
    image = torch.randn(1, 4, *size).contiguous(memory_format=torch.channels_last)
    held = [Box.whole(size)]
    for out in boxes(graph.result.grid, random.Random(number)):
        with torch.inference_mode():
            expected = plain.run([image], held, out)
            difference = (packed.run([image], held, out) - expected).abs().max()
        # float32 sums of at most 196 products, added in another order.
        assert difference <= 1e-5 * max(1.0, float(expected.abs().max()))


@pytest.mark.skipif(
    torch.bfloat16 not in packable(), reason="this processor has no convolutions in bf16"
)
@pytest.mark.parametrize("number", range(6))
def test_in_bf16_a_packed_convolution_says_the_same_up_to_rounding(number: int) -> None:
    size = (31, 26)
    graph = to_device(traced(randomised(modules()[number]), size, 4), CPU, torch.bfloat16)
    plain, packed = graph.result.rule, pack_convolutions(graph).result.rule
    assert isinstance(plain, Convolution)
    assert isinstance(packed, PackedConvolution)
    image = torch.randn(1, 4, *size).bfloat16().contiguous(memory_format=torch.channels_last)
    held, out = [Box.whole(size)], Box.whole(graph.result.grid)
    with torch.inference_mode():
        expected = plain.run([image], held, out)
        difference = (packed.run([image], held, out) - expected).abs().max()
    # Sums are made in fp32 and rounded to 8 bits once; they may fall to either side.
    assert difference <= 2.0**-7 * max(1.0, float(expected.abs().max()))


def test_a_packed_convolution_needs_what_the_plain_one_needs() -> None:
    for use in USES[Convolution]:
        rule = use.built().rule
        assert isinstance(rule, Convolution)
        packed = PackedConvolution(rule, torch.empty(0))
        out = Box(1, 0, 3, 2)
        assert [packed.need(s, a) for a, s in enumerate(out.spans)] == [
            rule.need(s, a) for a, s in enumerate(out.spans)
        ]


def test_nothing_is_packed_in_double() -> None:
    graph = to_device(traced(modules()[0], (31, 26), 4), CPU, torch.float64)
    assert isinstance(pack_convolutions(graph).result.rule, Convolution)
