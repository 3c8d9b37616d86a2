"""Input that looks wrong, as the person sees it who gets the command's lines and the summary."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING

import numpy as np
import pytest
import tifffile

from gigafcn.output import open_map
from tests.cli.refusals import MODEL, refused
from tests.commands import gigafcn
from tests.run import inputs

if TYPE_CHECKING:
    from pathlib import Path

TWICE = ("--scale", "0.0000154")
"""1/255 of 1/255."""


@pytest.fixture
def slides(folder: Path) -> Path:
    """A stained slide, and one of floats of 0 to 255, which need another scale."""
    (folder / "scans").mkdir()
    pixels = inputs.haematoxylin_eosin()
    tifffile.imwrite(folder / "scans" / "bytes.tif", pixels, photometric="rgb")
    tifffile.imwrite(folder / "scans" / "floats.tif", pixels.astype(np.float32), photometric="rgb")
    return folder / "scans"


def rows_of(path: Path) -> dict[str, dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return {row["slide"]: row for row in csv.DictReader(file)}


def test_doubts_stand_in_the_summary_beside_the_slide_that_they_are_about(
    folder: Path, slides: Path
) -> None:
    ended = gigafcn("infer", "scans", *MODEL, "-o", "maps", cwd=folder)
    assert ended.code == 0
    rows = rows_of(folder / "maps" / "summary.csv")
    assert rows["scans/bytes.tif"]["warnings"] == ""
    assert "deviations from the mean" in rows["scans/floats.tif"]["warnings"]
    closing = next(line for line in ended.out.splitlines() if "floats.zarr" in line)
    assert "WARNING: input " in closing
    assert "gigafcn: warning: px of floats at level 0 lie between" in ended.err


def test_strict_makes_doubts_that_slides_failure(folder: Path, slides: Path) -> None:
    ended = gigafcn("infer", "scans", *MODEL, "-o", "maps", "--strict", cwd=folder)
    assert ended.code == 5
    rows = rows_of(folder / "maps" / "summary.csv")
    assert [row["status"] for row in rows.values()] == ["mapped", "failed"]
    assert not (folder / "maps" / "floats.zarr").exists()


def test_doubts_are_kept_with_the_map_and_said_again(folder: Path, slides: Path) -> None:
    words = ("infer", "scans/bytes.tif", *MODEL, *TWICE, "-o", "map.zarr")
    first, second = (gigafcn(*words, cwd=folder) for _ in range(2))
    assert first.code == second.code == 0
    for ended in (first, second):
        assert "all within 0.02: scaled down twice?" in ended.err
    (kept,) = open_map(folder / "map.zarr").provenance["doubts"]
    assert "all within 0.02" in kept


def test_plan_says_what_is_doubtful(folder: Path, slides: Path) -> None:
    ended = gigafcn("plan", "scans/bytes.tif", *MODEL, *TWICE, cwd=folder)
    assert ended.code == 0
    assert "all within 0.02" in ended.err


def test_a_summary_of_the_version_before_is_brought_up_to_date(folder: Path, slides: Path) -> None:
    (folder / "maps").mkdir()
    header = "slide,map,status,width_px,height_px,seconds,mpx_per_s,exports,message\n"
    (folder / "maps" / "summary.csv").write_text(header)
    assert gigafcn("infer", "scans", *MODEL, "-o", "maps", cwd=folder).code == 0
    assert len(rows_of(folder / "maps" / "summary.csv")) == 2


def test_contradictions_and_images_of_one_value_are_refused_in_a_line(folder: Path) -> None:
    tifffile.imwrite(folder / "flat.tif", np.full((90, 70, 3), 255, np.uint8), photometric="rgb")
    line = refused(3, "infer", "flat.tif", *MODEL, "-o", "map.zarr", cwd=folder)
    assert "every pixel of flat is the same (255, 255, 255)" in line
    words = ("--mean", "123.7,116.3,103.5", "--std", "58.4,57.1,57.4")
    line = refused(2, "infer", "flat.tif", *MODEL, *words, "-o", "map.zarr", cwd=folder)
    assert "mean 123.7 cannot be the mean of what the model is fed" in line
    assert "mean and std of stored values go with --scale 1" in line
