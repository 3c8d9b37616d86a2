"""Files that OpenSlide knows as a scanner's are read as what they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from gigafcn.errors import SlideError
from gigafcn.geometry import Box
from gigafcn.slide import open_slide
from gigafcn.slide import openslide as backend
from gigafcn.slide.marks import Mark
from tests.scanner_files import (
    write_mrxs,
    write_ndpi,
    write_philips,
    write_scn,
    write_svs,
    write_trestle,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def sweep(slide: Any, strip: int, columns: tuple[int, int]) -> None:
    height = slide.levels[0].shape[0]
    for y in range(0, height, strip):
        slide.look(Box(y, columns[0], min(y + strip, height), columns[1]))


@pytest.mark.parametrize(
    ("write", "vendor"),
    [(write_svs, "aperio"), (write_trestle, "trestle"), (write_philips, "philips")],
)
def test_a_tiled_format_is_read_exactly(
    write: Callable[..., None], vendor: str, tmp_path: Path, make_pixels: Any, reads_like: Any
) -> None:
    path = tmp_path / "a.tif"
    write(path, make_pixels(600, 500, 3))
    slide = open_slide(path)
    assert slide.traits.format == f"openslide {vendor}"
    assert slide.mpp == (0.5, 0.5)
    reads_like(slide, tifffile.imread(path))


def test_an_ndpi_is_read_block_by_block_of_its_restart_markers(
    tmp_path: Path, make_pixels: Any, reads_like: Any
) -> None:
    path, pixels = tmp_path / "a.ndpi", make_pixels(256, 512, 3)
    write_ndpi(path, pixels, restart=8)
    slide = open_slide(path)
    assert slide.traits.format == "openslide hamamatsu"
    raw = path.read_bytes()
    (tmp_path / "a.jpg").write_bytes(raw[16:])
    reads_like(slide, np.asarray(Image.open(tmp_path / "a.jpg")), boxes=5)


def test_an_ndpi_of_one_giant_jpeg_is_refused_with_a_way_out(
    tmp_path: Path, make_pixels: Any
) -> None:
    pixels = make_pixels(256, 256, 3)
    write_ndpi(tmp_path / "a.ndpi", pixels, declared=(20_000, 18_000))
    with pytest.raises(SlideError, match=r"tiles of 20000 x 18000 px .* vips tiffsave"):
        open_slide(tmp_path / "a.ndpi")
    write_ndpi(tmp_path / "small.ndpi", pixels)
    assert open_slide(tmp_path / "small.ndpi").levels[0].shape == (256, 256)


def test_the_scanned_area_is_known_and_the_glass_around_it_is_a_gap(
    tmp_path: Path, make_pixels: Any
) -> None:
    write_scn(tmp_path / "a.scn", make_pixels(300, 400, 3), at=(64, 48))
    slide = open_slide(tmp_path / "a.scn")
    bounds = Box(64, 48, 364, 448)
    assert slide.traits.bounds == bounds
    assert slide.mpp == (0.5, 0.5)
    found = slide.look(Box.whole(slide.levels[0].shape))
    assert found.marks is not None
    inside = np.zeros(found.marks.shape, bool)
    inside[64:364, 48:448] = True
    np.testing.assert_array_equal(found.marks == Mark.GAP, ~inside)
    assert (found.pixels[~inside] == 255).all()
    with tifffile.TiffFile(tmp_path / "a.scn") as tif:
        np.testing.assert_array_equal(found.pixels[64:364, 48:448], tif.pages[1].asarray())


def test_fields_that_were_not_scanned_are_gaps_of_the_background_colour(
    tmp_path: Path, make_pixels: Any
) -> None:
    missing = {(0, 0), (1, 0), (2, 0), (1, 3)}
    write_mrxs(tmp_path / "a.mrxs", make_pixels(384, 512, 3), missing, background=0x804020)
    slide = open_slide(tmp_path / "a.mrxs")
    assert slide.traits.bounds == Box(0, 128, 384, 512)
    found = slide.look(Box(0, 0, 384, 512))
    assert found.marks is not None
    empty = np.zeros((384, 512), bool)
    for y, x in missing:
        empty[y * 128 : (y + 1) * 128, x * 128 : (x + 1) * 128] = True
    np.testing.assert_array_equal(found.marks == Mark.GAP, empty)
    assert (found.pixels[empty] == (0x20, 0x40, 0x80)).all()


def test_a_bad_field_of_an_mrxs_is_found_in_halves(tmp_path: Path, make_pixels: Any) -> None:
    write_mrxs(tmp_path / "a.mrxs", make_pixels(640, 640, 3))
    good = open_slide(tmp_path / "a.mrxs").read(Box(0, 0, 640, 640))
    data = tmp_path / "a" / "Data0000.dat"
    stream = bytearray(data.read_bytes())
    start = -1
    for _ in range(2 * 5 + 3):  # the fourth field of the third row
        start = stream.index(b"\xff\xd8\xff", start + 1)
    start = stream.index(b"\xff\xd8\xff", start + 1)
    stream[start : start + 2000] = bytes(2000)
    data.write_bytes(stream)
    slide = open_slide(tmp_path / "a.mrxs")
    for box in (Box(0, 0, 640, 640), Box(250, 380, 300, 400)):
        found = slide.look(box)
        assert found.marks is not None
        bad = np.zeros((640, 640), bool)
        bad[256:384, 384:512] = True
        there = bad[box.y0 : box.y1, box.x0 : box.x1]
        np.testing.assert_array_equal(found.marks == Mark.FAILED, there)
        expected = good[box.y0 : box.y1, box.x0 : box.x1]
        np.testing.assert_array_equal(found.pixels[~there], expected[~there])


@pytest.mark.parametrize("strip", [7, 64, 128, 300])
def test_a_sweep_asks_openslide_for_each_stored_tile_once(
    strip: int, tmp_path: Path, make_pixels: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Blocks are whole tiles, so a tile that is asked for once is decoded once."""
    write_svs(tmp_path / "a.svs", make_pixels(600, 900, 3))
    slide: Any = open_slide(tmp_path / "a.svs")
    asked: list[Box] = []
    region = slide._region

    def noted(box: Box, level: int) -> Any:
        asked.append(box)
        return region(box, level)

    monkeypatch.setattr(slide, "_region", noted)
    slide.cache.capacity_bytes = 0  # no more than a row of blocks
    sweep(slide, strip, (0, 900))
    assert sum(box.area for box in asked) == 600 * 900
    assert len(set(asked)) == len(asked)
    assert all(edge % 128 == 0 or edge in (600, 900) for box in asked for edge in box)


def test_short_tiles_are_read_many_at_once(tmp_path: Path, make_pixels: Any) -> None:
    write_ndpi(tmp_path / "a.ndpi", make_pixels(256, 512, 3), restart=8)
    slide: Any = open_slide(tmp_path / "a.ndpi")
    grid = slide._grids[0]
    assert grid.unit == (8, 64)
    assert grid.block == (128, 128)
    assert backend.TILE_LIMIT_BYTES > 4 * 256 * 256
