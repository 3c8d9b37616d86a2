"""A transposed convolution computed phase by phase says the same as torch's own."""

from __future__ import annotations

import random

import pytest
import torch
from torch import nn

from gigafcn.engine.packed import pack_convolutions
from gigafcn.engine.phased import PhasedConvolution
from gigafcn.geometry import Box
from gigafcn.graph.model_graph import to_device
from gigafcn.graph.rules.window import TransposedConvolution
from tests.graph.test_rule_boxes import boxes
from tests.nets import randomised
from tests.sweeping import traced

CPU = torch.device("cpu")


def phased_layers() -> list[nn.Module]:
    """Kernels that do and do not divide by the stride, few and many outputs, no bias."""
    return [
        nn.ConvTranspose2d(4, 3, 3, 2, 1, 1),
        nn.ConvTranspose2d(4, 2, 4, 2, 1),
        nn.ConvTranspose2d(4, 1, (3, 5), (2, 3), (0, 2), bias=False),
        nn.ConvTranspose2d(4, 3, 5, 2, 2, 1),
        nn.ConvTranspose2d(4, 1, 7, 4, 0, 3),
        nn.ConvTranspose2d(4, 16, 3, 2, 1, 1),
        nn.ConvTranspose2d(4, 33, 3, 2, 1),
        nn.ConvTranspose2d(4, 20, (5, 4), (1, 3), (3, 0), (0, 1)),
        nn.ConvTranspose2d(4, 5, 2, 3),
        nn.ConvTranspose2d(160, 32, 4, 2, 1, bias=False),
    ]


GROUPINGS = [(2, 2), (2, 2), (2, 3), (2, 2), (4, 4), (1, 2), (1, 1), (1, 1), (3, 3), (1, 1)]
"""Phases (y, x) that each of them computes together."""


@pytest.mark.parametrize("number", range(10))
def test_phases_say_the_same_up_to_rounding(number: int) -> None:
    size = (17, 14)
    layer = phased_layers()[number]
    channels = layer.in_channels
    assert isinstance(channels, int)
    graph = to_device(traced(randomised(layer), size, channels), CPU, torch.float32)
    plain, packed = graph.result.rule, pack_convolutions(graph).result.rule
    assert isinstance(plain, TransposedConvolution)
    assert isinstance(packed, PhasedConvolution)
    assert packed.parts[0].count == GROUPINGS[number]
    image = torch.randn(1, channels, *size).contiguous(memory_format=torch.channels_last)
    held = [Box.whole(size)]
    for out in [Box.whole(graph.result.grid), *boxes(graph.result.grid, random.Random(number))]:
        with torch.inference_mode():
            expected = plain.run([image], held, out)
            found = packed.run([image], held, out)
        assert found.shape == expected.shape
        # float32 sums of at most 640 products, added in another order.
        assert (found - expected).abs().max() <= 1e-5 * max(1.0, float(expected.abs().max()))


@pytest.mark.parametrize(
    "module",
    [
        nn.ConvTranspose2d(4, 32, 2, 2),
        nn.ConvTranspose2d(4, 32, 4, 2),
        nn.ConvTranspose2d(4, 4, 3, 1),
        nn.ConvTranspose2d(4, 4, 3, 2, groups=2),
        nn.ConvTranspose2d(4, 1, 3, 2, dilation=2),
    ],
    ids=["nothing to gain", "nor here", "one phase", "groups", "dilation"],
)
def test_others_stay_as_they_are(module: nn.Module) -> None:
    graph = to_device(traced(module.eval(), (8, 8), 4), CPU, torch.float32)
    assert isinstance(pack_convolutions(graph).result.rule, TransposedConvolution)
