"""The zoo's classifiers, converted: the patch's answer exactly, and a map on larger images."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import unfold

import gigafcn
from gigafcn.convert import convert, to_fully_convolutional
from gigafcn.model.zoo import build, untrained
from gigafcn.model.zoo.classifier import StandardClassifier
from gigafcn.model.zoo.plain import PixelClassifier
from gigafcn.model.zoo.vgg import VGG16, DenseVGG16


def noise(*shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(sum(shape))
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def crops(image: Tensor, side: int, step: int) -> Tensor:
    """All crops (n, c, side, side) of an image (1, c, y, x), row by row."""
    return unfold(image, side, stride=step)[0].T.reshape(-1, image.shape[1], side, side)


def of_crops() -> nn.Module:
    """The pixel classifier with its linear layer as such."""
    net = untrained(PixelClassifier)
    assert isinstance(net, PixelClassifier)
    linear = nn.Linear(16 * 5 * 5, 3)
    linear.weight.data, linear.bias.data = net.scores.weight.flatten(1), net.scores.bias  # type: ignore[assignment]
    parts = (net.conv1, nn.ReLU(), net.pool1, net.conv2, nn.ReLU(), net.pool2)
    return nn.Sequential(*parts, nn.Flatten(), linear).eval()


def largest_difference(dense: nn.Module, single: nn.Module, image: Tensor, step: int) -> float:
    """Between the dense map and the answers for the 64 px crops, against the largest score."""
    with torch.inference_mode():
        at_once = dense(image)
        one_by_one = single(crops(image, 64, step)).T.reshape(at_once.shape)
    return float((at_once - one_by_one).abs().max() / one_by_one.abs().max())


def test_the_converted_classifier_gives_the_64_px_answer() -> None:
    net = build("classifier").double()
    dense = to_fully_convolutional(net, patch=64)
    image = noise(1, 3, 64, 64)
    with torch.inference_mode():
        assert dense(image).shape == (1, 10, 1, 1)
        # Rounding in double.
        assert (dense(image).flatten(1) - net(image)).abs().max() < 1e-12 * net(image).abs().max()


def test_the_converted_classifier_gives_a_map_on_larger_images() -> None:
    dense = to_fully_convolutional(build("classifier"), patch=64)
    found = gigafcn.analyze(dense)
    assert found.local
    assert [float(s) for s in found.stride] == [8, 8]
    assert dense(torch.zeros(1, 3, 128, 128)).shape == (1, 10, 9, 9)
    assert dense(torch.zeros(1, 3, 640, 320)).shape == (1, 10, 73, 33)


def test_without_padding_the_map_equals_the_classifier_on_every_crop() -> None:
    net = untrained(lambda: StandardClassifier(kernel=2)).double()
    found = convert(net, 64)
    assert not found.pads
    assert largest_difference(found.module, net, noise(1, 3, 96, 88), 8) < 1e-12


def test_with_padding_each_crop_has_zeros_where_the_map_sees_the_image() -> None:
    net = build("classifier").double()
    found = convert(net, 64)
    assert found.pads
    assert largest_difference(found.module, net, noise(1, 3, 96, 88), 8) > 1e-3


def test_conversion_moves_parameters_and_adds_none() -> None:
    net = build("classifier")
    dense = to_fully_convolutional(net, patch=64)
    shapes = {name: tuple(p.shape) for name, p in dense.named_parameters()}
    assert sum(p.numel() for p in dense.parameters()) == sum(p.numel() for p in net.parameters())
    assert shapes["hidden.weight"] == (128, 32, 8, 8)
    assert shapes["scores.weight"] == (10, 128, 1, 1)


def test_a_converted_vgg_is_the_dense_vgg() -> None:
    vgg = untrained(lambda: VGG16(divisor=16)).double()
    assert isinstance(vgg, VGG16)
    by_hand = DenseVGG16.of(vgg, divisor=16).double()
    converted = to_fully_convolutional(vgg, patch=224)
    image = noise(1, 3, 256, 288)
    with torch.inference_mode():
        expected, answer = by_hand(image), converted(image)
    assert answer.shape == (1, 1000, 2, 3)
    assert (answer - expected).abs().max() < 1e-12 * expected.abs().max()


def test_converting_to_stride_1_is_the_filter_rarefaction_written_by_hand() -> None:
    converted = to_fully_convolutional(of_crops().double(), patch=31, output_stride=1)
    by_hand = build("pixel_classifier").double()
    image = noise(1, 3, 40, 37)
    with torch.inference_mode():
        expected, answer = by_hand(image), converted(image)
    assert answer.shape == (1, 3, 10, 7)
    assert (answer - expected).abs().max() < 1e-12 * expected.abs().max()


@pytest.mark.parametrize("name", ["classifier", "vgg16"])
def test_unconverted_classifiers_are_not_local_because_they_flatten(name: str) -> None:
    (blocker,) = gigafcn.analyze(build(f"{name}/16")).blockers
    assert blocker.layer == "flatten"
