"""What makes a map larger: unpooling in its forms, transposed convolution, bilinear weights."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, conv_transpose2d, interpolate

from gigafcn.model.zoo import ZOO
from gigafcn.model.zoo.fcn import FCN, Upsampling, bilinear_kernel
from gigafcn.model.zoo.unpooling import BedOfNails, Nearest, PoolAndUnpool

SQUARE = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])


def test_nearest_fills_blocks() -> None:
    assert Nearest(2)(SQUARE)[0, 0].tolist() == [
        [1, 1, 2, 2],
        [1, 1, 2, 2],
        [3, 3, 4, 4],
        [3, 3, 4, 4],
    ]


def test_a_bed_of_nails_puts_values_into_corners() -> None:
    nails: Tensor = BedOfNails(1)(SQUARE)
    assert nails[0, 0].tolist() == [[1, 0, 2, 0], [0, 0, 0, 0], [3, 0, 4, 0], [0, 0, 0, 0]]


def test_nails_of_several_channels_do_not_mix() -> None:
    maps = torch.arange(12.0).reshape(1, 3, 2, 2)
    nails = BedOfNails(3)(maps)
    assert torch.equal(nails[:, :, ::2, ::2], maps)
    assert nails.sum() == maps.sum()


def test_max_unpooling_puts_values_where_the_maxima_stood() -> None:
    image = torch.tensor([[[[1.0, 2, 6, 3], [3, 5, 2, 1], [1, 2, 2, 1], [7, 3, 4, 8]]]])
    assert PoolAndUnpool()(image)[0, 0].tolist() == [
        [0, 0, 6, 0],
        [0, 5, 0, 0],
        [0, 0, 0, 0],
        [7, 0, 0, 8],
    ]


def test_what_comes_back_is_what_lies_between_not_the_image() -> None:
    image = torch.tensor([[[[1.0, 2, 6, 3], [3, 5, 2, 1]]]])
    doubled = PoolAndUnpool(nn.Threshold(5.5, -1.0))(image)
    assert doubled[0, 0].tolist() == [[0, 0, 6, 0], [0, -1, 0, 0]]


def test_a_transposed_convolution_makes_2_x_2_into_5_x_5() -> None:
    kernel = torch.ones(1, 1, 3, 3)
    result = conv_transpose2d(SQUARE, kernel, stride=2)
    assert result[0, 0].tolist() == [
        [1, 1, 3, 2, 2],
        [1, 1, 3, 2, 2],
        [4, 4, 10, 6, 6],
        [3, 3, 7, 4, 4],
        [3, 3, 7, 4, 4],
    ]


def test_a_transposed_convolution_has_the_convolutions_shapes_but_does_not_undo_it() -> None:
    kernel = torch.ones(1, 1, 3, 3)
    image = torch.arange(25.0).reshape(1, 1, 5, 5)
    down = conv2d(image, kernel, stride=2)
    up = conv_transpose2d(down, kernel, stride=2)
    assert (down.shape[2:], up.shape[2:]) == ((2, 2), (5, 5))
    assert down[0, 0].tolist() == [[54, 72], [144, 162]]
    assert up[0, 0, 2, 2] == 54 + 72 + 144 + 162 != image[0, 0, 2, 2]


def test_a_transposed_convolution_is_the_gradient_of_the_convolution() -> None:
    kernel = torch.randn(1, 1, 3, 3, generator=torch.Generator().manual_seed(0)).double()
    image = torch.zeros(1, 1, 5, 5, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(conv2d(image, kernel, stride=2), image, SQUARE.double())
    expected = conv_transpose2d(SQUARE.double(), kernel, stride=2)
    torch.testing.assert_close(gradient, expected)


@pytest.mark.parametrize("factor", [2, 8, 16, 32])
def test_bilinear_weights_upsample_as_torchs_resize_does(factor: int) -> None:
    scores = torch.randn(1, 3, 5, 6, generator=torch.Generator().manual_seed(1))
    up = Upsampling(3, factor, padding=factor // 2)(scores)
    expected = interpolate(scores, scale_factor=float(factor), mode="bilinear", align_corners=False)
    inner = slice(factor // 2, -(factor // 2))
    # At the border the transposed convolution takes zeros where the resize repeats the edge.
    torch.testing.assert_close(up[:, :, inner, inner], expected[:, :, inner, inner])
    assert up.shape == expected.shape


def test_bilinear_weights_add_up_to_one_at_every_phase() -> None:
    kernel = bilinear_kernel(8)
    assert kernel.shape == (16, 16)
    phases = kernel.reshape(2, 8, 2, 8).sum(dim=(0, 2))
    torch.testing.assert_close(phases, torch.ones(8, 8))


def test_every_upsampling_of_an_fcn_starts_bilinear_and_within_its_class() -> None:
    net = FCN(8, classes=4, divisor=16)
    for layer, factor in ((net.double_score, 2), (net.double_pool4, 2), (net.upsampling, 8)):
        assert layer.weight.requires_grad
        for a in range(4):
            assert torch.equal(layer.weight[a, a], bilinear_kernel(factor))
        assert layer.weight.count_nonzero() == 4 * bilinear_kernel(factor).count_nonzero()


def test_a_fixed_upsampling_is_not_learnt() -> None:
    net = ZOO["fcn32s_fixed"].make(16)
    assert [n for n, p in net.named_parameters() if not p.requires_grad] == ["upsampling.weight"]
