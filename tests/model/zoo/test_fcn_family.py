"""FCN, DeepLab and SegNet: strides of the scores, what skips start from, what dilation sees."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch

import gigafcn
from gigafcn.errors import UsageError
from gigafcn.model.zoo import untrained
from gigafcn.model.zoo.deeplab import DeepLabLargeFOV
from gigafcn.model.zoo.fcn import FCN, STRIDES


class Scores(torch.nn.Module):
    """An FCN without its last upsampling."""

    def __init__(self, net: FCN) -> None:
        super().__init__()
        self.net = net

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.net.scores(image)


def fcn(stride: int, *, seed: int = 0, same: bool = True) -> FCN:
    net = untrained(lambda: FCN(stride, classes=3, divisor=16, same=same), seed)
    assert isinstance(net, FCN)
    return net


@pytest.mark.parametrize("stride", STRIDES)
def test_scores_before_the_last_upsampling_have_stride_32_16_or_8(stride: int) -> None:
    found = gigafcn.analyze(Scores(fcn(stride)))
    assert found.stride == (Fraction(stride), Fraction(stride))
    assert fcn(stride).scores(torch.zeros(1, 3, 96, 64)).shape[2:] == (96 // stride, 64 // stride)


@pytest.mark.parametrize("stride", STRIDES)
@pytest.mark.parametrize("size", [(64, 96), (65, 97), (100, 40)])
def test_a_published_fcn_gives_any_image_a_map_of_its_size(
    stride: int, size: tuple[int, int]
) -> None:
    with torch.inference_mode():
        assert fcn(stride, same=False)(torch.zeros(1, 3, *size)).shape == (1, 3, *size)


def test_an_fcn_of_another_stride_is_refused() -> None:
    with pytest.raises(UsageError, match="not 4"):
        FCN(4)


def test_a_finer_fcn_starts_with_the_coarser_ones_scores_doubled() -> None:
    coarse, fine = fcn(32), fcn(16, seed=1)
    fine.start_from(coarse)
    image = torch.randn(1, 3, 96, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        doubled = fine.double_score(coarse.scores(image))
        # The new skip's scores are zero, so nothing is added.
        assert torch.equal(fine.scores(image), doubled)


def test_the_next_skip_starts_from_the_net_that_has_the_first() -> None:
    coarse, fine = fcn(16), fcn(8, seed=1)
    fine.start_from(coarse)
    assert torch.equal(fine.score_pool4.weight, coarse.score_pool4.weight)
    assert torch.equal(fine.double_score.weight, coarse.double_score.weight)
    assert fine.score_pool3.weight.count_nonzero() == 0
    assert fine.upsampling.weight.shape[2:] == (16, 16)


def test_skips_are_added_from_where_they_belong() -> None:
    # A pixel far from the output reaches it by the coarse path alone, a near one by the skip too.
    net = fcn(8)
    found = gigafcn.analyze(Scores(net))
    rows = {row.layer.removeprefix("net."): row for row in found.layers}
    assert rows["score"].footprint == (404, 404)
    assert rows["score_pool4"].footprint == (100, 100)
    assert rows["score_pool3"].footprint == (44, 44)
    strides = [rows[name].stride[0] for name in ("score", "score_pool4", "score_pool3")]
    assert strides == [32, 16, 8]


def test_deeplab_scores_at_stride_8_with_the_footprint_of_its_dilations() -> None:
    net = untrained(lambda: DeepLabLargeFOV(divisor=16, upsample=False))
    found = gigafcn.analyze(net)
    assert found.stride == (Fraction(8), Fraction(8))
    # Chain from the image: kernel 3 each, with stride and dilation; law of test_chains.
    stages = [(2, 1), (2, 1), (3, 1), (3, 1), (3, 2)]
    size, jump = 1, 1
    for number, (count, dilation) in enumerate(stages, start=1):
        size += count * 2 * dilation * jump + 2 * jump
        jump *= 2 if number < 4 else 1
    size += 2 * 12 * jump
    top, bottom, _, _ = found.halo
    assert (size, jump) == (419, 8)
    assert top + bottom + 8 == size


def test_without_dilation_deeplab_would_see_much_less() -> None:
    net = untrained(lambda: DeepLabLargeFOV(divisor=16, upsample=False))
    for layer in net.modules():
        if isinstance(layer, torch.nn.Conv2d) and layer.dilation != (1, 1):
            layer.padding, layer.dilation = (1, 1), (1, 1)
    top, bottom, _, _ = gigafcn.analyze(net).halo
    assert top + bottom + 8 == 419 - 2 * 11 * 8 - 3 * 2 * 8


def test_deeplabs_map_is_its_scores_resized() -> None:
    coarse = untrained(lambda: DeepLabLargeFOV(divisor=16, upsample=False))
    fine = untrained(lambda: DeepLabLargeFOV(divisor=16))
    image = torch.randn(1, 3, 64, 72, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        scores = coarse(image)
        assert scores.shape[2:] == (8, 9)
        resized = torch.nn.functional.interpolate(scores, scale_factor=8.0, mode="bilinear")
        torch.testing.assert_close(fine(image), resized)
