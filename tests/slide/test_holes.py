"""What cannot be read, is absent or has no value is marked px by px; all else is as it was."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
import zarr

from gigafcn.errors import RunError
from gigafcn.geometry import Box
from gigafcn.slide import open_slide
from gigafcn.slide.marks import Mark, Reading, with_no_data
from gigafcn.slide.tiff_plane import ByteSource

if TYPE_CHECKING:
    from pathlib import Path


def spoil(path: Path, segment: int, page: int = 0) -> None:
    """Overwrite the middle of a tile or strip."""
    with tifffile.TiffFile(path) as tif:
        found = tif.pages[page]
        assert isinstance(found, tifffile.TiffPage)
        offset, count = found.dataoffsets[segment], found.databytecounts[segment]
    data = bytearray(path.read_bytes())
    data[offset : offset + count] = bytes(count)
    path.write_bytes(data)


def failed_px(found: Reading) -> Any:
    assert found.marks is not None
    return found.marks == Mark.FAILED


@pytest.mark.parametrize("compression", ["jpeg", "jpeg2000", "lzw", "zlib", "zstd"])
def test_a_bad_tile_is_marked_and_the_others_are_read(
    compression: str, tmp_path: Path, make_pixels: Any
) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(
        path, make_pixels(190, 260, 3), tile=(64, 64), compression=compression, photometric="rgb"
    )
    expected = tifffile.imread(path)
    spoil(path, 6)
    slide = open_slide(path)
    bad = np.zeros((190, 260), bool)
    bad[64:128, 64:128] = True
    for box in (Box(0, 0, 190, 260), Box(100, 50, 130, 90)):
        found, where = slide.look(box), (slice(box.y0, box.y1), slice(box.x0, box.x1))
        np.testing.assert_array_equal(failed_px(found), bad[where])
        np.testing.assert_array_equal(found.pixels[~bad[where]], expected[where][~bad[where]])
        assert (found.pixels[bad[where]] == 255).all()
        assert found.failed == (Box(64, 64, 128, 128),)
    with pytest.raises(RunError, match="damaged there"):
        slide.read(Box(100, 50, 130, 90))


def test_a_bad_tile_of_one_channel_counts_when_that_channel_is_wanted(
    tmp_path: Path, make_pixels: Any
) -> None:
    path, pixels = tmp_path / "a.ome.tif", make_pixels(3, 128, 128, dtype="uint16")
    tifffile.imwrite(path, pixels, tile=(64, 64), compression="zlib", metadata={"axes": "CYX"})
    spoil(path, 0, page=1)
    slide, box = open_slide(path), Box(0, 0, 128, 128)
    assert slide.look(box).failed == (Box(0, 0, 64, 64),)
    found = slide.look(box, 0, (2, 0))
    assert found.marks is None
    np.testing.assert_array_equal(found.pixels, np.moveaxis(pixels[[2, 0]], 0, -1))


@pytest.mark.parametrize("form", [2, 3])
def test_a_bad_zarr_chunk_is_marked_and_its_neighbours_are_read(
    form: Any, tmp_path: Path, make_pixels: Any
) -> None:
    pixels = make_pixels(200, 300, 3)
    zarr.create_array(str(tmp_path / "a.zarr"), data=pixels, chunks=(64, 64, 3), zarr_format=form)
    chunk = tmp_path / "a.zarr" / ("1.2.0" if form == 2 else "c/1/2/0")
    chunk.write_bytes(chunk.read_bytes()[:50])
    slide = open_slide(tmp_path / "a.zarr")
    found = slide.look(Box(0, 0, 200, 300))
    bad = np.zeros((200, 300), bool)
    bad[64:128, 128:192] = True
    np.testing.assert_array_equal(failed_px(found), bad)
    np.testing.assert_array_equal(found.pixels[~bad], pixels[~bad])
    assert found.failed == (Box(64, 128, 128, 192),)
    with pytest.raises(RunError, match="damaged there"):
        slide.read(Box(0, 0, 200, 300))


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_a_failing_disk_is_no_hole(
    compression: str | None, tmp_path: Path, make_pixels: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, make_pixels(90, 80, 3), tile=(64, 64), compression=compression)
    slide = open_slide(path)

    def fails(*_: object) -> bytes:
        raise OSError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(ByteSource, "_some", fails)
    with pytest.raises(RunError, match="Permission denied; try again"):
        slide.look(Box(0, 0, 90, 80))


def test_values_that_are_not_finite_are_no_data_and_0() -> None:
    pixels = np.ones((4, 5, 2), np.float32)
    pixels[0, 0, 1], pixels[1, 1, 0] = np.nan, np.inf
    found = open_slide(pixels).look(Box(0, 0, 4, 5))
    assert found.marks is not None
    assert [tuple(map(int, at)) for at in np.argwhere(found.marks)] == [(0, 0), (1, 1)]
    assert found.pixels.sum() == 2 * (4 * 5 - 2)
    np.testing.assert_array_equal(open_slide(pixels).read(Box(0, 0, 4, 5)), pixels)


@pytest.mark.parametrize(("value", "text"), [(-9999, "-9999"), (-9999, "-9999.0 "), (0, "0")])
def test_gdals_no_data_value_is_no_data(
    value: int, text: str, tmp_path: Path, make_pixels: Any
) -> None:
    pixels = make_pixels(90, 80, dtype="int16")
    pixels[20:40, 30:50] = value
    tifffile.imwrite(tmp_path / "a.tif", pixels, extratags=[(42113, 2, 0, text, True)])
    slide = open_slide(tmp_path / "a.tif")
    assert slide.traits.no_data == value
    found = slide.look(Box(0, 0, 90, 80))
    assert found.marks is not None
    empty = pixels == value
    np.testing.assert_array_equal(found.marks == Mark.NO_DATA, empty)
    assert not found.pixels[empty].any()
    np.testing.assert_array_equal(found.pixels[~empty][:, 0], pixels[~empty])


def test_a_no_data_value_that_the_type_cannot_hold_is_none(tmp_path: Path) -> None:
    tifffile.imwrite(
        tmp_path / "a.tif", np.zeros((9, 9), np.uint8), extratags=[(42113, 2, 0, "-9999", True)]
    )
    assert open_slide(tmp_path / "a.tif").look(Box(0, 0, 9, 9)).marks is None


def test_a_colour_has_no_data_only_if_all_its_channels_say_so() -> None:
    pixels = np.array([[[0, 0, 0], [0, 7, 0]]], np.uint8)
    found = with_no_data(Reading(pixels), 0.0)
    assert found.marks is not None
    assert found.marks.tolist() == [[Mark.NO_DATA, Mark.HELD]]
