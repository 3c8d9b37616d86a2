"""Corners of the sweep: boxes that read nothing, what may be overwritten, truth values, reuse."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from gigafcn.engine.sweep import Sweep
from gigafcn.geometry import Box
from gigafcn.plan.sweep_plan import plan_sweep
from tests.nets import randomised
from tests.sweeping import local_net, placed, planned, random_image, swept, traced, whole

if TYPE_CHECKING:
    from collections.abc import Callable

SIZE = (20, 17)


class Layered(nn.Module):
    """A function of an image and of some layers."""

    def __init__(self, function: Callable[..., Tensor], *layers: nn.Module) -> None:
        super().__init__()
        self.function = function
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x, *self.layers)


def check_equal(module: nn.Module, *, tile: int = 8, strip: int = 3, block: int = 4) -> None:
    module = randomised(module)
    local = traced(module, SIZE)
    for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 1e-4)):
        image = random_image(SIZE, dtype)
        graph = placed(local, dtype)
        found = swept(graph, image, (tile, tile), strip=strip, block=block)
        expected = whole(module, image)
        # Rounding of sums of a few dozen terms; float32 shows that precisions are not mixed up.
        assert (found - expected).abs().max() <= tolerance * max(1.0, expected.abs().max().item())


@pytest.mark.parametrize(
    "module",
    [
        nn.Conv2d(3, 4, 3, padding=10),
        nn.Sequential(nn.ZeroPad2d(20), nn.Conv2d(3, 4, 3)),
        nn.Sequential(nn.ConstantPad2d((-5, 30, 25, -6), 2.0), nn.MaxPool2d(2)),
    ],
    ids=["convolution", "zeros", "crop and pad"],
)
def test_blocks_that_lie_wholly_in_padding_read_nothing(module: nn.Module) -> None:
    check_equal(module)


@pytest.mark.parametrize("stride", [3, 4, 5])
def test_blocks_between_what_a_transposed_convolution_reaches_hold_its_bias(stride: int) -> None:
    up = nn.ConvTranspose2d(3, 4, 1, stride, output_padding=stride - 1)
    check_equal(nn.Sequential(nn.Conv2d(3, 3, 3), up), tile=20, strip=2, block=2)


def gated(x: Tensor, gate: nn.Module) -> Tensor:
    return torch.relu(gate(x)) + x


def gated_later(x: Tensor, gate: nn.Module, conv: nn.Module) -> Tensor:
    result: Tensor = gate(x) + torch.relu(conv(x))
    return result


def gated_behind(x: Tensor, gate: nn.Module, conv: nn.Module) -> Tensor:
    result: Tensor = conv(gate(x) + x)
    return result


def test_a_gate_of_one_channel_is_not_overwritten_by_a_sum_of_many() -> None:
    check_equal(Layered(gated, nn.Conv2d(3, 1, 1)))


def test_a_gate_of_one_channel_may_wait_for_the_sum() -> None:
    check_equal(Layered(gated_later, nn.Conv2d(3, 1, 1), nn.Conv2d(3, 4, 5, padding=2)))


def test_a_sum_with_a_gate_of_one_channel_may_be_carried() -> None:
    check_equal(Layered(gated_behind, nn.Conv2d(3, 1, 1), nn.Conv2d(3, 4, 5, padding=2)))


@pytest.mark.parametrize(
    "function",
    [
        lambda x, _conv: (x > 0) + x,
        lambda x, conv: conv((x > 0).to(x.dtype)),
        lambda x, conv: (x > 0) * conv(x) + (x < -0.5) * x,
        lambda x, conv: conv((x > 0) + x),
    ],
    ids=["sum", "carried numbers", "waiting product", "carried sum"],
)
def test_truth_values_are_carried_and_summed_as_such(function: Callable[..., Tensor]) -> None:
    check_equal(Layered(function, nn.Conv2d(3, 3, 5, padding=2)))


def choice(x: Tensor, conv: nn.Module) -> Tensor:
    truth = conv(x) > 0
    return torch.where(truth, conv(truth.to(x.dtype)), x)


def test_truth_values_may_wait_for_a_choice() -> None:
    check_equal(Layered(choice, nn.Conv2d(3, 3, 5, padding=2)))


def doubled(x: Tensor, conv: nn.Module) -> Tensor:
    y: Tensor = conv(x)
    return torch.relu(y + y) - y


def branched(x: Tensor, conv: nn.Module) -> Tensor:
    y = conv(x)
    return torch.cat([torch.relu(y), torch.sigmoid(y), y[:, :1]], dim=1)


def viewed(x: Tensor, conv: nn.Module) -> Tensor:
    y = conv(x)
    return torch.relu(y.permute(0, 2, 3, 1)).permute(0, 3, 1, 2) + torch.relu(y[:, :, :, :])


def picked(x: Tensor, conv: nn.Module) -> Tensor:
    y: Tensor = conv(x)
    return torch.relu(y[:, 1]).unsqueeze(1) + y + torch.sigmoid(y.unbind(1)[2]).unsqueeze(1)


@pytest.mark.parametrize("function", [doubled, branched, viewed, picked])
def test_a_value_with_several_readers_is_not_overwritten(function: Callable[..., Tensor]) -> None:
    check_equal(Layered(function, nn.Conv2d(3, 3, 3, padding=1)))


@pytest.mark.parametrize("axis", [2, 3])
def test_an_output_that_is_a_view_of_a_carried_tensor_is_right(axis: int) -> None:
    def crop(x: Tensor, conv: nn.Module) -> Tensor:
        result: Tensor = conv(x).narrow(axis, 3, 9)
        return result

    check_equal(Layered(crop, nn.Conv2d(3, 4, 5, padding=2)))


def test_the_image_itself_may_be_the_output() -> None:
    check_equal(nn.Identity())


def test_the_same_sweep_may_run_twice() -> None:
    module = randomised(nn.Sequential(nn.Conv2d(3, 3, 5, padding=2), nn.Conv2d(3, 3, 3, padding=1)))
    image = random_image(SIZE, torch.float64)
    graph = placed(traced(module, SIZE), torch.float64)
    sweep = Sweep(graph, planned(graph, Box.whole(SIZE), 4, 5))
    found = [torch.zeros_like(image), torch.zeros_like(image)]

    def write(into: Tensor) -> Any:
        def put(box: Box, pixels: Tensor) -> None:
            into[:, :, box.y0 : box.y1, box.x0 : box.x1] = pixels

        return put

    with torch.inference_mode():
        for result in found:
            sweep.run(lambda box: image[:, :, box.y0 : box.y1, box.x0 : box.x1], write(result))
    assert torch.equal(found[0], found[1])


@pytest.mark.parametrize("strip", [1, 2, 19, 100])
@pytest.mark.parametrize("block", [1, 100])
def test_any_strip_and_block_will_do(strip: int, block: int) -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU(), nn.Upsample(scale_factor=2))
    check_equal(nn.Sequential(net, nn.Conv2d(4, 2, 3, padding=1)), strip=strip, block=block)


def test_a_long_skip_is_carried_until_the_deep_path_arrives() -> None:
    def skipping(x: Tensor, deep: nn.Module) -> Tensor:
        return torch.cat([x, deep(x)], dim=1)

    deep = nn.Sequential(*(nn.Conv2d(3, 3, 5, padding=2) for _ in range(4)))
    check_equal(Layered(skipping, deep), tile=20, strip=1, block=2)


@pytest.mark.parametrize("period", [2, 3, 8])
def test_cuts_on_multiples_of_a_period_change_nothing(period: int) -> None:
    module, graph = local_net("doubled", (64, 78))
    image = random_image((64, 78), torch.float64)
    tile = Box(3, 5, 31, 36)
    found = torch.zeros(1, 2, *tile.shape, dtype=torch.float64)
    plan = plan_sweep(
        graph.nodes, graph.output, tile, strip=8, block=9, period=(period, 2 * period)
    )

    def write(box: Box, pixels: Tensor) -> None:
        rows, columns = box.relative_to(tile)
        found[:, :, rows, columns] = pixels

    with torch.inference_mode():
        Sweep(placed(graph, torch.float64), plan).run(
            lambda box: image[:, :, box.y0 : box.y1, box.x0 : box.x1], write
        )
    expected = whole(module, image)[:, :, tile.y0 : tile.y1, tile.x0 : tile.x1]
    assert (found - expected).abs().max() <= 1e-12  # rounding in double


def test_a_pixel_is_read_once_per_tile() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 5, padding=2), nn.MaxPool2d(2), nn.Conv2d(4, 2, 3))
    graph = placed(traced(net, (64, 64)), torch.float32)
    tile = Box(7, 5, 26, 25)
    plan = planned(graph, tile, 4, 5)
    count = torch.zeros(64, 64)

    def read(box: Box) -> Tensor:
        count[box.y0 : box.y1, box.x0 : box.x1] += 1
        return torch.zeros(1, 3, *box.shape)

    with torch.inference_mode():
        Sweep(graph, plan).run(read, lambda _box, _pixels: None)
    rows, columns = plan.window.relative_to(Box(0, 0, 0, 0))
    assert plan.window == graph.need_box(tile)
    assert (count[rows, columns] == 1).all()
    assert count.sum() == plan.window.area


def test_padding_by_a_mirror_reads_rows_that_were_carried_to_the_end() -> None:
    mirrored = Layered(lambda x: functional.pad(x, (16, 16, 19, 19), mode="reflect"))
    check_equal(nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), mirrored), tile=60)
