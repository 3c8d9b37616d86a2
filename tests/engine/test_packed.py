"""Packed convolutions say the same as plain ones."""

from __future__ import annotations

import random

import pytest
import torch
from torch import nn

from gigafcn.engine.packed import (
    PackedConvolution,
    PackedWeights,
    pack_convolutions,
    packable,
    packed_weights,
)
from gigafcn.geometry import Box
from gigafcn.graph.model_graph import to_device
from gigafcn.graph.rules.window import Convolution
from tests.graph.op_uses import USES
from tests.graph.test_rule_boxes import boxes
from tests.nets import randomised
from tests.sweeping import traced

CPU = torch.device("cpu")


def modules() -> list[nn.Module]:
    """Convolutions of all kinds: strided, dilated, grouped, depthwise, one pixel, wide, gaping."""
    return [
        nn.Conv2d(4, 8, 3, 2, 1),
        nn.Conv2d(4, 8, (2, 5), (3, 1), (0, 4), (2, 1), bias=False),
        nn.Conv2d(4, 8, 3, padding=1, groups=2),
        nn.Conv2d(4, 4, 3, padding=1, groups=4),
        nn.Conv2d(4, 1, 1),
        nn.Conv2d(4, 70, 7, padding=3),
        nn.Conv2d(4, 8, 3, padding=36, dilation=36),
    ]


@pytest.mark.parametrize("number", range(7))
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


NARROW = {
    "one output": (nn.Conv2d(4, 1, 3, padding=1), {16: 8, 8: 8}),
    "three outputs": (nn.Conv2d(4, 3, 3, padding=1), {16: 4, 8: 2}),
    "eight outputs": (nn.Conv2d(4, 8, 3, padding=1), {16: 2, 8: 1}),
    "full registers": (nn.Conv2d(4, 16, 3, padding=1), {16: 1, 8: 1}),
    "a wide kernel": (nn.Conv2d(4, 4, (3, 7), (2, 1), (0, 3), (2, 1), bias=False), {16: 4, 8: 2}),
    "not padded": (nn.Conv2d(4, 3, (1, 4)), {16: 4, 8: 2}),
    "one input, which oneDNN would get wrong": (nn.Conv2d(1, 1, 3, padding=1), {16: 1, 8: 1}),
    "one px": (nn.Conv2d(4, 3, 1), {16: 1, 8: 1}),
    "strided": (nn.Conv2d(4, 3, 3, 2, 1), {16: 1, 8: 1}),
    "dilated": (nn.Conv2d(4, 3, 3, padding=2, dilation=2), {16: 1, 8: 1}),
    "grouped": (nn.Conv2d(4, 2, 3, padding=1, groups=2), {16: 1, 8: 1}),
}
"""Layers with few outputs, and how many px of a row are computed together, by the lanes."""


@pytest.mark.parametrize("lanes", [8, 16])
@pytest.mark.parametrize("name", NARROW)
def test_neighbours_computed_together_are_what_each_is_alone(
    name: str, lanes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gigafcn.engine.packed.vector_lanes", lambda: lanes)
    module, neighbours = NARROW[name]
    size, channels = (13, 38), module.in_channels
    graph = to_device(traced(randomised(module), size, channels), CPU, torch.float32)
    plain, packed = graph.result.rule, pack_convolutions(graph).result.rule
    assert isinstance(plain, Convolution)
    assert isinstance(packed, PackedConvolution)
    assert packed.weights.neighbours == neighbours[lanes]
    image = torch.randint(-9, 9, (1, channels, *size)).float()
    image = image.contiguous(memory_format=torch.channels_last)
    held = [Box.whole(size)]
    width = graph.result.grid[1]
    # All widths at the image's edges and within, so that every remainder of a group occurs.
    for start, stop in [(0, n) for n in range(1, 20)] + [(width - n, width) for n in range(1, 20)]:
        out = Box(2, start, 5, stop)
        with torch.inference_mode():
            expected = plain.run([image], held, out)
            found = packed.run([image], held, out)
        assert found.shape == expected.shape
        # float32 sums of at most 84 products, added in another order.
        assert (found - expected).abs().max() <= 1e-5 * max(1.0, float(expected.abs().max()))


def test_a_stride_along_x_of_one_channel_is_right_where_the_result_is_one_px_wide() -> None:
    net = randomised(nn.Conv2d(1, 8, 3, (1, 2)))
    graph = to_device(traced(net, (9, 4), 1), CPU, torch.float32)
    plain, packed = graph.result.rule, pack_convolutions(graph).result.rule
    assert isinstance(plain, Convolution)
    assert packed is not None
    image = torch.randn(1, 1, *graph.size).contiguous(memory_format=torch.channels_last)
    out = Box.whole(graph.result.grid)
    assert out.x.size == 1
    with torch.inference_mode():
        expected = plain.run([image], [Box.whole(graph.size)], out)
        found = packed.run([image], [Box.whole(graph.size)], out)
    # float32 sums of at most 9 products, added in another order.
    assert (found - expected).abs().max() <= 1e-5 * max(1.0, float(expected.abs().max()))


def test_neighbours_in_a_batch_stay_in_their_own_image() -> None:
    weight, bias = torch.randn(3, 5, 3, 3), torch.randn(3)
    found = packed_weights(weight, bias, (1, 1), (1, 1), 1).convolve(
        images := torch.randn(4, 5, 9, 30), (1, 1)
    )
    expected = torch.nn.functional.conv2d(images, weight, bias, padding=1)
    # float32 sums of 45 products, added in another order.
    assert (found - expected).abs().max() <= 1e-5 * float(expected.abs().max())


@pytest.mark.skipif(
    torch.bfloat16 not in packable(), reason="this processor has no convolutions in bf16"
)
@pytest.mark.parametrize("number", range(7))
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


def plain_weights(rule: Convolution) -> PackedWeights:
    return PackedWeights(torch.empty(0), None, 1, rule.stride, rule.dilation, rule.groups, 1)


def test_a_packed_convolution_needs_what_the_plain_one_needs() -> None:
    for use in USES[Convolution]:
        rule = use.built().rule
        assert isinstance(rule, Convolution)
        packed = PackedConvolution(rule, plain_weights(rule))
        out = Box(1, 0, 3, 2)
        assert [packed.need(s, a) for a, s in enumerate(out.spans)] == [
            rule.need(s, a) for a, s in enumerate(out.spans)
        ]


def test_nothing_is_packed_in_double() -> None:
    graph = to_device(traced(modules()[0], (31, 26), 4), CPU, torch.float64)
    assert isinstance(pack_convolutions(graph).result.rule, Convolution)
