"""Windows of blend lie where MONAI puts them, those of patch centre on their cells."""

from __future__ import annotations

import json
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from monai.data.utils import dense_patch_slices
from monai.inferers.utils import _get_scan_interval

from gigafcn.errors import SlideError
from gigafcn.geometry import Box, Span
from gigafcn.plan.windows import Windows, blend_windows, patch_windows, windows_geometry

sizes = st.tuples(st.integers(1, 200), st.integers(1, 200))
windows_px = st.tuples(st.integers(1, 64), st.integers(1, 64))


def blended(image: tuple[int, int], size: tuple[int, int], overlap: float = 0.25) -> Windows:
    return blend_windows(image, size, cell=size, overlap=overlap, weights="constant", batch=3)


@given(sizes, windows_px, st.floats(0, 0.99))
def test_windows_of_blend_lie_where_monai_puts_them(
    image: tuple[int, int], size: tuple[int, int], overlap: float
) -> None:
    found = blended(image, size, overlap)
    padded = tuple(max(i, s) for i, s in zip(image, size, strict=True))
    interval = _get_scan_interval(padded, size, 2, (overlap, overlap))
    expected = [tuple(s.start for s in each) for each in dense_patch_slices(padded, size, interval)]
    rows, columns = ([found.start(axis, i) for i in range(found.count[axis])] for axis in (0, 1))
    assert [(y, x) for y in rows for x in columns] == expected


@given(sizes, windows_px, st.integers(0, 199), st.integers(1, 200))
def test_the_windows_that_touch_a_span_are_found(
    image: tuple[int, int], size: tuple[int, int], start: int, length: int
) -> None:
    found = blended(image, size)
    shape = windows_geometry(image, found).shape
    assert shape == image
    span = Span(start, start + length).clip(shape[0])
    if span.is_empty:
        return
    touching = [i for i in range(found.count[0]) if not found.place(0, i).intersect(span).is_empty]
    assert list(found.touching(0, span)) == touching
    coverage = [
        sum(found.place(0, i).contains(Span(y, y + 1)) for i in touching)
        for y in range(span.start, span.stop)
    ]
    assert min(coverage) >= 1
    np.testing.assert_array_equal(found.coverage(0, span), coverage)


@given(sizes, st.integers(0, 199), st.integers(1, 200))
def test_batches_are_cut_alike_for_every_tile(
    image: tuple[int, int], start: int, length: int
) -> None:
    found = blended(image, (16, 16))
    span = Span(start, start + length).clip(image[1])
    if span.is_empty:
        return
    every = list(found.batches(Span(0, image[1])))
    assert [i for batch in every for i in batch] == list(range(found.count[1]))
    some = list(found.batches(span))
    assert all(batch in every for batch in some)
    assert set(found.touching(1, span)) <= {i for batch in some for i in batch}


def test_an_image_smaller_than_a_window_lies_in_its_middle() -> None:
    found = blended((10, 100), (33, 33))
    assert found.content == Box(11, 0, 21, 100)
    geometry = windows_geometry((10, 100), found)
    assert (geometry.padded, geometry.origin, geometry.shape) == ((33, 100), (11, 0), (10, 100))
    assert not any(geometry.offset)


def test_a_map_of_a_quarter_has_the_px_that_monai_gives_it() -> None:
    found = blend_windows(
        (103, 10), (32, 32), cell=(8, 8), overlap=0.5, weights="constant", batch=1
    )
    geometry = windows_geometry((103, 10), found)
    # int(103 / 4); and the px from round(11 / 4) to round((11 + 10) / 4), 2.75 and 5.25.
    assert geometry.shape == (25, 2)
    assert geometry.stride == (Fraction(4), Fraction(4))
    assert list(geometry.offset) == [0, 3 * 4 - 11]


patch_sizes = st.tuples(st.integers(20, 90), st.integers(20, 90))
steps = st.tuples(st.integers(1, 40), st.integers(1, 40))


@given(patch_sizes, st.tuples(st.integers(1, 20), st.integers(1, 20)), steps)
def test_a_cell_and_its_window_have_one_centre(
    image: tuple[int, int], size: tuple[int, int], step: tuple[int, int]
) -> None:
    for border in ("valid", "cover"):
        found = patch_windows(image, size, step=step, batch=1, border=border)
        geometry = windows_geometry(image, found, border=border)
        for axis in (0, 1):
            for index in range(found.count[axis]):
                window = found.window(axis, index)
                middle = Fraction(window.start + window.stop, 2) - geometry.origin[axis]
                cell = geometry.offset[axis] + (index + Fraction(1, 2)) * geometry.stride[axis]
                assert middle == cell


@given(patch_sizes, st.tuples(st.integers(1, 20), st.integers(1, 20)), steps)
def test_valid_windows_lie_inside_the_image_and_no_further_one_would(
    image: tuple[int, int], size: tuple[int, int], step: tuple[int, int]
) -> None:
    found = patch_windows(image, size, step=step, batch=1)
    for axis in (0, 1):
        last = found.window(axis, found.count[axis] - 1)
        assert found.start(axis, 0) == 0
        assert last.stop <= image[axis] < last.stop + step[axis]


@given(patch_sizes, st.tuples(st.integers(1, 20), st.integers(1, 20)), steps)
def test_covering_cells_hold_the_whole_image(
    image: tuple[int, int], size: tuple[int, int], step: tuple[int, int]
) -> None:
    found = patch_windows(image, size, step=step, batch=1, border="cover")
    geometry = windows_geometry(image, found, border="cover")
    for axis in (0, 1):
        # Where window and step differ by an odd number, cells lie half a px further on.
        assert 0 <= geometry.offset[axis] <= Fraction(1, 2)
        end = geometry.offset[axis] + geometry.shape[axis] * geometry.stride[axis]
        assert image[axis] <= end < image[axis] + step[axis] + 1
        stops = [found.window(axis, i).stop for i in range(found.count[axis])]
        assert max(stops) <= geometry.padded[axis]


def test_an_image_that_holds_no_window_is_refused() -> None:
    with pytest.raises(
        SlideError, match=r"the image is 30 px along x, smaller than a window of 32"
    ):
        patch_windows((40, 30), (32, 32), step=(8, 8), batch=1)


def test_windows_survive_json() -> None:
    found = blended((301, 20), (64, 32))
    assert Windows.from_json(json.loads(json.dumps(found.to_json()))) == found
