"""Which truth pixels belong to a map pixel follows from sizes, stride and offset, or not at all."""

from __future__ import annotations

from fractions import Fraction

import pytest

from gigafcn.errors import UsageError
from gigafcn.evaluate.alignment import Placement, align
from gigafcn.geometry import Box

Pair = tuple[int, int]


def placed(
    shape: Pair, slide: Pair | None, stride: str = "1", start: tuple[int, int] = (0, 0)
) -> Placement:
    cell = Fraction(stride)
    return Placement(shape, slide, (cell, cell), (Fraction(start[0]), Fraction(start[1])))


@pytest.mark.parametrize(
    ("map_", "truth", "map_repeat", "truth_repeat", "origin"),
    [
        (placed((100, 90), (100, 90)), (100, 90), 1, 1, (0, 0)),
        (placed((25, 23), (100, 90), "4"), (100, 90), 4, 1, (0, 0)),
        (placed((25, 23), (100, 90), "4"), (25, 23), 1, 1, (0, 0)),
        (placed((25, 23), (100, 90), "4"), (50, 45), 2, 1, (0, 0)),
        (placed((100, 90), (100, 90)), (25, 23), 1, 4, (0, 0)),
        (placed((100, 90), (100, 90)), (25, 22), 1, 4, (0, 0)),
        (placed((200, 180), (100, 90), "1/2"), (100, 90), 1, 2, (0, 0)),
        (placed((40, 30), (100, 90), start=(20, 36)), (100, 90), 1, 1, (20, 36)),
        (placed((40, 30), (100, 90), start=(20, 36)), (50, 45), 1, 2, (20, 36)),
        (placed((40, 30), (100, 90), start=(20, 36)), (40, 30), 1, 1, (0, 0)),
        (placed((40, 30), (100, 90), start=(20, 36)), (80, 60), 2, 1, (0, 0)),
        (placed((40, 30), None), (120, 90), 3, 1, (0, 0)),
    ],
)
def test_the_finer_grid_holds_both(
    map_: Placement, truth: Pair, map_repeat: int, truth_repeat: int, origin: Pair
) -> None:
    found = align(map_, truth)
    assert found.map_repeat == (map_repeat, map_repeat)
    assert found.truth_repeat == (truth_repeat, truth_repeat)
    assert found.origin == origin


@pytest.mark.parametrize("truth", [(100, 80), (67, 60), (99, 89), (45, 50)])
def test_sizes_that_do_not_tell_are_refused(truth: Pair) -> None:
    with pytest.raises(UsageError, match=r"cannot compare: the truth is .* the map 100 x 90 px"):
        align(placed((100, 90), (100, 90)), truth)


def test_boxes_end_where_the_truth_ends() -> None:
    found = align(placed((25, 23), (100, 90), "4"), (100, 90))
    assert found.fine(Box(20, 20, 25, 23)) == (80, 80, 100, 90)
    assert found.truth_box(Box(80, 80, 100, 90)) == (80, 80, 100, 90)


def test_a_coarse_truth_is_read_where_fine_pixels_touch_it() -> None:
    found = align(placed((100, 90), (100, 90)), (25, 23))
    assert found.truth_box(Box(3, 7, 9, 8)) == (0, 1, 3, 2)
