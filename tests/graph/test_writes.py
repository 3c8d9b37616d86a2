"""Ops that overwrite tensors mean the same in the graph as in the module."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from gigafcn.graph import trace as tracing
from tests.sweeping import placed, random_image, swept, traced, whole

if TYPE_CHECKING:
    from collections.abc import Callable

SIZE = (16, 24)


class Written(nn.Module):
    """A function of the image, a convolution and a learned value per channel."""

    def __init__(self, function: Callable[[Tensor, nn.Module, Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.shift = nn.Parameter(torch.tensor([0.5, -0.25, 1.0]).view(3, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x, self.conv, self.shift)


def twice_named(x: Tensor, conv: nn.Module, shift: Tensor) -> Tensor:
    a: Tensor = conv(x)
    b = a
    a.relu_()
    return b + shift


def through_dropout(x: Tensor, conv: nn.Module, shift: Tensor) -> Tensor:
    a: Tensor = conv(x)
    b = functional.dropout(a, 0.5, training=False)
    b.relu_()
    return a + shift


def copied(x: Tensor, conv: nn.Module, shift: Tensor) -> Tensor:
    a: Tensor = conv(x)
    b = a.clone()
    b.relu_()
    return a + b * shift


def part_of_it(x: Tensor, conv: nn.Module, shift: Tensor) -> Tensor:
    a: Tensor = conv(x)
    a[:, 1:].mul_(2.0)
    return a + shift


def seen_through_a_view(x: Tensor, conv: nn.Module, shift: Tensor) -> Tensor:
    a: Tensor = conv(x)
    view = a.permute(0, 2, 3, 1)
    a.relu_()
    return view.permute(0, 3, 1, 2) + shift


def channels_assigned(x: Tensor, conv: nn.Module, shift: Tensor) -> Tensor:
    a: Tensor = conv(x).clone()
    a[:, 0] = a[:, 1]
    return a + shift


def constant_filled(x: Tensor, conv: nn.Module, shift: Tensor) -> Tensor:
    scale = torch.zeros(3, 1, 1, dtype=x.dtype)
    scale[1] = 2.0
    result: Tensor = conv(x) * scale + shift
    return result


def over_itself_again(x: Tensor, conv: nn.Module, shift: Tensor) -> Tensor:
    a: Tensor = conv(x)
    a.add_(shift).relu_().mul_(a)
    return a.sigmoid_()


SIMPLE = [twice_named, through_dropout, copied, constant_filled, over_itself_again]
VIEWS = [part_of_it, seen_through_a_view]


@pytest.mark.parametrize("function", [*SIMPLE, *VIEWS], ids=lambda f: str(f.__name__))
def test_a_sweep_sees_what_was_overwritten(
    function: Callable[[Tensor, nn.Module, Tensor], Tensor],
) -> None:
    module = Written(function).eval()
    found = tracing.trace(module, 3, SIZE)
    if found.graph is None:
        assert function in VIEWS, found.blockers
        return
    image = random_image(SIZE, torch.float64)
    graph = placed(found.graph, torch.float64)
    result = swept(graph, image, (7, 9), strip=3, block=4)
    # Rounding of sums of 27 products, in double.
    assert (result - whole(module, image.clone())).abs().max() <= 1e-13


def test_assigned_channels_are_refused_or_right() -> None:
    assert tracing.trace(Written(channels_assigned).eval(), 3, SIZE).graph is None


@pytest.mark.parametrize("function", SIMPLE, ids=lambda f: str(f.__name__))
def test_plain_writes_need_no_second_pass(
    function: Callable[[Tensor, nn.Module, Tensor], Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracing, "functional", None)
    traced(Written(function), SIZE)


def test_tracing_leaves_parameters_as_they_are() -> None:
    def spoiling(x: Tensor, conv: nn.Module, shift: Tensor) -> Tensor:
        result: Tensor = conv(x) + shift.view(3, 1, 1).detach().add_(1.0)
        return result

    module = Written(spoiling).eval()
    before = module.shift.clone()
    tracing.trace(module, 3, SIZE)
    assert torch.equal(module.shift, before)


def test_what_is_read_as_data_still_depends_on_the_image() -> None:
    module = Written(lambda x, conv, shift: conv(x).data + shift).eval()
    assert traced(module, SIZE).result.op == "aten.add.Tensor"


def test_blocks_without_gradient_or_autocast_are_looked_into() -> None:
    def wrapped(x: Tensor, conv: nn.Module, shift: Tensor) -> Tensor:
        with torch.enable_grad(), torch.autocast("cpu", enabled=False):
            y: Tensor = conv(x)
        with torch.no_grad():
            return y + shift

    ops = [node.op for node in traced(Written(wrapped), SIZE).nodes]
    assert ops == ["image", "aten.conv2d.default", "aten.add.Tensor"]


def test_autocast_that_is_on_blocks() -> None:
    def lowered(x: Tensor, conv: nn.Module, shift: Tensor) -> Tensor:
        with torch.autocast("cpu"):
            result: Tensor = conv(x) + shift
        return result

    (blocker, *_) = tracing.trace(Written(lowered).eval(), 3, SIZE).blockers
    assert "autocast" in blocker.reason
