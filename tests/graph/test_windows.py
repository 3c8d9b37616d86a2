"""Attention inside windows is local; windows that wrap round or grow with the image are refused."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from gigafcn.analysis import analyze
from gigafcn.graph.trace import trace
from tests.attention_nets import CyclicNet, HaloAttention, HaloNet, WindowAttention, WindowNet
from tests.attention_nets import in_windows as windowed
from tests.nets import randomised
from tests.sweeping import placed, random_image, swept, traced, whole

if TYPE_CHECKING:
    from collections.abc import Callable


class Function(nn.Module):
    """A function of the image as a model."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


class Global(nn.Module):
    """Attention over all pixels, written as attention in one window of the image's size."""

    def __init__(self) -> None:
        super().__init__()
        self.part = WindowAttention(4, 2, 1, fused=True)
        self.part.bias = nn.Parameter(torch.zeros(1, 1, 1))
        self.first = nn.Conv2d(3, 4, 16, 16)

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x).permute(0, 2, 3, 1)
        return windowed(y, y.shape[1], self.part).permute(0, 3, 1, 2)


def pooled_by_a_view(x: Tensor) -> Tensor:
    b, c, height, width = x.shape
    parts = x.view(b, c, 2, height // 2, 2, width // 2).mean((3, 5))
    return x + functional.interpolate(parts, size=(height, width))


def pooled_by_its_size(x: Tensor) -> Tensor:
    pooled = functional.avg_pool2d(x, x.shape[2:])
    return x + functional.interpolate(pooled, size=x.shape[2:], mode="bilinear")


def resized_to_a_size(x: Tensor) -> Tensor:
    small = functional.interpolate(x, size=(64, 64), mode="bilinear")
    return x + functional.interpolate(small, size=x.shape[2:], mode="bilinear")


@pytest.mark.parametrize("make", [HaloNet, WindowNet])
def test_attention_in_windows_has_the_period_of_the_windows(make: type[nn.Module]) -> None:
    found = analyze(make())
    assert found.period == (2, 2)
    # Two convolutions, and a margin or second window of 1 px, and the window's other pixel.
    assert found.halo == (4, 4, 4, 4)


@pytest.mark.parametrize("size", [(8, 24), (24, 8), (8, 8), (16, 16)])
def test_an_image_of_a_single_window_is_swept_too(size: tuple[int, int]) -> None:
    attention = HaloAttention(8, heads=2, block=8, margin=2)
    net = randomised(nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), attention))
    image = random_image(size, torch.float64)
    found = swept(placed(traced(net, size), torch.float64), image, (5, 7), strip=2, block=3)
    expected = whole(net, image)
    # Rounding in double.
    assert (found - expected).abs().max() <= 1e-12 * expected.abs().max()


@pytest.mark.parametrize("size", [(2, 2), (2, 6), (6, 2)])
def test_windows_joined_as_in_swin_may_be_one(size: tuple[int, int]) -> None:
    net = randomised(WindowNet())
    image = random_image(size, torch.float64)
    found = swept(placed(traced(net, size), torch.float64), image, (2, 2), strip=1, block=1)
    expected = whole(net, image)
    # Rounding in double.
    assert (found - expected).abs().max() <= 1e-12 * expected.abs().max()


def test_windows_shifted_by_a_roll_are_refused_for_the_roll_alone() -> None:
    (blocker,) = trace(CyclicNet().eval(), 3, (64, 64)).blockers
    assert "roll" in blocker.op
    assert "opposite edge" in blocker.reason


@pytest.mark.parametrize(
    ("model", "op", "reason"),
    [
        (Function(pooled_by_a_view), "view", "does not do the same at all image sizes"),
        (Function(pooled_by_its_size), "avg_pool2d", "it changes with the image"),
        (Function(resized_to_a_size), "upsample_bilinear2d", "gives a fixed size"),
        (Global(), "view", "does not do the same at all image sizes"),
    ],
    ids=["view", "pool", "resize", "attention"],
)
def test_windows_that_are_parts_of_the_image_are_refused(
    model: nn.Module, op: str, reason: str
) -> None:
    (blocker, *_) = analyze(model).blockers
    assert op in blocker.op
    assert reason in blocker.reason


def test_long_steps_that_stay_as_they_are_do_not_block() -> None:
    pooled = Function(lambda x: functional.avg_pool2d(x, 64).repeat_interleave(8, 2))
    assert analyze(pooled).stride == (Fraction(8), Fraction(64))
