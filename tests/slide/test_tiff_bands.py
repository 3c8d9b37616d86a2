"""Bands of a TIFF are those that GDAL reads, whatever a decoder would guess of their colours."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import tifffile
from rasterio.errors import NotGeoreferencedWarning

from gigafcn.errors import SlideError
from gigafcn.geometry import Box
from gigafcn.slide import open_slide

BIOFORMATS = Path(__file__).parent.parent / "data" / "bioformats"
SHAPE = (200, 300)
ROUNDING = 4
"""Grey levels by which decoders of subsampled YCbCr differ: each rounds while it enlarges the
colours and while it turns them to RGB."""


@pytest.fixture(autouse=True)
def _no_place() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        yield


def slopes(count: int, top: int = 255) -> Any:
    """Bands (c, y, x), each rising or falling in another direction."""
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    down, right = y * top // SHAPE[0], x * top // SHAPE[1]
    return np.stack([right, down, top - right, (down + right) // 2, top - down][:count])


def by_gdal(path: Path, count: int, *, top: int = 255, **how: Any) -> Any:
    """A file as GDAL writes it, and its bands (y, x, c) as GDAL reads them."""
    dtype = "uint8" if top == 255 else "uint16"
    tiled = {"tiled": True, "blockxsize": 128, "blockysize": 128}
    height, width = SHAPE
    profile = {"driver": "GTiff", "height": height, "width": width, "count": count, "dtype": dtype}
    with rasterio.open(path, "w", **profile, **(tiled | how)) as raster:
        raster.write(slopes(count, top).astype(dtype))
    with rasterio.open(path) as raster:
        return np.moveaxis(raster.read(), 0, -1)


def read(path: Path) -> Any:
    slide = open_slide(path)
    return slide.read(Box.whole(slide.levels[0].shape))


def farthest(found: Any, expected: Any) -> int:
    assert found.shape == expected.shape
    return int(np.abs(found.astype(int) - expected).max())


@pytest.mark.parametrize("tables", [0, 1, 3])
@pytest.mark.parametrize("photometric", ["MINISBLACK", "RGB"])
@pytest.mark.parametrize("interleave", ["pixel", "band"])
def test_three_bands_of_jpeg_are_not_turned(
    interleave: str, photometric: str, tables: int, tmp_path: Path
) -> None:
    path = tmp_path / "a.tif"
    how: dict[str, Any] = {"compress": "jpeg", "interleave": interleave, "photometric": photometric}
    expected = by_gdal(path, 3, jpegtablesmode=tables, **how)
    assert farthest(expected, np.moveaxis(slopes(3), 0, -1)) <= 6  # what compression costs
    assert farthest(read(path), expected) == 0


@pytest.mark.parametrize("rows", [None, 16, 200])
@pytest.mark.parametrize("count", [1, 2, 4])
@pytest.mark.parametrize("interleave", ["pixel", "band"])
def test_other_numbers_of_jpeg_bands_are_those_of_gdal(
    interleave: str, count: int, rows: int | None, tmp_path: Path
) -> None:
    path = tmp_path / "a.tif"
    strips = {} if rows is None else {"tiled": False, "blockxsize": None, "blockysize": rows}
    how: dict[str, Any] = {"compress": "jpeg", "interleave": interleave} | strips
    how = {key: value for key, value in how.items() if value is not None}
    expected = by_gdal(path, count, photometric="MINISBLACK", **how)
    assert farthest(read(path), expected) == 0


def test_rgb_with_near_infrared_in_jpeg_is_that_of_gdal(tmp_path: Path) -> None:
    how: dict[str, Any] = {"compress": "jpeg", "interleave": "pixel", "photometric": "RGB"}
    expected = by_gdal(tmp_path / "a.tif", 4, **how)
    assert farthest(read(tmp_path / "a.tif"), expected) == 0


@pytest.mark.parametrize("tables", [0, 1, 3])
def test_jpeg_in_ycbcr_becomes_rgb(tables: int, tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    expected = by_gdal(path, 3, compress="jpeg", photometric="YCBCR", jpegtablesmode=tables)
    assert farthest(read(path), expected) <= ROUNDING


@pytest.mark.parametrize("count", [1, 3])
def test_twelve_bits_of_jpeg_are_those_of_gdal(count: int, tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    how = {"compress": "jpeg", "NBITS": 12, "photometric": "MINISBLACK"}
    expected = by_gdal(path, count, top=4095, **how)
    assert farthest(read(path), expected) == 0


@pytest.mark.parametrize("args", [{}, {"outcolorspace": "rgb"}], ids=["JFIF", "Adobe"])
@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("photometric", ["minisblack", "rgb"])
def test_jpeg_of_tifffile_is_what_was_written(
    photometric: str, planar: str, args: dict[str, str], tmp_path: Path
) -> None:
    """With JFIF its streams are YCbCr even in pages that say min-is-black."""
    bands = slopes(3)[:, :192, :256].astype(np.uint8)
    stored = bands if planar == "separate" else np.moveaxis(bands, 0, -1)
    tifffile.imwrite(
        tmp_path / "a.tif", stored, photometric=photometric, planarconfig=planar, tile=(64, 64),
        compression="jpeg", compressionargs={"level": 95, **args}, metadata=None,
    )  # fmt: skip
    # Compression and, with JFIF, subsampled colours change a slope by a few levels.
    assert farthest(read(tmp_path / "a.tif"), np.moveaxis(bands, 0, -1)) <= 6


def test_jfif_in_a_page_that_says_rgb_is_ycbcr(tmp_path: Path) -> None:
    """As Bio-Formats writes it."""
    bands = np.moveaxis(slopes(3)[:, :192, :256], 0, -1).astype(np.uint8)
    tifffile.imwrite(
        tmp_path / "a.tif", bands, photometric="rgb", tile=(64, 64), compression="jpeg",
        compressionargs={"level": 95}, subsampling=(1, 1), metadata=None,
    )  # fmt: skip
    with tifffile.TiffFile(tmp_path / "a.tif", mode="r+") as tif:
        tif.pages[0].tags["PhotometricInterpretation"].overwrite(2)  # type: ignore[union-attr]
    assert farthest(read(tmp_path / "a.tif"), bands) <= 6  # what compression costs


@pytest.mark.parametrize("compression", ["lerc", "lerc_deflate", "lerc_zstd", "webp", "lzma"])
@pytest.mark.parametrize("photometric", ["MINISBLACK", "RGB"])
@pytest.mark.parametrize("count", [3, 4])
def test_bands_of_other_codecs_are_those_of_gdal(
    count: int, photometric: str, compression: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.tif"
    how: dict[str, Any] = {"WEBP_LOSSLESS": True} if compression == "webp" else {}
    how |= {"compress": compression, "photometric": photometric, "interleave": "pixel"}
    expected = by_gdal(path, count, **how)
    assert farthest(read(path), expected) == 0


@pytest.mark.parametrize("order", ["LITTLE", "BIG"])
@pytest.mark.parametrize("compression", ["lerc", "lerc_zstd"])
@pytest.mark.parametrize("count", [1, 3])
def test_values_that_lerc_leaves_out_are_nan(
    count: int, compression: str, order: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.tif"
    bands = slopes(count).astype(np.float32)
    bands[:, :50, :60] = np.nan
    bands[0, 100, 100] = np.nan
    profile = {"driver": "GTiff", "height": 200, "width": 300, "count": count, "dtype": "float32"}
    how: dict[str, Any] = {"compress": compression, "interleave": "pixel", "ENDIANNESS": order}
    with rasterio.open(path, "w", **how, **profile) as raster:
        raster.write(bands)
    with rasterio.open(path) as raster:
        expected = np.moveaxis(raster.read(), 0, -1)
    np.testing.assert_array_equal(read(path), expected)
    assert np.isnan(read(path)[10, 10]).all()


@pytest.mark.parametrize(
    ("name", "tolerance"),
    [("jpeg_apart", 3), ("jpeg_interleaved", 5), ("jpeg2000_33003", 0)],
)
def test_rgb_of_bioformats_is_what_it_was_given(name: str, tolerance: int) -> None:
    """Its JPEG says YCbCr also of channels stored apart, its JPEG 2000 has Aperio's number."""
    found = read(BIOFORMATS / f"{name}.ome.tiff")
    y, x = np.mgrid[: found.shape[0], : found.shape[1]]
    # What JPEG costs such slopes.
    assert farthest(found, np.stack([x, y, 255 - x], axis=-1)) <= tolerance


def test_signed_bytes_in_jpeg_are_those_of_gdal(tmp_path: Path) -> None:
    profile = {"driver": "GTiff", "height": 200, "width": 300, "count": 1, "dtype": "int8"}
    with rasterio.open(tmp_path / "a.tif", "w", compress="jpeg", **profile) as raster:
        raster.write((slopes(1) - 128).astype(np.int8))
    with rasterio.open(tmp_path / "a.tif") as raster:
        expected = np.moveaxis(raster.read(), 0, -1)
    assert farthest(read(tmp_path / "a.tif"), expected) == 0


def test_inks_are_refused(tmp_path: Path) -> None:
    by_gdal(tmp_path / "a.tif", 4, photometric="CMYK")
    with pytest.raises(SlideError, match="holds CMYK colours; convert it to RGB"):
        open_slide(tmp_path / "a.tif")


@pytest.mark.parametrize("compression", ["zlib", "jpeg2000"])
def test_ycbcr_that_is_not_decoded_is_refused(compression: str, tmp_path: Path) -> None:
    tifffile.imwrite(
        tmp_path / "a.tif", np.moveaxis(slopes(3), 0, -1).astype(np.uint8), photometric="rgb",
        tile=(64, 64), compression=compression, metadata=None,
    )  # fmt: skip
    with tifffile.TiffFile(tmp_path / "a.tif", mode="r+") as tif:
        tif.pages[0].tags["PhotometricInterpretation"].overwrite(6)  # type: ignore[union-attr]
    with pytest.raises(SlideError, match="holds YCbCr colours in a way that is not read"):
        open_slide(tmp_path / "a.tif")
