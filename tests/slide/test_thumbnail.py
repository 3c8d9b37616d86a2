"""Thumbnails are block means of the right level, in RGB, in bounded memory."""

from __future__ import annotations

import tracemalloc
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
import zarr

from gigafcn.errors import UsageError
from gigafcn.geometry import Box
from gigafcn.slide import open_slide, read_thumbnail
from gigafcn.slide.array import ArraySlide

if TYPE_CHECKING:
    from pathlib import Path


def block_means(pixels: Any, factor: int) -> Any:
    height, width = pixels.shape[:2]
    return np.array(
        [
            [pixels[y : y + factor, x : x + factor].mean((0, 1)) for x in range(0, width, factor)]
            for y in range(0, height, factor)
        ]
    )


@pytest.mark.parametrize("band_bytes", [1, 5000, 1 << 24])
def test_pixels_are_means_of_blocks(
    band_bytes: int, make_pixels: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gigafcn.slide.thumbnail._BAND_BYTES", band_bytes)
    pixels = make_pixels(75, 103, 3)
    thumbnail = read_thumbnail(open_slide(pixels), max_px=20)
    # Sums are float32, so a mean may land on the other side of a half.
    assert np.abs(thumbnail - block_means(pixels, 6)).max() <= 0.501


def test_a_small_slide_is_shown_as_it_is(make_pixels: Any) -> None:
    pixels = make_pixels(40, 30, 3)
    np.testing.assert_array_equal(read_thumbnail(open_slide(pixels), max_px=100), pixels)


class Counting(ArraySlide):
    """Adds up how many pixels are read."""

    pixels_read = 0

    def read(self, box: Box, level: int = 0) -> Any:
        self.pixels_read += box.area
        return super().read(box, level)


@pytest.mark.parametrize("band_bytes", [1, 5000, 1 << 24])
def test_of_a_part_only_the_part_is_read(
    band_bytes: int, make_pixels: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gigafcn.slide.thumbnail._BAND_BYTES", band_bytes)
    pixels = make_pixels(400, 300, 3)
    slide = Counting(pixels)
    thumbnail = read_thumbnail(slide, max_px=20, box=Box(101, 53, 176, 156))
    assert slide.pixels_read == 75 * 103
    # Sums are float32, so a mean may land on the other side of a half.
    assert np.abs(thumbnail - block_means(pixels[101:176, 53:156], 6)).max() <= 0.501


def test_a_part_is_read_from_the_coarsest_level_that_shows_it_large_enough(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as tif:
        for side in (512, 256, 128):
            rows = np.arange(side) * 255 // side  # shows the place, whatever the level
            pixels = np.tile(rows[:, np.newaxis, np.newaxis], (1, side, 3)).astype(np.uint8)
            pixels[..., 2] = side // 4
            tif.write(
                pixels, tile=(64, 64), photometric="rgb", subfiletype=int(side < 512), metadata=None
            )
    slide = open_slide(tmp_path / "a.tif")
    for max_px, side in ((32, 128), (33, 256), (64, 256), (65, 512)):
        thumbnail = read_thumbnail(slide, max_px, box=Box(256, 128, 384, 256))
        assert thumbnail[0, 0, 2] == side // 4
        assert thumbnail[0, 0, 0] in (127, 128)  # a block of two rows is half a step further
        assert max(thumbnail.shape) <= max_px


@pytest.mark.parametrize("box", [Box(0, 0, 0, 4), Box(-1, 0, 4, 4), Box(0, 0, 4, 5)])
def test_a_part_that_is_not_inside_the_slide_is_a_usage_error(box: Box, make_pixels: Any) -> None:
    with pytest.raises(UsageError, match="is empty or not inside 4 x 4 px"):
        read_thumbnail(open_slide(make_pixels(4, 4)), box=box)


def test_the_coarsest_level_that_is_large_enough_is_read(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as tif:
        for value, side in ((10, 512), (20, 256), (30, 128)):
            tif.write(
                np.full((side, side, 3), value, np.uint8), tile=(64, 64), photometric="rgb",
                subfiletype=int(side < 512), metadata=None,
            )  # fmt: skip
    slide = open_slide(tmp_path / "a.tif")
    values = [int(read_thumbnail(slide, max_px)[0, 0, 0]) for max_px in (100, 128, 200, 999)]
    assert values == [30, 30, 20, 10]


@pytest.mark.parametrize(("channels", "kept"), [(1, 1), (2, 2), (5, 3)])
def test_any_number_of_channels_becomes_rgb(channels: int, kept: int, make_pixels: Any) -> None:
    pixels = make_pixels(20, 30, channels)
    thumbnail = read_thumbnail(open_slide(pixels), max_px=30)
    assert thumbnail.shape == (20, 30, 3)
    np.testing.assert_array_equal(thumbnail[..., :kept], pixels[..., :kept])
    if channels == 1:
        np.testing.assert_array_equal(thumbnail[..., 2], pixels[..., 0])


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_other_types_are_stretched_to_their_percentiles(dtype: str) -> None:
    ramp = np.tile(np.linspace(1000, 3000, 200), (50, 1)).astype(dtype)
    thumbnail = read_thumbnail(open_slide(ramp), max_px=200)
    assert (thumbnail.min(), thumbnail.max()) == (0, 255)
    assert abs(int(thumbnail[0, 100, 0]) - 128) <= 2


def test_values_that_are_not_finite_are_shown_black() -> None:
    pixels = np.ones((20, 20), np.float32)
    pixels[0, 0] = np.nan
    assert read_thumbnail(open_slide(pixels), max_px=20)[0, 0, 0] == 0


def test_memory_is_bounded_on_a_slide_of_one_huge_level(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", shape=(40_000, 40_000), dtype="uint8", bigtiff=True)
    slide = open_slide(tmp_path / "a.tif")
    tracemalloc.start()
    try:
        assert read_thumbnail(slide, max_px=200).shape == (200, 200, 3)
        assert tracemalloc.get_traced_memory()[1] < 64 << 20
    finally:
        tracemalloc.stop()


def test_memory_is_bounded_on_a_wide_slide_of_large_chunks(tmp_path: Path) -> None:
    path = tmp_path / "a.zarr"
    zarr.create_array(path, shape=(1024, 131_072, 3), chunks=(1024, 1024, 3), dtype="uint8")
    slide = open_slide(path)
    tracemalloc.start()
    try:
        assert read_thumbnail(slide, max_px=1600).shape == (13, 1599, 3)
        row_of_chunks = 128 * 1024 * 1024 * 3
        assert tracemalloc.get_traced_memory()[1] < row_of_chunks / 3
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("decoded_bytes", [1, 64 * 3 * 20, 1 << 24])
def test_stripes_of_columns_do_not_show(
    decoded_bytes: int, tmp_path: Path, make_pixels: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = make_pixels(75, 103, 3)
    zarr.create_array(tmp_path / "a.zarr", data=pixels, chunks=(64, 64, 3))
    whole = read_thumbnail(open_slide(pixels), max_px=20)
    monkeypatch.setattr("gigafcn.slide.thumbnail._DECODED_BYTES", decoded_bytes)
    np.testing.assert_array_equal(read_thumbnail(open_slide(tmp_path / "a.zarr"), 20), whole)


@pytest.mark.parametrize("threads", [2, 3, 64])
def test_threads_read_side_by_side_what_one_reads(threads: int, make_pixels: Any) -> None:
    slide = open_slide(make_pixels(75, 103, 3))
    one = read_thumbnail(slide, max_px=20)
    np.testing.assert_array_equal(read_thumbnail(slide, 20, threads=threads), one)


def test_of_huge_levels_the_middle_rows_of_each_block_are_read(
    make_pixels: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gigafcn.slide.thumbnail._WHOLE_PX", 100)
    pixels = make_pixels(120, 90, 3)
    middle = np.concatenate([pixels[y + 6 : y + 14] for y in range(0, 120, 20)])
    expected = middle.reshape(6, 8, 90, 3).mean(1)
    thumbnail = read_thumbnail(open_slide(pixels), max_px=6)
    columns = [expected[:, x : x + 20].mean(1) for x in range(0, 90, 20)]
    # Sums are float32, so a mean may land on the other side of a half.
    assert np.abs(thumbnail - np.stack(columns, axis=1)).max() <= 0.501


def test_no_pixels_at_all_is_a_usage_error(make_pixels: Any) -> None:
    with pytest.raises(UsageError, match="at least 1 px"):
        read_thumbnail(open_slide(make_pixels(4, 4)), max_px=0)
