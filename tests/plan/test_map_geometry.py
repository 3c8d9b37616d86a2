"""Where a map lies on its image, checked pixel by pixel."""

from __future__ import annotations

from fractions import Fraction
from math import ceil
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gigafcn.errors import ModelError, SlideError, UsageError
from gigafcn.geometry import Box
from gigafcn.plan.map_geometry import MapGeometry, map_geometry

STRIDES = st.sampled_from([Fraction(1), Fraction(4), Fraction(1, 2), Fraction(3, 2), Fraction(16)])
SIZES = st.integers(1, 700)


def keeping(image: tuple[int, int], stride: Fraction, period: int) -> MapGeometry:
    """Geometry of a net that keeps the size but for its stride."""
    return map_geometry(
        image, period=(period, period), stride=(stride, stride), lost=(0, 0), used=(256, 256)
    )


def u_net(image: tuple[int, int], border: str = "cover") -> MapGeometry:
    """Geometry of the U-Net of 2015: 572 px in, 388 out, sizes differ by multiples of 16."""
    one = (Fraction(1), Fraction(1))
    return map_geometry(
        image, period=(16, 16), stride=one, lost=(184, 184), used=(572, 572), border=border
    )


@given(SIZES, SIZES, STRIDES, st.integers(1, 40))
def test_padding_is_right_and_bottom_to_the_next_whole_period(
    height: int, width: int, stride: Fraction, periods: int
) -> None:
    period = stride.numerator * periods
    found = keeping((height, width), stride, period)
    assert (found.origin, found.mirrored, found.offset) == ((0, 0), (0, 0), (0, 0))
    for size, padded in zip((height, width), found.padded, strict=True):
        assert size <= padded < size + period
        assert padded % period == 0


@given(SIZES, STRIDES)
def test_the_map_covers_the_image_and_no_pixel_lies_outside(size: int, stride: Fraction) -> None:
    pixels = keeping((size, size), stride, stride.numerator).shape[0]
    assert pixels == ceil(size / stride)
    assert (pixels - 1) * stride < size <= pixels * stride


@given(SIZES, STRIDES, st.data())
def test_cells_are_the_map_pixels_that_touch_a_part_of_the_image(
    size: int, stride: Fraction, data: Any
) -> None:
    geometry = keeping((size, size), stride, stride.numerator)
    start = data.draw(st.integers(0, size - 1))
    stop = data.draw(st.integers(start + 1, size))
    cells = geometry.cells(Box(start, 0, stop, size))
    touching = [
        j for j in range(geometry.shape[0]) if j * stride < stop and (j + 1) * stride > start
    ]
    assert list(range(cells.y0, cells.y1)) == touching
    assert cells.x == (0, geometry.shape[1])


@given(st.integers(1, 900))
def test_a_valid_net_is_given_an_admissible_size_that_covers_the_image(size: int) -> None:
    found = u_net((size, size))
    padded = found.padded[0]
    assert (padded - 572) % 16 == 0
    # The margin is there, and no whole period more than needed.
    assert size + 184 <= padded < size + 184 + 16
    assert (found.shape[0], found.origin[0], found.mirrored[0]) == (size, 92, 184)


@given(st.integers(185, 900))
def test_a_valid_map_is_smaller_and_begins_behind_the_lost_margin(size: int) -> None:
    found = u_net((size, size), "valid")
    assert (found.shape[0], found.offset[0], found.mirrored[0]) == (size - 184, 92, 0)
    assert size <= found.padded[0] < size + 16
    first = found.cells(Box(0, 0, 93, 93))
    assert first == Box(0, 0, 1, 1)


def test_a_region_in_the_lost_margin_has_no_cells() -> None:
    assert u_net((600, 600), "valid").cells(Box(0, 0, 92, 600)).is_empty


def test_an_image_that_is_all_margin_has_no_valid_map() -> None:
    with pytest.raises(SlideError, match="184 px along y, the model loses 184 px"):
        u_net((184, 400), "valid")


def test_a_map_larger_than_its_image_has_no_place() -> None:
    with pytest.raises(ModelError, match="2 px larger than its image along x"):
        map_geometry(
            (9, 9),
            period=(1, 1),
            stride=(Fraction(1), Fraction(1)),
            lost=(0, -2),
            used=(256, 256),
        )


def test_an_unknown_border_is_refused() -> None:
    with pytest.raises(UsageError, match="border 'same' is not one of cover, valid"):
        u_net((600, 600), "same")
