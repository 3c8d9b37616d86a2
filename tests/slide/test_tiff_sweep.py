"""Sweeps decode each stored segment once, small boxes decode little, threads do not disturb."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
import zarr

from gigafcn.errors import RunError
from gigafcn.geometry import Box
from gigafcn.slide.segments import SegmentCache
from gigafcn.slide.tiff import TiffSlide
from gigafcn.slide.zarr import ZarrSlide

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def tiled(tmp_path: Path, make_pixels: Any) -> tuple[TiffSlide, Any]:
    pixels = make_pixels(500, 700, 3)
    tifffile.imwrite(tmp_path / "a.tif", pixels, tile=(128, 128), compression="zlib")
    return TiffSlide(tmp_path / "a.tif"), pixels


def sweep(slide: Any, strip: int, columns: tuple[int, int]) -> None:
    height = slide.levels[0].shape[0]
    for y in range(0, height, strip):
        slide.read(Box(y, columns[0], min(y + strip, height), columns[1]))


@pytest.mark.parametrize("strip", [7, 64, 128, 300])
def test_a_sweep_decodes_each_tile_once(strip: int, tiled: tuple[TiffSlide, Any]) -> None:
    slide, _ = tiled
    sweep(slide, strip, (0, 700))
    assert slide.cache.decoded == 4 * 6


def test_a_sweep_decodes_each_tile_once_when_the_cache_holds_one_row(
    tiled: tuple[TiffSlide, Any],
) -> None:
    slide, _ = tiled
    slide.cache = SegmentCache(capacity_bytes=0)
    sweep(slide, 20, (100, 500))
    assert slide.cache.decoded == 4 * 4


def test_a_small_box_decodes_only_the_tiles_it_meets(tiled: tuple[TiffSlide, Any]) -> None:
    slide, _ = tiled
    slide.read(Box(100, 120, 140, 130))
    assert slide.cache.decoded == 4


def test_a_sweep_decodes_each_strip_and_plane_once(tmp_path: Path, make_pixels: Any) -> None:
    tifffile.imwrite(
        tmp_path / "a.tif", make_pixels(3, 200, 90), planarconfig="separate", photometric="rgb",
        rowsperstrip=50, compression="zlib",
    )  # fmt: skip
    slide = TiffSlide(tmp_path / "a.tif")
    sweep(slide, 16, (0, 90))
    assert slide.cache.decoded == 3 * 4


def test_a_sweep_decodes_each_zarr_chunk_once(make_pixels: Any) -> None:
    array = zarr.create_array({}, data=make_pixels(300, 200, 3), chunks=(64, 64, 3))
    slide = ZarrSlide(array)
    sweep(slide, 10, (30, 200))
    assert slide.cache.decoded == 5 * 4


def test_the_cache_forgets_what_was_used_longest_ago() -> None:
    cache: SegmentCache[Any] = SegmentCache(capacity_bytes=20)
    for key in "abc":
        cache.put(key, np.zeros(8, np.uint8))
    assert [cache.get(key) is not None for key in "abc"] == [False, True, True]


def test_eight_threads_read_the_right_pixels(tiled: tuple[TiffSlide, Any]) -> None:
    slide, pixels = tiled

    def check(seed: int) -> bool:
        random = np.random.default_rng(seed)
        y, x = int(random.integers(0, 400)), int(random.integers(0, 600))
        box = Box(y, x, y + 100, x + 100)
        return np.array_equal(slide.read(box), pixels[y : y + 100, x : x + 100])

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(check, range(200)))


def test_a_damaged_tile_names_file_level_and_box_and_spares_the_others(
    tmp_path: Path, make_pixels: Any
) -> None:
    path, pixels = tmp_path / "a.tif", make_pixels(128, 128, 3)
    tifffile.imwrite(path, pixels, tile=(64, 64), compression="zlib")
    with tifffile.TiffFile(path) as tif:
        offset = tif.pages.first.dataoffsets[3]
    data = bytearray(path.read_bytes())
    data[offset : offset + 50] = bytes(50)
    path.write_bytes(data)
    slide = TiffSlide(path)
    with pytest.raises(RunError, match=r"a\.tif, level 0, box \(60, 60, 70, 70\)"):
        slide.read(Box(60, 60, 70, 70))
    np.testing.assert_array_equal(slide.read(Box(0, 0, 64, 128)), pixels[:64])


def test_a_tile_that_declares_a_giant_stream_is_not_decoded(
    tmp_path: Path, make_pixels: Any
) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, make_pixels(64, 64, 3), tile=(64, 64), compression="jpeg")
    data = bytearray(path.read_bytes())
    frame = data.rindex(b"\xff\xc0")
    data[frame + 5 : frame + 9] = b"\xff\xff\xff\xff"
    path.write_bytes(data)
    with pytest.raises(RunError, match="declares 65535 x 65535 px"):
        TiffSlide(path).read(Box(0, 0, 64, 64))


def test_a_file_cut_while_it_is_read_is_a_run_error(tmp_path: Path, make_pixels: Any) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, make_pixels(64, 64, 3))
    slide = TiffSlide(path)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(RunError, match="ends"):
        slide.read(Box(0, 0, 64, 64))


def test_reading_a_closed_slide_says_so(tiled: tuple[TiffSlide, Any]) -> None:
    slide, _ = tiled
    slide.close()
    slide.close()
    with pytest.raises(RunError, match="is closed"):
        slide.read(Box(0, 0, 1, 1))
