"""A convolution of an enlarged map says the same when it is computed on the small map."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from torch import Tensor, nn

from gigafcn.engine.placing import placed_on
from gigafcn.engine.upsampled import convolve_before_enlarging
from gigafcn.geometry import Span
from gigafcn.graph.rules.merge import Concatenation
from gigafcn.graph.rules.resample import Nearest
from gigafcn.graph.rules.window import Convolution, TransposedConvolution
from tests.nets import randomised
from tests.sweeping import random_image, swept, traced, whole

if TYPE_CHECKING:
    from gigafcn.graph.model_graph import ModelGraph

SIZE = (48, 64)


class Decoder(nn.Module):
    """Halves its image, enlarges it again and convolves it beside skips."""

    def __init__(
        self, skips: int, *, factor: int = 2, kernel: int = 3, mode: str = "nearest"
    ) -> None:
        super().__init__()
        self.down = nn.Conv2d(3, 6, factor, factor)
        self.up = nn.Upsample(scale_factor=factor, mode=mode)
        self.conv = nn.Conv2d(6 + 3 * skips, 20, kernel, padding=kernel // 2)
        self.skips = skips

    def forward(self, x: Tensor) -> Tensor:
        parts = [x] * (self.skips // 2) + [self.up(self.down(x))] + [x] * -(-self.skips // 2)
        result: Tensor = self.conv(torch.cat(parts, dim=1) if self.skips else parts[0])
        return result


class TwoEnlarged(nn.Module):
    """Concatenates two maps that were enlarged by different factors."""

    def __init__(self) -> None:
        super().__init__()
        self.halved = nn.Conv2d(3, 4, 2, 2, bias=False)
        self.quartered = nn.Conv2d(3, 5, 4, 4)
        self.conv = nn.Conv2d(9, 16, (3, 5), padding=(0, 2))

    def forward(self, x: Tensor) -> Tensor:
        double = nn.functional.interpolate(self.halved(x), scale_factor=2.0)
        fourfold = nn.functional.interpolate(self.quartered(x), scale_factor=4.0)
        result: Tensor = self.conv(torch.cat([double, fourfold], dim=1))
        return result


class ReadTwice(nn.Module):
    """The enlarged map itself is needed too."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        enlarged = nn.functional.interpolate(x, scale_factor=2.0)
        result: Tensor = self.conv(enlarged) + enlarged
        return result


def kinds(graph: ModelGraph) -> list[type]:
    return [type(node.rule) for node in graph.nodes if node.rule is not None]


REWRITTEN = {
    "alone": Decoder(0),
    "beside a skip": Decoder(1),
    "between two skips": Decoder(2),
    "fourfold": Decoder(1, factor=4),
    "nearest-exact": Decoder(1, mode="nearest-exact"),
    "a kernel of 5": Decoder(0, kernel=5),
    "two of different factors": TwoEnlarged(),
}


@pytest.mark.parametrize("name", REWRITTEN)
def test_the_enlarged_map_is_never_made(name: str) -> None:
    graph = convolve_before_enlarging(traced(REWRITTEN[name], SIZE))
    assert Nearest not in kinds(graph)
    assert TransposedConvolution in kinds(graph)


@pytest.mark.parametrize("name", REWRITTEN)
def test_whole_numbers_come_out_bit_for_bit(name: str) -> None:
    module = whole_numbers(REWRITTEN[name])
    image = random_image(SIZE, torch.float32).mul(4).round()
    graph = placed_on(traced(module, SIZE), torch.device("cpu"), torch.float32)
    assert torch.equal(swept(graph, image, (19, 22), strip=7, block=9), whole(module, image))


def whole_numbers(module: nn.Module) -> nn.Module:
    """The module with small integer weights: every sum is exact in fp32."""
    generator = torch.Generator().manual_seed(3)
    for parameter in module.parameters():
        parameter.data = torch.randint(-3, 4, parameter.shape, generator=generator).float()
    return module


@pytest.mark.parametrize("name", REWRITTEN)
def test_its_footprint_is_that_of_the_two_layers(name: str) -> None:
    graph = traced(REWRITTEN[name], SIZE)
    rewritten = convolve_before_enlarging(graph)
    for axis in (0, 1):
        for start in range(graph.result.grid[axis] - 9):
            for size in (1, 2, 5, 9):
                span = Span(start, start + size)
                assert rewritten.need(span, axis) == graph.need(span, axis)


@pytest.mark.parametrize(
    "module",
    [
        nn.Sequential(nn.Upsample(scale_factor=3), nn.Conv2d(3, 6, 3, padding=1)),
        Decoder(1, kernel=1),
        Decoder(0, mode="bilinear"),
        ReadTwice(),
        nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv2d(3, 6, 3, stride=2, padding=1)),
        nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv2d(3, 6, 3, padding=1, groups=3)),
        nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv2d(3, 6, 3, padding=2, dilation=2)),
        nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv2d(3, 6, 3, padding=4)),
    ],
    ids=["thirds", "1 x 1", "bilinear", "read twice", "stride", "groups", "dilation", "far out"],
)
def test_others_stay_as_they_are(module: nn.Module) -> None:
    graph = traced(module, SIZE)
    assert kinds(convolve_before_enlarging(graph)) == kinds(graph)


def test_skips_are_still_joined_for_a_convolution_of_their_own() -> None:
    graph = convolve_before_enlarging(traced(Decoder(2), SIZE))
    joined = next(node for node in graph.nodes if isinstance(node.rule, Concatenation))
    convolved = [
        node.rule.weight.shape[1] for node in graph.nodes if type(node.rule) is Convolution
    ]
    assert joined.channels == 6
    assert convolved == [3, 6]


def test_double_precision_keeps_the_layers_apart() -> None:
    graph = traced(randomised(Decoder(1)), SIZE)
    assert Nearest in kinds(placed_on(graph, torch.device("cpu"), torch.float64))
