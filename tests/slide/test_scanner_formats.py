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
from tests.scanner_files import write_ndpi, write_scn, write_svs, write_trestle

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def sweep(slide: Any, strip: int, columns: tuple[int, int]) -> None:
    height = slide.levels[0].shape[0]
    for y in range(0, height, strip):
        slide.look(Box(y, columns[0], min(y + strip, height), columns[1]))


@pytest.mark.parametrize(
    ("write", "vendor"),
    [(write_svs, "aperio"), (write_trestle, "trestle")],
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
