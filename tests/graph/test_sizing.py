"""Which nets have a period, found without a loop over one that nobody could use."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

import pytest
from torch import Tensor, nn
from torch.nn import functional

from gigafcn import analyze
from tests.run.sized_nets import WITH_PERIOD, CeilUNet, PadsItself, ValidAndSkipped

if TYPE_CHECKING:
    from collections.abc import Callable

ONE = (Fraction(1), Fraction(1))


@pytest.mark.parametrize("name", WITH_PERIOD)
def test_sizes_that_follow_strides_have_a_period(name: str) -> None:
    make, period, stride = WITH_PERIOD[name]
    found = analyze(make())
    assert (found.period, found.no_period, found.pads_itself) == (period, "", False)
    assert found.stride == (Fraction(stride), Fraction(stride))


def test_a_u_net_of_pools_that_round_up_has_none() -> None:
    # Its strides at 256 px are 129/128 and the like, whose common multiple is 562 566 424.
    found = analyze(CeilUNet())
    assert found.no_period
    assert (found.period, found.output_period, found.stride) == ((1, 1), (1, 1), ONE)
    assert not found.shift_invariant
    # 3 x 3 windows on three levels and back: 1 + 2 + 4 + 2 + 1 px and the pools', resizes add some.
    assert max(found.halo) < 40


def test_what_a_net_loses_is_told_from_how_it_resizes() -> None:
    found = analyze(ValidAndSkipped())
    assert (bool(found.no_period), found.stride, found.lost) == (True, ONE, (4, 4))


@pytest.mark.parametrize("centred", [True, False])
def test_only_padding_on_both_sides_moves_a_net_over_its_image(centred: bool) -> None:
    assert analyze(PadsItself(centred=centred)).pads_itself is centred


class Odd(nn.Module):
    """Works on a size that follows from the image's in no simple way."""

    def __init__(self, size: Callable[[int], int], *, back: bool = False) -> None:
        super().__init__()
        self.conv, self.size, self.back = nn.Conv2d(3, 2, 3, padding=1), size, back

    def forward(self, image: Tensor) -> Tensor:
        sides = [self.size(n) for n in image.shape[2:]]
        resized = functional.interpolate(self.conv(image), size=sides)
        return functional.interpolate(resized, size=image.shape[2:]) if self.back else resized


@pytest.mark.parametrize("back", [True, False])
def test_a_fixed_size_is_a_part_of_the_image(back: bool) -> None:
    found = analyze(Odd(lambda n: 256, back=back), size=320)
    assert [blocker.op for blocker in found.blockers] == ["aten.upsample_nearest2d.vec"]
    assert "takes a part of the image or gives a fixed size" in found.blockers[0].reason


def test_a_map_whose_size_does_not_follow_the_images_is_refused_by_layer() -> None:
    found = analyze(Odd(lambda n: 1 + n * n // 1000))
    assert [blocker.op for blocker in found.blockers] == ["aten.upsample_nearest2d.vec"]
    assert "do not follow from the image's size" in found.blockers[0].reason


def test_sizes_rounded_in_every_image_have_no_period_of_their_own() -> None:
    found = analyze(Odd(lambda n: n // 3, back=True))
    assert found.local
    assert found.stride == ONE
