"""The area that viewers show is what the slide says, else all of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import tifffile

from gigafcn.errors import SlideError
from gigafcn.slide.bounds import read_bounds
from gigafcn.slide.traits import bounds_from

if TYPE_CHECKING:
    from pathlib import Path


def test_four_whole_numbers_are_a_box() -> None:
    assert bounds_from(["7", "5", "100", "200"]) == (7, 5, 107, 205)


@pytest.mark.parametrize("found", [[None] * 4, ["7", "5", None, "200"], ["7", "5", "1.5", "2"]])
def test_anything_else_is_no_box(found: list[str | None]) -> None:
    assert bounds_from(found) is None


def test_a_slide_without_the_properties_is_shown_whole(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((64, 64, 3), np.uint8), tile=(64, 64))
    np.save(tmp_path / "a.npy", np.zeros(3))
    assert read_bounds(tmp_path / "a.tif") is read_bounds(tmp_path / "a.npy") is None


@pytest.mark.slide
def test_the_real_slide_is_shown_whole(real_slide: Path) -> None:
    assert read_bounds(real_slide) is None


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SlideError, match=r"a\.svs: no such file"):
        read_bounds(tmp_path / "a.svs")
