"""Boxes behave as the sets of pixels they stand for."""

from __future__ import annotations

from itertools import product

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from gigafcn.geometry import Box, Span

edges = st.integers(-8, 8)
boxes = st.builds(Box, edges, edges, edges, edges)


def pixels(box: Box) -> set[tuple[int, int]]:
    return set(product(range(box.y0, box.y1), range(box.x0, box.x1)))


@given(boxes)
def test_area_is_the_number_of_pixels(box: Box) -> None:
    assert box.area == len(pixels(box))
    assert box.is_empty == (not pixels(box))
    assert box.shape == (box.y.size, box.x.size)


@given(boxes)
def test_a_box_is_its_two_spans(box: Box) -> None:
    assert Box.of(box.y, box.x) == box
    assert Box.of(*box.spans) == box


@given(boxes, boxes)
def test_an_intersection_holds_the_common_pixels(a: Box, b: Box) -> None:
    assert pixels(a.intersect(b)) == pixels(a) & pixels(b)


@given(boxes, st.integers(0, 6), st.integers(0, 6))
def test_clipping_keeps_the_pixels_inside_the_image(box: Box, height: int, width: int) -> None:
    assert pixels(box.clip((height, width))) == pixels(box) & pixels(Box.whole((height, width)))


@given(boxes, boxes)
def test_a_box_contains_another_if_it_has_all_its_pixels(a: Box, b: Box) -> None:
    assert a.contains(b) == (pixels(b) <= pixels(a))


@given(boxes, boxes)
def test_a_hull_contains_both(a: Box, b: Box) -> None:
    assert a.hull(b).contains(a)
    assert a.hull(b).contains(b)


@given(boxes, edges, edges)
def test_shifting_moves_every_pixel(box: Box, dy: int, dx: int) -> None:
    assert pixels(box.shift(dy, dx)) == {(y + dy, x + dx) for y, x in pixels(box)}


@given(st.integers(0, 5), st.integers(0, 5), st.integers(0, 4), st.integers(0, 4))
def test_relative_slices_pick_the_pixels_from_an_array(
    y: int, x: int, height: int, width: int
) -> None:
    held = Box(3, 4, 13, 15)
    image = np.arange(20 * 20).reshape(20, 20)
    box = Box(3 + y, 4 + x, 3 + y + height, 4 + x + width)
    part = image[3:13, 4:15]
    assert np.array_equal(part[box.relative_to(held)], image[box.y0 : box.y1, box.x0 : box.x1])


def test_a_box_equals_a_plain_tuple_in_y_x_order() -> None:
    assert Box.of(Span(1, 3), Span(0, 2)) == (1, 0, 3, 2)
