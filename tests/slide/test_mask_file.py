"""What of a mask is tissue is what its writer meant, however the mask is stored."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import imagecodecs
import numpy as np
import pytest
import rasterio
import tifffile
import zarr
from PIL import Image

from gigafcn.errors import SlideError
from gigafcn.slide.mask_file import read_mask

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Save = Callable[[Path], Any]

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")

SHAPE = (96, 128)


def drawn() -> Any:
    """A blob and a bar, and below them a thin line: whether each px is tissue."""
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    return ((y - 30) ** 2 + (x - 40) ** 2 < 400) | ((y > 70) & (x > 90)) | (y == 60)


def coloured(colour: tuple[int, ...], ground: tuple[int, ...]) -> Any:
    return np.where(drawn()[..., None], np.array(colour, "u1"), np.array(ground, "u1"))


def paletted(inside: int, outside: int, *colours: tuple[int, int, int]) -> Image.Image:
    image = Image.fromarray(np.where(drawn(), inside, outside).astype(np.uint8), "P")
    image.putpalette([value for colour in colours for value in colour])
    return image


def pil(image: Any, **how: Any) -> Save:
    picture = image if isinstance(image, Image.Image) else Image.fromarray(image)
    return lambda path: picture.save(path, **how)


def tiff(values: Any, **how: Any) -> Save:
    return lambda path: tifffile.imwrite(path, values, metadata=None, **how)


def gdal(values: Any, mask: Any = None, **how: Any) -> Save:
    def save(path: Path) -> None:
        bands = values if values.ndim == 3 else values[np.newaxis]
        profile = {"height": SHAPE[0], "width": SHAPE[1], "count": len(bands)}
        with (
            rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
            rasterio.open(path, "w", driver="GTiff", dtype=bands.dtype.name, **profile, **how) as f,
        ):
            f.write(bands)
            if mask is not None:
                f.write_mask(mask)

    return save


GREY = drawn().astype(np.uint8) * 255
ONES = drawn().astype(np.uint8)
RED, BLACK, WHITE = (255, 0, 0), (0, 0, 0), (255, 255, 255)
CLEAR_RED = coloured((*RED, 255), (0, 0, 0, 0))
CLASSES = np.where(drawn(), np.mgrid[:96, :128][1] % 9 + 1, 0)
WHITE_GROUND = np.array([[255, 255, 255]] + [[0, 128, 0]] * 255, np.uint16).T * 257

LOSSLESS: dict[str, tuple[str, Save]] = {
    "0 and 255": ("a.png", pil(GREY)),
    "0 and 1": ("a.png", pil(ONES)),
    "0 and 100": ("a.png", pil(ONES * 100)),
    "10 and 200, never 0": ("a.png", pil(ONES * 190 + 10)),
    "classes": ("a.png", pil(CLASSES.astype(np.uint8))),
    "bilevel": ("a.png", pil(Image.fromarray(GREY).convert("1"))),
    "bilevel BMP": ("a.bmp", pil(Image.fromarray(GREY).convert("1"))),
    "16 bit, 0 and 65535": ("a.png", pil(GREY.astype(np.uint16) * 257)),
    "16 bit, objects": ("a.png", pil((CLASSES * 500).astype(np.uint16))),
    "red on transparent": ("a.png", pil(CLEAR_RED)),
    "black on transparent": ("a.png", pil(coloured((0, 0, 0, 255), (0, 0, 0, 0)))),
    "black on transparent white": ("a.png", pil(coloured((0, 0, 0, 255), (255, 255, 255, 0)))),
    "opaque, white on black": ("a.png", pil(coloured((*WHITE, 255), (*BLACK, 255)))),
    "half transparent": ("a.png", pil(coloured((*RED, 140), (*RED, 100)))),
    "red on transparent, WebP": ("a.webp", pil(CLEAR_RED, lossless=True)),
    "LA": ("a.png", pil(Image.fromarray(CLEAR_RED).convert("LA"))),
    "LA, black ink": ("a.png", pil(coloured((0, 255), (0, 0)))),
    "red on black": ("a.png", pil(coloured(RED, BLACK))),
    "dark red on black": ("a.png", pil(coloured((60, 0, 0), BLACK))),
    "palette": ("a.png", pil(paletted(3, 0, BLACK, RED, RED, (0, 0, 90)))),
    "palette, white ground": ("a.png", pil(paletted(2, 0, WHITE, (9, 9, 9), RED))),
    "palette, ground transparent": ("a.png", pil(paletted(1, 0, WHITE, BLACK), transparency=0)),
    "palette, index 1 transparent": ("a.png", pil(paletted(0, 1, RED, BLACK), transparency=1)),
    "palette by quantising": ("a.png", pil(Image.fromarray(CLEAR_RED).quantize())),
    "grey with a transparent value": ("a.png", pil(ONES * 9 + 4, transparency=4)),
    "16 bit with a transparent value": (
        "a.png", pil(ONES.astype(np.uint16) * 999 + 4, transparency=4)),
    "RGB with a transparent colour": ("a.png", pil(coloured(RED, WHITE), transparency=WHITE)),
    "TIFF": ("a.tif", tiff(GREY)),
    "TIFF, floats": ("a.tif", tiff(np.where(drawn(), 0.7, 0.3).astype(np.float32))),
    "TIFF, objects in 32 bit": ("a.tif", tiff((CLASSES * 90_000).astype(np.uint32))),
    "TIFF, bilevel": ("a.tif", tiff(drawn(), photometric="minisblack")),
    "TIFF, bilevel min-is-white": ("a.tif", tiff(~drawn(), photometric="miniswhite")),
    "TIFF, bilevel of Pillow": ("a.tif", pil(Image.fromarray(GREY).convert("1"))),
    "TIFF, fax": ("a.tif", pil(Image.fromarray(GREY).convert("1"), compression="group4")),
    "TIFF, min-is-white": ("a.tif", tiff(255 - GREY, photometric="miniswhite")),
    "TIFF, min-is-white, 16 bit": (
        "a.tif", tiff(65535 - GREY.astype(np.uint16) * 257, photometric="miniswhite")),
    "TIFF, min-is-white of GDAL": ("a.tif", gdal(255 - GREY, photometric="MINISWHITE")),
    "TIFF, 1 bit of GDAL": ("a.tif", gdal(ONES, NBITS=1)),
    "TIFF, palette": (
        "a.tif", tiff(ONES * 3, photometric="palette", colormap=WHITE_GROUND)),
    "TIFF, palette of Pillow": ("a.tif", pil(paletted(3, 0, BLACK, RED, RED, RED))),
    "TIFF, RGBA": (
        "a.tif", tiff(CLEAR_RED, photometric="rgb", extrasamples=["unassalpha"])),
    "TIFF, tiles": ("a.tif", tiff(GREY, tile=(32, 32), compression="zlib")),
    "TIFF, no data": ("a.tif", gdal(np.where(drawn(), 3, 255).astype(np.uint8), nodata=255)),
    "TIFF, internal mask": ("a.tif", gdal(np.full((3, *SHAPE), 200, np.uint8), GREY)),
    "TIFF, GDAL's alpha": (
        "a.tif", gdal(np.moveaxis(CLEAR_RED, -1, 0), photometric="RGB", alpha="YES")),
    "Zarr": ("a.zarr", lambda path: zarr.create_array(str(path), data=GREY, chunks=(32, 32))),
    "OME-TIFF": ("a.ome.tif", lambda path: tifffile.imwrite(path, GREY, metadata={"axes": "YX"})),
}  # fmt: skip


@pytest.mark.parametrize("kind", LOSSLESS)
def test_tissue_is_what_was_drawn(kind: str, tmp_path: Path) -> None:
    name, save = LOSSLESS[kind]
    save(tmp_path / name)
    np.testing.assert_array_equal(read_mask(tmp_path / name), drawn())


LOSSY: dict[str, tuple[str, Save]] = {
    f"{what}, quality {quality}": (name, save)
    for quality in (30, 75)
    for what, name, save in (
        ("JPEG", "a.jpg", pil(GREY, quality=quality)),
        ("JPEG of white on black", "a.jpg", pil(coloured(WHITE, BLACK), quality=quality)),
        ("JPEG of grey", "a.jpg", pil(ONES * 100, quality=quality)),
        ("JPEG of red", "a.jpg", pil(coloured(RED, BLACK), quality=quality, subsampling=0)),
        ("WebP", "a.webp", pil(GREY, quality=quality)),
        ("WebP with alpha", "a.webp", pil(coloured((*WHITE, 255), (*BLACK, 255)), quality=quality)),
        ("WebP of red", "a.webp", pil(coloured(RED, BLACK), quality=quality)),
        ("TIFF", "a.tif", tiff(GREY, tile=(32, 32), compression="jpeg",
                               compressionargs={"level": quality})),
        ("min-is-white TIFF", "a.tif", gdal(255 - GREY, photometric="MINISWHITE", compress="JPEG",
                                            jpeg_quality=quality)),
        ("JPEG 2000 in TIFF", "a.tif", tiff(GREY, tile=(96, 128), compression="jpeg2000",
                                            compressionargs={"level": quality})),
    )
}  # fmt: skip


@pytest.mark.parametrize("kind", LOSSY)
def test_ringing_is_no_tissue(kind: str, tmp_path: Path) -> None:
    name, save = LOSSY[kind]
    save(tmp_path / name)
    wrong = read_mask(tmp_path / name) ^ drawn()
    # Only along edges, which compression blurs, and thin lines.
    assert wrong.mean() < 0.02
    assert not wrong[:, 64:88][:55].any()


def test_smoothed_edges_are_cut_at_half(tmp_path: Path) -> None:
    big = Image.fromarray(GREY).resize((200, 150), Image.Resampling.BILINEAR)
    big.save(tmp_path / "a.png")
    values = np.asarray(big)
    assert len(np.unique(values)) > 32
    np.testing.assert_array_equal(read_mask(tmp_path / "a.png"), values >= 127.5)


def test_classes_in_shades_of_grey_below_half_are_said_to_be_no_tissue(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    values = np.zeros(SHAPE, np.uint8)
    values[:30], values[30:60] = 80, 240
    Image.fromarray(values).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "a.png"), values == 240)
    assert "50 % of its px above 0 are below half of the largest value, 240" in caplog.text


def test_a_palette_whose_background_is_doubtful_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    paletted(1, 0, WHITE, BLACK).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "a.png"), drawn())
    assert "index 0 of its palette is no tissue, though its colour is (255, 255, 255)" in (
        caplog.text
    )


def test_tiles_that_a_mask_leaves_out_are_no_tissue(tmp_path: Path) -> None:
    pixels = np.full((64, 192, 3), 255, np.uint8)

    def tiles() -> Any:
        yield pixels[:, :64]
        yield None
        yield pixels[:, 128:]

    tifffile.imwrite(
        tmp_path / "a.tif", tiles(), shape=pixels.shape, dtype="uint8", tile=(64, 64),
        compression="zlib", photometric="rgb", planarconfig="contig",
    )  # fmt: skip
    found = read_mask(tmp_path / "a.tif")
    assert found[:, :64].all()
    assert found[:, 128:].all()
    assert not found[:, 64:128].any()


def test_a_mask_that_is_damaged_is_refused(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", GREY, tile=(32, 32), compression="zlib")
    with tifffile.TiffFile(tmp_path / "a.tif") as tif:
        page = tif.pages.first
        offset, count = page.dataoffsets[5], page.databytecounts[5]
    data = bytearray((tmp_path / "a.tif").read_bytes())
    data[offset : offset + count] = bytes(count)
    (tmp_path / "a.tif").write_bytes(data)
    with pytest.raises(SlideError, match="is damaged and cannot be read as a whole"):
        read_mask(tmp_path / "a.tif")


def test_a_mask_in_sixteen_bit_colours_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(
        imagecodecs.png_encode(coloured(RED, BLACK).astype(np.uint16) * 257)
    )
    np.testing.assert_array_equal(read_mask(tmp_path / "a.png"), drawn())
