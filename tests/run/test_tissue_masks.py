"""A mask's ground is left out of the map, whatever it is made of."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from gigafcn.errors import UsageError
from gigafcn.run.options import Options
from gigafcn.run.request import prepare
from gigafcn.run.tissue import with_tissue
from gigafcn.slide.array import ArraySlide
from tests.run.small_nets import Skip, whole_numbers

if TYPE_CHECKING:
    from pathlib import Path

MASK = np.zeros((96, 128), np.uint8)
MASK[4:28, 4:60] = 1
"""Two of the twelve chunks of 256 px."""


@lru_cache(maxsize=1)
def everything() -> Any:
    """A run without tissue."""
    slide = ArraySlide(np.zeros((768, 1024, 3), np.uint8))
    return prepare(slide, whole_numbers(Skip()), Options())


def computed(path: Path) -> list[list[int]]:
    """Chunks (y, x) that a run with a mask would compute."""
    run = everything()
    plan = with_tissue(run.plan, run.slide, Options(tissue=path), run.demand)
    assert plan.tissue is not None
    found: list[list[int]] = np.argwhere(plan.tissue.cells()).tolist()
    return found


def pictures() -> dict[str, Any]:
    rgba = np.zeros((96, 128, 4), np.uint8)
    rgba[MASK > 0] = (255, 0, 0, 255)
    indexed = Image.fromarray(MASK, "P")
    indexed.putpalette([255, 255, 255, 255, 0, 0])
    return {
        "grey.png": Image.fromarray(MASK * 255),
        "numbers.png": Image.fromarray(MASK),
        "rgba.png": Image.fromarray(rgba),
        "rgba.webp": Image.fromarray(rgba),
        "la.png": Image.fromarray(rgba).convert("LA"),
        "palette.png": indexed,
        "quantised.png": Image.fromarray(rgba).quantize(),
        "ringing.jpg": Image.fromarray(MASK * 255),
        "bilevel.tif": Image.fromarray(MASK * 255).convert("1"),
    }


@pytest.mark.parametrize("name", pictures())
def test_the_ground_of_a_mask_is_not_computed(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "gigafcn")
    pictures()[name].save(tmp_path / name)
    assert computed(tmp_path / name) == [[0, 0], [0, 1]]
    share = 100 * MASK.mean()
    assert f"mask: {share:.3g} % of it is tissue" in caplog.text
    assert not [r for r in caplog.records if r.levelname == "WARNING"]


@pytest.mark.parametrize(("left", "warned"), [(0, True), (50, True), (100, False)])
def test_a_mask_that_leaves_out_nothing_is_warned_of(
    left: int, warned: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    mask = np.full(96 * 128, 255, np.uint8)
    mask[:left] = 0  # of 12 288 px
    Image.fromarray(mask.reshape(96, 128)).save(tmp_path / "a.png")
    assert len(computed(tmp_path / "a.png")) == 12
    said = [r for r in caplog.records if "of itself as tissue" in r.getMessage()]
    assert bool(said) == warned


def test_a_mask_that_marks_nothing_is_refused(tmp_path: Path) -> None:
    Image.fromarray(MASK * 0).save(tmp_path / "a.png")
    with pytest.raises(UsageError, match="marks nothing in the mapped part"):
        computed(tmp_path / "a.png")


def test_a_mask_that_is_wholly_transparent_is_refused(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((96, 128, 4), np.uint8)).save(tmp_path / "a.png")
    with pytest.raises(UsageError, match="marks nothing in the mapped part"):
        computed(tmp_path / "a.png")
