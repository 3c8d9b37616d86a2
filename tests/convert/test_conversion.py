"""A converted classifier gives on a patch what the original gives, on an image the dense map."""

from __future__ import annotations

import copy
import pickle
from typing import TYPE_CHECKING

import cloudpickle
import pytest
import torch
from torch.nn import functional

from gigafcn import analyze
from gigafcn.convert import convert, to_fully_convolutional
from tests.convert.nets import (
    HEADS,
    Headed,
    LeNet,
    ResNet18,
    Shuffled,
    Vgg16,
    integer_image,
    integers,
)
from tests.convert.patchwise import patch_by_patch
from tests.nets import randomised

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor, nn

ROUNDING = 1e-12
"""Relative to the largest score, in fp64: sums of some thousand terms in another order."""


def noise(*shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.rand(shape, generator=generator, dtype=torch.float64)


def assert_equal_up_to_rounding(given: Tensor, expected: Tensor) -> None:
    limit = ROUNDING * float(expected.abs().max())
    torch.testing.assert_close(given, expected, rtol=0, atol=limit)


@pytest.mark.parametrize(
    ("make", "patch", "channels"),
    [
        (Vgg16, 224, 3),
        (Vgg16, 256, 3),
        (Vgg16, 96, 3),
        (Vgg16, 448, 3),
        (ResNet18, 224, 3),
        (ResNet18, 100, 3),
        (LeNet, 32, 1),
    ],
)
def test_on_a_patch_the_converted_network_gives_what_the_original_gives(
    make: Callable[[], nn.Module], patch: int, channels: int
) -> None:
    net = randomised(make()).double()
    dense = to_fully_convolutional(net, patch, channels)
    pixels = noise(2, channels, patch, patch)
    with torch.inference_mode():
        scores = dense(pixels)
        assert scores.shape[2:] == (1, 1)
        assert_equal_up_to_rounding(scores[:, :, 0, 0], net(pixels))


def test_the_converted_vgg_maps_256_px_to_2_x_2() -> None:
    dense = to_fully_convolutional(randomised(Vgg16()), 224)
    assert dense(torch.zeros(1, 3, 256, 256)).shape == (1, 10, 2, 2)


@pytest.mark.parametrize("name", HEADS)
def test_without_padding_the_dense_map_is_the_answer_for_every_patch(name: str) -> None:
    net = randomised(HEADS[name]()).double()
    found = convert(net, 28)
    assert found.stride == (4, 4)
    assert not found.pads
    image = noise(1, 3, 28 + 8, 28 + 13)
    with torch.inference_mode():
        dense = found.module(image)[0]
    assert_equal_up_to_rounding(dense, patch_by_patch(net, image, 28, 4))


@pytest.mark.parametrize("name", ["flatten", "flatten, channels last", "maximum", "sum"])
def test_with_whole_numbers_the_dense_map_is_equal_bit_for_bit(name: str) -> None:
    net = integers(HEADS[name]())
    image = integer_image(1, 3, 28 + 16, 28 + 4)
    dense = to_fully_convolutional(net, 28)(image)[0]
    assert torch.equal(dense, patch_by_patch(net, image, 28, 4))


def test_sizes_that_export_writes_down_follow_the_image() -> None:
    net = randomised(Shuffled()).double()
    found = convert(net, 23)
    image = noise(1, 3, 23 + 12, 23 + 8)
    with torch.inference_mode():
        dense = found.module(image)[0]
    assert found.stride == (4, 4)
    assert_equal_up_to_rounding(dense, patch_by_patch(net, image, 23, 4))


def test_after_a_resize_the_map_has_those_positions_at_which_a_patch_starts() -> None:
    head = Headed(lambda x: functional.interpolate(x, scale_factor=2.0).mean((2, 3)))
    net = randomised(head).double()
    found = convert(net, 28)
    image = noise(1, 3, 28 + 9, 28 + 4)
    with torch.inference_mode():
        dense = found.module(image)[0]
    assert found.stride == (4, 4)
    assert_equal_up_to_rounding(dense, patch_by_patch(net, image, 28, 4))


def test_a_patch_need_not_be_square() -> None:
    net = randomised(Headed(lambda x: x.flatten(1), torch.nn.Linear(6 * 3 * 5, 2)).double())
    dense = to_fully_convolutional(net, (16, 24))
    pixels = noise(1, 3, 16, 24)
    with torch.inference_mode():
        assert_equal_up_to_rounding(dense(pixels).flatten(), net(pixels).flatten())
    assert dense(noise(1, 3, 24, 24)).shape == (1, 2, 3, 1)


def test_weights_keep_their_names_and_their_memory() -> None:
    net = randomised(Vgg16())
    dense = to_fully_convolutional(net, 224)
    before, after = net.state_dict(), dense.state_dict()
    assert list(before) == list(after)
    assert all(before[n].data_ptr() == after[n].data_ptr() for n in before)
    assert after["classifier.0.weight"].shape == (32, 32, 7, 7)


def test_the_converted_network_is_local_and_its_layers_keep_their_names() -> None:
    found = convert(randomised(ResNet18()), 64)
    footprint = analyze(found.module, size=96)
    assert footprint.local
    assert footprint.period == (32, 32)
    layers = {row.layer for row in footprint.layers}
    assert {"stem.0", "pool", "stages.1.0.second.0", "avgpool", "fc"} <= layers


def test_the_report_says_what_became_of_the_head() -> None:
    found = convert(randomised(Vgg16()), 224)
    assert found.changes[0] == "classifier.0: linear 1568 to 32 is a convolution 7 x 7"
    assert found.to_json()["output_stride"] == [32, 32]
    pooled = convert(randomised(ResNet18()), 224).changes
    assert pooled[0] == "avgpool: average over the map of a patch is a pool 7 x 7"


@pytest.mark.parametrize(("make", "pads"), [(ResNet18, True), (HEADS["flatten"], False)])
def test_padding_is_reported(make: Callable[[], nn.Module], pads: bool) -> None:
    assert convert(randomised(make()), 28).pads is pads


def test_padding_that_no_answer_reads_counts_as_none() -> None:
    padded = torch.nn.Conv2d(3, 4, 3, padding=1)
    cropped = torch.nn.ZeroPad2d(-1)
    net = torch.nn.Sequential(padded, cropped, torch.nn.Flatten(), torch.nn.Linear(4 * 36, 2))
    assert not convert(randomised(net), 8).pads


def test_a_converted_network_survives_copying_and_pickling() -> None:
    dense = to_fully_convolutional(randomised(ResNet18()), 64)
    pixels = torch.rand(1, 3, 96, 64)
    again = pickle.loads(cloudpickle.dumps(dense))
    assert torch.equal(again(pixels), dense(pixels))
    assert torch.equal(copy.deepcopy(dense)(pixels), dense(pixels))


def test_the_original_is_left_as_it_was() -> None:
    net = randomised(LeNet())
    shapes = {name: tensor.shape for name, tensor in net.state_dict().items()}
    to_fully_convolutional(net, 32, 1)
    assert {name: tensor.shape for name, tensor in net.state_dict().items()} == shapes
    assert net(torch.zeros(3, 1, 32, 32)).shape == (3, 10)
