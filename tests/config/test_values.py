"""Values written as text mean what a reader expects."""

from __future__ import annotations

import pytest

from gigafcn.config.values import parse_bytes, parse_list, parse_pair, parse_region


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("4GiB", 4 * 2**30),
        ("4G", 4 * 2**30),
        ("500MB", 500_000_000),
        ("1.5 gib", 3 * 2**29),
        ("4096", 4096),
        (4096, 4096),
    ],
)
def test_an_amount_of_memory_is_read_in_bytes(text: object, expected: int) -> None:
    assert parse_bytes(text) == expected


@pytest.mark.parametrize("text", ["", "GiB", "4 gibs", "-4GiB", "4,5GiB", "1e9"])
def test_an_amount_of_memory_that_is_none_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="write it like 4GiB"):
        parse_bytes(text)


@pytest.mark.parametrize("given", ["10,20,30,40", " 10, 20,30 ,40", [10, 20, 30, 40]])
def test_a_region_is_four_whole_numbers_as_text_or_list(given: object) -> None:
    assert parse_region(given) == (10, 20, 30, 40)


@pytest.mark.parametrize("given", ["1,2,3", "1,2,3,4,5", "a,b,c,d", "1.5,2,3,4", 7, [[1], 2, 3, 4]])
def test_a_region_of_another_form_is_refused_with_the_form_expected(given: object) -> None:
    with pytest.raises(ValueError, match="expected X,Y,W,H"):
        parse_region(given)


def test_an_empty_region_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1 px, got 0,4"):
        parse_region("1,2,0,4")


def test_a_region_left_of_the_image_is_refused() -> None:
    with pytest.raises(ValueError, match="top left corner, got -1,2"):
        parse_region("-1,2,3,4")


def test_a_pair_is_one_number_for_both_axes_or_two() -> None:
    assert parse_pair("512") == "512"
    assert parse_pair("512,256") == ("512", "256")
    assert parse_pair(["512,256"]) == ("512", "256")
    assert parse_pair([512, 256]) == (512, 256)


def test_a_pair_of_three_is_refused() -> None:
    with pytest.raises(ValueError, match="one number or two as Y,X, got 3"):
        parse_pair("1,2,3")


def test_a_list_may_hold_one_item() -> None:
    assert parse_list("tumour") == ("tumour",)
    assert parse_list(0.5) == (0.5,)
