"""Strides that become dilation give what shift-and-stitch gives."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from torch import nn

from gigafcn.convert import convert
from gigafcn.errors import UsageError
from tests.convert.nets import (
    HEADS,
    LeNet,
    ResNet18,
    Vgg16,
    integer_image,
    integers,
)
from tests.convert.patchwise import patch_by_patch, shifted_and_stitched
from tests.convert.test_conversion import assert_equal_up_to_rounding, noise
from tests.nets import randomised

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.mark.parametrize(
    ("name", "stride"), [("flatten", 2), ("mean over y and x", 2), *((n, 1) for n in HEADS)]
)
def test_without_padding_a_denser_map_is_the_answer_for_every_patch(name: str, stride: int) -> None:
    net = randomised(HEADS[name]()).double()
    found = convert(net, 28, output_stride=stride)
    assert found.stride == (stride, stride)
    image = noise(1, 3, 28 + 5, 28 + 6)
    with torch.inference_mode():
        dense = found.module(image)[0]
    assert_equal_up_to_rounding(dense, patch_by_patch(net, image, 28, stride))


@pytest.mark.parametrize("stride", [1, 2])
def test_without_padding_it_equals_shift_and_stitch_everywhere(stride: int) -> None:
    net = randomised(LeNet()).double()
    image = noise(1, 1, 51, 46)
    stitched = shifted_and_stitched(convert(net, 32, 1).module, image, 32, (4, stride))
    with torch.inference_mode():
        dense = convert(net, 32, 1, output_stride=stride).module(image)[0]
    assert_equal_up_to_rounding(dense, stitched)


def test_with_whole_numbers_it_equals_shift_and_stitch_bit_for_bit() -> None:
    net = integers(HEADS["flatten"]())
    image = integer_image(1, 3, 43, 38)
    stitched = shifted_and_stitched(convert(net, 28).module, image, 28, (4, 1))
    with torch.inference_mode():
        dense = convert(net, 28, output_stride=1).module(image)[0]
    assert torch.equal(dense, stitched)


@pytest.mark.parametrize(("make", "stride"), [(ResNet18, 16), (Vgg16, 8)])
def test_with_padding_it_equals_shift_and_stitch_away_from_the_border(
    make: Callable[[], nn.Module], stride: int
) -> None:
    net = randomised(make()).double()
    # What padding changes travels half a footprint inward: some 200 px in these nets.
    patch, margin, inner = 64, 224, 64
    image = noise(1, 3, 2 * margin + inner, 2 * margin + inner + 32)
    stitched = shifted_and_stitched(convert(net, patch).module, image, patch, (32, stride))
    with torch.inference_mode():
        dense = convert(net, patch, output_stride=stride).module(image)[0]
    away = slice(margin // stride, (margin + inner - patch) // stride + 1)
    assert_equal_up_to_rounding(dense[:, away, away], stitched[:, away, away])
    assert not torch.allclose(dense[:, :2, :2], stitched[:, :2, :2], rtol=1e-9)


@pytest.mark.parametrize("stride", [4, 16])
def test_on_a_patch_a_denser_network_still_gives_what_the_original_gives(stride: int) -> None:
    net = randomised(ResNet18()).double()
    pixels = noise(1, 3, 100, 100)
    with torch.inference_mode():
        scores = convert(net, 100, output_stride=stride).module(pixels)
        assert scores.shape == (1, 5, 1, 1)
        assert_equal_up_to_rounding(scores.flatten(), net(pixels).flatten())


def odd_strides() -> nn.Module:
    """Strides 3 and 2, even kernels padded "same", a crop, pools with padding and dilation."""
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, 3),
        nn.MaxPool2d(2, 2),
        nn.Conv2d(4, 4, 2, padding="same"),
        nn.ZeroPad2d((-1, -2, -2, -1)),
        nn.Conv2d(4, 4, 2, dilation=2),
        nn.AvgPool2d(2, 1),
        nn.Flatten(),
        nn.Linear(4 * 4, 2),
    )


@pytest.mark.parametrize("stride", [1, 2, 3])
def test_any_divisor_of_the_stride_is_a_stride(stride: int) -> None:
    net = randomised(odd_strides()).double()
    # 48 px -> 16 -> 8 -> 8 -> 5 -> 3 -> 2; what "same" pads is cropped again.
    found = convert(net, 48, output_stride=stride)
    assert not found.pads
    image = noise(1, 3, 48 + 11, 48 + 7)
    with torch.inference_mode():
        dense = found.module(image)[0]
    assert_equal_up_to_rounding(dense, patch_by_patch(net, image, 48, stride))


def test_windows_that_hang_over_the_edge_stay_in_step() -> None:
    # 28 px -> 13 -> 6 (as much again as there is) -> 4 -> 2
    pools = nn.MaxPool2d(2, 2, 1), nn.MaxPool2d(3, 2, ceil_mode=True), nn.AvgPool2d(2, 1, 1)
    layers = nn.Sequential(nn.Conv2d(3, 4, 3, 2), *pools, nn.Flatten(), nn.Linear(64, 2))
    net = randomised(layers).double()
    pixels = noise(1, 3, 28, 28)
    with torch.inference_mode():
        assert_equal_up_to_rounding(
            convert(net, 28, output_stride=2).module(pixels).flatten(), net(pixels).flatten()
        )


@pytest.mark.parametrize("stride", [3, 8])
def test_a_stride_that_does_not_divide_is_refused(stride: int) -> None:
    with pytest.raises(UsageError, match=f"output stride {stride} does not divide .* of 4 px"):
        convert(randomised(HEADS["flatten"]()), 28, output_stride=stride)
