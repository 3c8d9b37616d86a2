"""A tuned module says what it said, up to rounding, and only known layers change."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from torch import Tensor, nn

from gigafcn.engine.tuned import tune
from tests.run.small_nets import random_numbers

if TYPE_CHECKING:
    from collections.abc import Callable

NOISE = torch.randn((1, 3, 32, 32), generator=torch.Generator().manual_seed(0))


def used(net: nn.Module) -> nn.Module:
    """The net with statistics as after training."""
    generator = torch.Generator().manual_seed(1)
    for layer in random_numbers(net).modules():
        if isinstance(layer, nn.BatchNorm2d) and layer.running_mean is not None:
            assert layer.running_var is not None
            layer.running_mean.normal_(generator=generator)
            layer.running_var.uniform_(0.5, 2, generator=generator)
    return net


class Twice(nn.Module):
    """Two readers of one convolution, and one norm after two convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.norm, self.shared = nn.BatchNorm2d(4), nn.BatchNorm2d(4)

    def forward(self, image: Tensor) -> Tensor:
        first = self.first(image)
        result: Tensor = self.norm(first) + first
        summed: Tensor = result + self.shared(self.second(result)) + self.shared(result)
        return summed


def plain() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU(True),
        nn.Conv2d(8, 8, 3, padding=1, groups=4), nn.BatchNorm2d(8, affine=False), nn.PReLU(),
        nn.ConvTranspose2d(8, 4, 3, 2, 1, 1), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1),
    )  # fmt: skip


@pytest.mark.parametrize(("make", "folded"), [(plain, 3), (Twice, 0)])
def test_norms_are_folded_only_into_a_convolution_that_feeds_nothing_else(
    make: Callable[[], nn.Module], folded: int
) -> None:
    net = used(make())
    with torch.inference_mode():
        expected = net(NOISE)
        tune(net, net, NOISE)
        found = net(NOISE)
    norms = [layer for layer in net.modules() if isinstance(layer, nn.BatchNorm2d)]
    assert sum("forward" in vars(norm) for norm in norms) == folded
    # A few layers in float32; weights are folded in float64.
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_any_batch_and_size_runs_after_tuning() -> None:
    net = used(plain())
    batch = torch.randn((5, 3, 46, 70), generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        expected = net(batch)
        tune(net, net, NOISE)
        # As above.
        torch.testing.assert_close(net(batch), expected, rtol=1e-5, atol=1e-5)


class Fragile(nn.Module):
    """Says something else once its convolution is tuned."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 3, 1)

    def forward(self, image: Tensor) -> Tensor:
        result: Tensor = self.layer(image)
        return -result if "forward" in vars(self.layer) else result


def test_a_module_that_answers_otherwise_is_left_as_it_was() -> None:
    net = used(Fragile())
    tune(net, net, NOISE)
    assert "forward" not in vars(net.layer)


def test_layers_with_hooks_or_of_other_types_are_left_alone() -> None:
    class Own(nn.Conv2d):
        pass

    net = used(nn.Sequential(nn.Conv2d(3, 3, 1), Own(3, 3, 1)))
    net[0].register_forward_hook(lambda *_: None)  # type: ignore[index]
    tune(net, net, NOISE)
    assert not any("forward" in vars(layer) for layer in net.modules())
