"""Boxes of a TIFF equal the array that was written, however it is stored."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile

from gigafcn.errors import UsageError
from gigafcn.geometry import Box
from gigafcn.slide import open_slide
from gigafcn.slide.marks import Mark
from gigafcn.slide.tiff import TiffSlide
from gigafcn.slide.tiff_plane import RawPlane

if TYPE_CHECKING:
    from pathlib import Path

LAYOUTS: dict[str, dict[str, Any]] = {
    "one raw strip": {},
    "raw strips": {"rowsperstrip": 16},
    "raw strips, big-endian": {"rowsperstrip": 16, "byteorder": ">"},
    "deflate strips": {"rowsperstrip": 16, "compression": "deflate", "predictor": True},
    "raw tiles": {"tile": (64, 48)},
    "deflate tiles": {"tile": (64, 48), "compression": "deflate"},
    "LZW tiles with predictor": {"tile": (32, 80), "compression": "lzw", "predictor": True},
    "zstd tiles, BigTIFF": {"tile": (64, 64), "compression": "zstd", "bigtiff": True},
    "lossless JPEG 2000 tiles": {
        "tile": (64, 64),
        "compression": "jpeg2000",
        "compressionargs": {"reversible": True, "level": 0},
    },
}


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_rgb_boxes_equal_the_array(
    layout: str, dtype: str, tmp_path: Path, make_pixels: Any, reads_like: Any
) -> None:
    pixels = make_pixels(201, 307, 3, dtype=dtype)
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb", **LAYOUTS[layout])
    reads_like(TiffSlide(tmp_path / "a.tif"), pixels)


@pytest.mark.parametrize("layout", [k for k in LAYOUTS if "JPEG" not in k], ids=str)
@pytest.mark.parametrize("planar", ["separate", "contig"])
def test_five_channel_boxes_equal_the_array(
    planar: str, layout: str, tmp_path: Path, make_pixels: Any, reads_like: Any
) -> None:
    pixels = make_pixels(101, 153, 5, dtype="uint16")
    stored = np.moveaxis(pixels, -1, 0) if planar == "separate" else pixels
    tifffile.imwrite(
        tmp_path / "a.tif", stored, photometric="minisblack", planarconfig=planar, **LAYOUTS[layout]
    )
    reads_like(TiffSlide(tmp_path / "a.tif"), pixels)


@pytest.mark.parametrize("layout", [{}, {"tile": (32, 32), "compression": "zlib"}], ids=str)
@pytest.mark.parametrize("form", ["ome", "imagej", "shaped", "plain", "truncated"])
def test_channels_stored_as_pages_are_read_in_order(
    form: str, layout: dict[str, Any], tmp_path: Path, make_pixels: Any, reads_like: Any
) -> None:
    pixels = make_pixels(5, 90, 70, dtype="uint16")
    how: dict[str, dict[str, Any]] = {
        "ome": {"ome": True, "metadata": {"axes": "CYX"}, **layout},
        "imagej": {"imagej": True, "metadata": {"axes": "CYX"}},
        "shaped": layout,
        "plain": {"metadata": None, **layout},
        "truncated": {"truncate": True},
    }
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="minisblack", **how[form])
    reads_like(TiffSlide(tmp_path / "a.tif"), np.moveaxis(pixels, 0, -1))


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float16", "float32", "float64"])
def test_grey_values_keep_their_type(
    dtype: str, tmp_path: Path, make_pixels: Any, reads_like: Any
) -> None:
    pixels = make_pixels(70, 61, dtype=dtype)
    tifffile.imwrite(tmp_path / "a.tif", pixels, tile=(32, 32), compression="zlib")
    reads_like(TiffSlide(tmp_path / "a.tif"), pixels[..., np.newaxis])


@pytest.mark.parametrize("subsampling", [(1, 1), (2, 2)])
def test_jpeg_tiles_equal_the_decoding_of_tifffile(
    subsampling: tuple[int, int], tmp_path: Path, make_pixels: Any, reads_like: Any
) -> None:
    tifffile.imwrite(
        tmp_path / "a.tif",
        make_pixels(201, 307, 3),
        tile=(64, 64),
        compression="jpeg",
        photometric="rgb",
        subsampling=subsampling,
    )
    reads_like(TiffSlide(tmp_path / "a.tif"), tifffile.imread(tmp_path / "a.tif"))


def write_pyramid(path: Path, levels: list[Any], *, subifds: bool) -> None:
    options: dict[str, Any] = {"tile": (64, 64), "compression": "zlib", "photometric": "rgb"}
    with tifffile.TiffWriter(path, ome=subifds) as tif:
        metadata = {"axes": "YXS"} if subifds else None
        below = len(levels) - 1 if subifds else None
        tif.write(levels[0], subifds=below, metadata=metadata, **options)
        for level in levels[1:]:
            tif.write(level, subfiletype=1, metadata=None, **options)


@pytest.mark.parametrize("subifds", [True, False], ids=["OME SubIFDs", "top-level pages"])
@pytest.mark.parametrize("factors", [(2, 4), (4, 8), (2, 4, 16)])
def test_every_level_of_a_pyramid_is_read(
    factors: tuple[int, ...], subifds: bool, tmp_path: Path, make_pixels: Any, reads_like: Any
) -> None:
    shapes = [(401 // factor, 603 // factor) for factor in (1, *factors)]
    levels = [make_pixels(*shape, 3, seed=i) for i, shape in enumerate(shapes)]
    write_pyramid(tmp_path / "a.tif", levels, subifds=subifds)
    slide = TiffSlide(tmp_path / "a.tif")
    assert [level.downsample for level in slide.levels] == [(f, f) for f in (1, *factors)]
    for number, pixels in enumerate(levels):
        reads_like(slide, pixels, level=number, boxes=5)


def test_a_label_page_is_not_a_level(tmp_path: Path, make_pixels: Any) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as tif:
        tif.write(make_pixels(60, 90, 3), photometric="rgb", metadata=None)
        tif.write(make_pixels(400, 300, 3), tile=(64, 64), photometric="rgb", metadata=None)
    slide = TiffSlide(tmp_path / "a.tif")
    assert [level.shape for level in slide.levels] == [(400, 300)]


@pytest.mark.parametrize(("photometric", "value"), [("rgb", 255), ("minisblack", 0)])
def test_tiles_that_are_absent_are_gaps_white_in_pictures_else_zero(
    photometric: str, value: int, tmp_path: Path, make_pixels: Any
) -> None:
    pixels = make_pixels(64, 192, 3)

    def tiles() -> Any:
        yield pixels[:, :64]
        yield None
        yield pixels[:, 128:]

    tifffile.imwrite(
        tmp_path / "a.tif", tiles(), shape=pixels.shape, dtype="uint8", tile=(64, 64),
        compression="zlib", photometric=photometric, planarconfig="contig",
    )  # fmt: skip
    slide = TiffSlide(tmp_path / "a.tif")
    found = slide.look(Box(0, 32, 64, 160))
    assert (found.pixels[:, 32:96] == value).all()
    np.testing.assert_array_equal(found.pixels[:, 96:], pixels[:, 128:160])
    assert found.marks is not None
    assert (found.marks == Mark.GAP)[:, 32:96].all()
    assert not found.marks[:, 96:].any()
    assert slide.traits.absent_tiles == 1


@pytest.mark.slide
def test_the_real_slide_through_tifffile_equals_tifffile(real_slide: Path, reads_like: Any) -> None:
    reads_like(TiffSlide(real_slide), tifffile.imread(real_slide), boxes=5)


def test_uncompressed_pixels_are_read_without_their_strip(tmp_path: Path) -> None:
    """One strip of 10 GB on a sparse file: reading it whole would not fit."""
    tifffile.imwrite(tmp_path / "a.tif", shape=(100_000, 100_000), dtype="uint8", bigtiff=True)
    slide = TiffSlide(tmp_path / "a.tif")
    assert isinstance(slide._planes[0][0], RawPlane)
    assert not slide.read(Box(99_000, 99_000, 99_100, 99_100)).any()


@pytest.mark.parametrize("box", [Box(-1, 0, 5, 5), Box(0, 0, 41, 5), Box(5, 0, 2, 5)])
def test_a_box_outside_the_level_is_refused(box: Box, tmp_path: Path, make_pixels: Any) -> None:
    tifffile.imwrite(tmp_path / "a.tif", make_pixels(40, 50))
    with pytest.raises(UsageError, match="not inside level 0"):
        open_slide(tmp_path / "a.tif").read(box)
