"""A whole image at once against its patches one by one: the same answers, gradients, less work."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, unfold
from torch.utils.flop_counter import FlopCounterMode

from gigafcn.model.zoo import ZOO, untrained
from gigafcn.model.zoo.plain import FullResolutionNet, PixelClassifier, PooledNet, ValidNet


def random(*shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(sum(shape))
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def crops(image: Tensor, side: int, step: int = 1) -> Tensor:
    """All crops (n, c, side, side) of an image (1, c, y, x), row by row."""
    columns = unfold(image, side, stride=step)
    return columns[0].T.reshape(-1, image.shape[1], side, side)


def operations(net: nn.Module, *images: Tensor, backward: bool = False) -> int:
    """Multiplications and additions of running the net on images, counted by torch."""
    with FlopCounterMode(display=False) as counter:
        for image in images:
            result = net(image)
            if backward:
                result.sum().backward()
    return int(counter.get_total_flops())


def on_nothing(name: str) -> nn.Module:
    """A system that computes shapes only."""
    with torch.device("meta"):
        return ZOO[name].make(1)


def nothing(*shape: int) -> Tensor:
    return torch.empty(*shape, device="meta")


def test_every_pixels_crop_gets_the_dense_maps_answer() -> None:
    single = untrained(PixelClassifier).double()
    dense = PixelClassifier(dense=True).double().eval()
    dense.load_state_dict(single.state_dict())
    image = random(1, 3, 41, 45)
    with torch.inference_mode():
        one_by_one = single(crops(image, PixelClassifier.CROP_PX))
        at_once = dense(image)
    assert at_once.shape == (1, 3, 11, 15)
    answers = one_by_one[:, :, 0, 0].T.reshape(3, 11, 15)
    # Rounding in double.
    assert (at_once[0] - answers).abs().max() < 1e-12 * answers.abs().max()
    assert answers.std() > 0.01 * answers.abs().max()


def gradients(net: nn.Module, images: Tensor, classes: Tensor) -> list[Tensor]:
    """Gradients of the loss summed over images and positions."""
    net.zero_grad()
    loss = cross_entropy(net(images), classes, reduction="sum")
    return list(torch.autograd.grad(loss, list(net.parameters())))


def largest_difference(net: nn.Module, side: int) -> float:
    """Between the gradient of an image and that of its receptive fields, against the largest."""
    image = random(1, 3, side + 8, side + 5)
    shape = net(image).shape
    generator = torch.Generator().manual_seed(0)
    classes = torch.randint(0, shape[1], (1, *shape[2:]), generator=generator)
    whole = gradients(net, image, classes)
    fields = crops(image, side)
    parts = gradients(net, fields, classes.reshape(-1, 1, 1))
    assert len(fields) == classes.numel()
    largest = max(float(g.abs().max()) for g in whole)
    return max(float((a - b).abs().max()) for a, b in zip(whole, parts, strict=True)) / largest


def test_the_gradient_of_an_image_is_the_sum_over_its_receptive_fields() -> None:
    net = untrained(lambda: ValidNet(divisor=16)).double()
    assert largest_difference(net, side=7) < 1e-10


def test_so_it_is_for_every_pixels_crop_under_filter_rarefaction() -> None:
    single = untrained(PixelClassifier).double()
    dense = PixelClassifier(dense=True).double()
    dense.load_state_dict(single.state_dict())
    image = random(1, 3, 34, 33)
    classes = torch.tensor([[[0, 1, 2], [2, 1, 0], [1, 1, 2], [0, 2, 0]]])
    whole = gradients(dense, image, classes)
    parts = gradients(single, crops(image, 31), classes.reshape(-1, 1, 1))
    largest = max(float(g.abs().max()) for g in whole)
    for a, b in zip(whole, parts, strict=True):
        assert (a - b).abs().max() < 1e-10 * largest


def test_pooling_saves_most_of_the_operations() -> None:
    image = nothing(1, 3, 64, 64)
    with torch.device("meta"):
        full, pooled = FullResolutionNet(), PooledNet()
    stages = [9 * (3 * 16 + 16 * 16), 9 * (16 * 32 + 32 * 32), 9 * (32 * 64 + 64 * 64)]
    scores = 64 * 3
    assert operations(full, image) == 2 * 64 * 64 * (sum(stages) + scores)
    per_px = stages[0] + stages[1] / 4 + (stages[2] + scores) / 16
    assert operations(pooled, image) == 2 * 64 * 64 * per_px
    assert operations(full, image) / operations(pooled, image) == pytest.approx(7.46, abs=0.01)


@pytest.mark.parametrize("step", [64, 32, 16, 8])
@pytest.mark.parametrize("backward", [False, True])
def test_patches_that_overlap_cost_as_often_as_they_cover_a_pixel(
    step: int, backward: bool
) -> None:
    net = on_nothing("pointwise_classifier")
    patches = ((256 - 64) // step + 1) ** 2
    dense = operations(net, nothing(1, 3, 256, 256), backward=backward)
    one_by_one = operations(net, nothing(patches, 3, 64, 64), backward=backward)
    assert one_by_one / dense == patches * 64**2 / 256**2


def test_classifying_every_pixel_by_its_crop_costs_hundreds_of_times_the_dense_map() -> None:
    with torch.device("meta"):
        single, dense = PixelClassifier(), PixelClassifier(dense=True)
    side = 128
    at_once = operations(dense, nothing(1, 3, side + 30, side + 30))
    one_by_one = operations(single, nothing(side * side, 3, 31, 31))
    # Per crop 27 x 27 and 11 x 11 positions; at once about one of each, and a margin.
    assert one_by_one / at_once > 100
