"""Can the drawn slide be read as a slide, and is its mask exact?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import openslide
import pytest
import tifffile

from gigafcn.errors import RunError, UsageError
from gigafcn.geometry import Box
from gigafcn.train.demonstration_slide import halve, write_demonstration_slide
from gigafcn.train.drawing import World, draw_region

if TYPE_CHECKING:
    from pathlib import Path

    from gigafcn.progress import Progress

SHAPE = (1000, 900)
SEED = 5


@pytest.fixture(scope="module")
def slide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("drawn") / "slide.tiff"
    assert write_demonstration_slide(path, SHAPE, seed=SEED) == path.with_name("slide_truth.tiff")
    return path


def test_openslide_reads_its_pyramid_and_resolution(slide: Path) -> None:
    with openslide.OpenSlide(slide) as opened:
        assert opened.level_dimensions == ((900, 1000), (450, 500))
        assert float(opened.properties["openslide.mpp-x"]) == pytest.approx(0.5)
        assert opened.properties["openslide.vendor"] == "generic-tiff"


def test_tifffile_reads_tiled_jpeg_with_a_pyramid(slide: Path) -> None:
    with tifffile.TiffFile(slide) as tiff:
        assert [level.shape for level in tiff.series[0].levels] == [(1000, 900, 3), (500, 450, 3)]
        page = tiff.pages.first
        assert page.is_tiled
        assert page.compression == tifffile.COMPRESSION.JPEG
        assert page.tags["XResolution"].value == (20000, 1)


def test_its_pixels_are_the_drawing_up_to_jpeg(slide: Path) -> None:
    box = Box(300, 200, 700, 600)
    drawn = draw_region(World(SEED, frame=SHAPE), box).picture.astype(int)
    stored = tifffile.imread(slide)[300:700, 200:600]
    # JPEG at quality 85 with halved colour resolution.
    assert np.abs(stored - drawn).mean() < 8


def test_its_mask_is_the_drawings_mask(slide: Path) -> None:
    truth = tifffile.imread(slide.with_name("slide_truth.tiff"))
    assert (truth == draw_region(World(SEED, frame=SHAPE), Box(0, 0, *SHAPE)).mask).all()
    assert set(np.unique(truth)) == {0, 1, 2}


def test_the_smaller_level_is_the_mean_of_the_larger(slide: Path) -> None:
    with tifffile.TiffFile(slide) as tiff:
        large, small = (level.asarray() for level in tiff.series[0].levels)
    # Both went through JPEG on their own.
    assert np.abs(halve(large).astype(int) - small).mean() < 6


def test_nothing_but_the_two_files_is_left_behind(slide: Path) -> None:
    assert sorted(p.name for p in slide.parent.iterdir()) == ["slide.tiff", "slide_truth.tiff"]


def test_progress_is_reported_band_by_band(tmp_path: Path) -> None:
    seen: list[Progress] = []
    write_demonstration_slide(tmp_path / "s.tiff", 512, seed=1, progress=seen.append)
    assert [(p.stage, p.tiles_done, p.pixels_done, p.pixels) for p in seen] == [
        ("draw", 1, 512 * 512, 512 * 512)
    ]


def test_a_slide_too_small_for_a_pyramid_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="512 px"):
        write_demonstration_slide(tmp_path / "s.tiff", 300)


def test_a_place_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"nowhere/s\.tiff cannot be written"):
        write_demonstration_slide(tmp_path / "nowhere" / "s.tiff", 512)
