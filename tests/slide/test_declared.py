"""Px that an image declares to be empty, by mask or alpha, hold no data: those that GDAL says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import rasterio
import tifffile
from PIL import Image
from rasterio.enums import ColorInterp, Resampling

from gigafcn.errors import SlideError
from gigafcn.geometry import Box
from gigafcn.slide import open_slide, read_thumbnail
from gigafcn.slide.marks import Mark

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [
    pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning"),
    # GDAL's masks of single bands follow the value; the mask of the dataset follows alpha.
    pytest.mark.filterwarnings("ignore::rasterio.errors.NodataShadowWarning"),
]

SHAPE = (301, 400)


def held_px(shape: tuple[int, int] = SHAPE) -> Any:
    """255 where there is data: an ellipse, cut by the right edge."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    ellipse = ((y / shape[0] - 0.5) / 0.4) ** 2 + ((x / shape[1] - 0.7) / 0.5) ** 2 < 1
    return ellipse.astype(np.uint8) * 255


def bands(count: int, dtype: str = "uint8") -> Any:
    return np.random.default_rng(0).integers(1, 255, (count, *SHAPE)).astype(dtype)


def by_gdal(
    path: Path, pixels: Any, mask: Any = None, *, internal: bool = True, **how: Any
) -> None:
    """A raster as GDAL writes it, with a mask within or beside it."""
    profile = {"driver": "GTiff", "height": SHAPE[0], "width": SHAPE[1], "count": len(pixels)}
    profile |= {"dtype": pixels.dtype.name} | how
    interpretations = profile.pop("interpretations", None)
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=internal),
        rasterio.open(path, "w", **profile) as raster,
    ):
        raster.write(pixels)
        if interpretations is not None:
            raster.colorinterp = interpretations
        if mask is not None:
            raster.write_mask(mask)


def overviews(path: Path, *, internal: bool = True) -> None:
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=internal), rasterio.open(path, "r+") as raster:
        raster.build_overviews([2, 4], Resampling.nearest)


def empty_for_us(path: Path, level: int = 0) -> Any:
    """Px without data, read in one box, and the same in pieces."""
    slide = open_slide(path)
    whole = Box.whole(slide.levels[level].shape)
    marks = slide.look(whole, level).marks
    found = np.zeros(whole.shape, bool) if marks is None else marks == Mark.NO_DATA
    for box in (Box(7, 11, 70, 90), Box(40, 0, 75, 100), Box(0, 64, 1, 65)):
        marks = slide.look(box, level, (0,)).marks
        part = np.zeros(box.shape, bool) if marks is None else marks == Mark.NO_DATA
        np.testing.assert_array_equal(part, found[box.y0 : box.y1, box.x0 : box.x1])
    return found


def empty_for_gdal(path: Path, overview: int | None = None) -> Any:
    how = {} if overview is None else {"overview_level": overview}
    with rasterio.open(path, **how) as raster:
        return raster.dataset_mask() == 0


LAYOUTS: dict[str, dict[str, Any]] = {
    "strips": {},
    "deflate tiles": {"tiled": True, "blockxsize": 64, "blockysize": 64, "compress": "deflate"},
    "JPEG tiles": {"tiled": True, "blockxsize": 64, "blockysize": 64, "compress": "jpeg"},
    "bands apart": {"interleave": "band", "compress": "lzw"},
}


@pytest.mark.parametrize("internal", [True, False], ids=["internal", "beside"])
@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("count", [1, 3])
def test_masks_of_every_level_are_those_of_gdal(
    count: int, layout: str, internal: bool, tmp_path: Path
) -> None:
    path = tmp_path / "a.tif"
    by_gdal(path, bands(count), held_px(), internal=internal, **LAYOUTS[layout])
    overviews(path, internal=internal)
    assert (tmp_path / "a.tif.msk").exists() != internal
    slide = open_slide(path)
    assert [level.shape for level in slide.levels] == [SHAPE, (151, 200), (76, 100)]
    assert slide.traits.mask == ("internal" if internal else "beside")
    for level, overview in enumerate((None, 0, 1)):
        np.testing.assert_array_equal(empty_for_us(path, level), empty_for_gdal(path, overview))
    assert 0.2 < empty_for_us(path).mean() < 0.8


def test_a_level_without_a_mask_of_its_own_takes_that_of_a_finer_one(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    by_gdal(path, bands(3))
    overviews(path)
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "r+") as raster:
        raster.write_mask(held_px())
    found = empty_for_us(path, 1)
    # The px of level 0 under the middle of each px of level 1.
    np.testing.assert_array_equal(found, held_px()[0:301:2][:151, 1::2] == 0)


@pytest.mark.parametrize(
    ("count", "how"),
    [
        (4, {"photometric": "RGB", "alpha": "YES"}),
        (4, {"photometric": "RGB", "alpha": "PREMULTIPLIED"}),
        (4, {"photometric": "RGB", "alpha": "YES", "interleave": "band", "compress": "lzw"}),
        (4, {"photometric": "RGB", "alpha": "YES", "compress": "webp", "WEBP_LOSSLESS": True}),
        (4, {"photometric": "RGB", "alpha": "YES", "compress": "lerc", "interleave": "pixel"}),
        (2, {"photometric": "MINISBLACK", "alpha": "YES"}),
        (4, {"interpretations": (ColorInterp.red, ColorInterp.green, ColorInterp.blue,
                                 ColorInterp.alpha), "photometric": "MINISBLACK"}),
    ],
)  # fmt: skip
def test_declared_alpha_is_no_colour_and_says_what_holds_data(
    count: int, how: dict[str, Any], tmp_path: Path
) -> None:
    path, pixels = tmp_path / "a.tif", bands(count)
    alpha = count - 1
    pixels[alpha] = held_px()
    by_gdal(path, pixels, **how)
    with rasterio.open(path) as raster:
        assert raster.colorinterp[alpha] == ColorInterp.alpha
    np.testing.assert_array_equal(empty_for_us(path), held_px() == 0)
    np.testing.assert_array_equal(empty_for_us(path), empty_for_gdal(path))
    slide = open_slide(path)
    assert (slide.traits.alpha, slide.traits.mask) == (alpha, "alpha")
    assert slide.channel_names[alpha] == "alpha"
    found = slide.look(Box(0, 0, *SHAPE))
    held = held_px() > 0
    np.testing.assert_array_equal(found.pixels[held], np.moveaxis(pixels, 0, -1)[held])
    blank = 255 if how["photometric"] == "RGB" else 0
    assert (found.pixels[~held][:, :alpha] == blank).all()
    assert (found.pixels[~held][:, alpha] == 0).all()


def test_a_fourth_band_that_is_unspecified_is_data(tmp_path: Path) -> None:
    pixels = bands(4)
    pixels[3] = held_px()
    by_gdal(tmp_path / "a.tif", pixels, photometric="RGB", alpha="NO")
    slide = open_slide(tmp_path / "a.tif")
    found = slide.look(Box(0, 0, *SHAPE))
    assert found.marks is None
    np.testing.assert_array_equal(found.pixels, np.moveaxis(pixels, 0, -1))
    assert slide.traits.alpha is None
    assert "alpha" not in slide.channel_names


def test_premultiplied_colours_are_divided_by_alpha(tmp_path: Path) -> None:
    colours = np.random.default_rng(0).integers(0, 256, (40, 50, 3))
    alpha = np.random.default_rng(1).integers(1, 256, (40, 50))
    stored = np.rint(colours * alpha[..., None] / 255)
    for sample, name in (("assocalpha", "a"), ("unassalpha", "b")):
        first = stored if sample == "assocalpha" else colours
        pixels = np.concatenate([first, alpha[..., None]], axis=-1).astype(np.uint8)
        tifffile.imwrite(tmp_path / f"{name}.tif", pixels, photometric="rgb", extrasamples=[sample])
    found = open_slide(tmp_path / "a.tif").look(Box(0, 0, 40, 50), 0, (0, 1, 2)).pixels
    # Half a level of rounding in what is stored, divided by alpha, and half of the result.
    tolerance = 0.5 * 255 / alpha[..., None] + 0.5
    assert (np.abs(found.astype(int) - colours) <= tolerance).all()
    plain = open_slide(tmp_path / "b.tif").look(Box(0, 0, 40, 50), 0, (0, 1, 2)).pixels
    np.testing.assert_array_equal(plain, colours)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_alpha_of_an_ome_tiff_with_a_pyramid_counts_at_every_level(
    dtype: str, tmp_path: Path
) -> None:
    pixels = np.moveaxis(bands(4, dtype), 0, -1)
    pixels[..., 3] = held_px().astype(dtype) * (257 if dtype == "uint16" else 1)
    options: dict[str, Any] = {"tile": (64, 64), "photometric": "rgb", "compression": "zlib"}
    options["extrasamples"] = ["unassalpha"]
    with tifffile.TiffWriter(tmp_path / "a.ome.tif", ome=True) as tif:
        tif.write(pixels, subifds=1, metadata={"axes": "YXS"}, **options)
        tif.write(pixels[::2, ::2], subfiletype=1, **options)
    for level in (0, 1):
        expected = held_px()[:: level + 1, :: level + 1] == 0
        np.testing.assert_array_equal(empty_for_us(tmp_path / "a.ome.tif", level), expected)


def test_a_mask_counts_before_alpha_and_both_before_a_value(tmp_path: Path) -> None:
    pixels = bands(4)
    pixels[3] = held_px()
    pixels[:, :20] = 0
    pixels[3, :20, :20] = 255  # black, but there
    by_gdal(tmp_path / "alpha.tif", pixels, photometric="RGB", alpha="YES", nodata=0)
    by_gdal(tmp_path / "mask.tif", pixels[:3], held_px(), photometric="RGB", nodata=0)
    np.testing.assert_array_equal(empty_for_us(tmp_path / "alpha.tif"), pixels[3] == 0)
    np.testing.assert_array_equal(empty_for_us(tmp_path / "mask.tif"), held_px() == 0)
    for name in ("alpha", "mask"):
        path = tmp_path / f"{name}.tif"
        np.testing.assert_array_equal(empty_for_us(path), empty_for_gdal(path))


def test_what_is_declared_to_hold_nothing_is_refused(tmp_path: Path) -> None:
    pixels = bands(4)
    pixels[3] = 0
    by_gdal(tmp_path / "alpha.tif", pixels, photometric="RGB", alpha="YES")
    overviews(tmp_path / "alpha.tif")
    by_gdal(tmp_path / "mask.tif", pixels[:3], pixels[3])
    Image.fromarray(np.moveaxis(pixels, 0, -1)).save(tmp_path / "a.png")
    for name in ("alpha.tif", "a.png"):
        with pytest.raises(SlideError, match="alpha is 0 everywhere, so nothing of it is data"):
            open_slide(tmp_path / name)
    with pytest.raises(SlideError, match="its mask is 0 everywhere"):
        open_slide(tmp_path / "mask.tif")
    pixels[3, 300, 399] = 1
    by_gdal(tmp_path / "some.tif", pixels, photometric="RGB", alpha="YES")
    overviews(tmp_path / "some.tif")
    assert (~empty_for_us(tmp_path / "some.tif")).sum() == 1


def test_a_mask_beside_of_another_size_is_refused(tmp_path: Path) -> None:
    by_gdal(tmp_path / "a.tif", bands(3))
    tifffile.imwrite(tmp_path / "a.tif.msk", np.ones((30, 40), np.uint8))
    with pytest.raises(SlideError, match=r"a.tif.msk masks 30 x 40 px .* has 301 x 400 px"):
        open_slide(tmp_path / "a.tif")


def test_a_mask_beside_is_part_of_the_fingerprint(tmp_path: Path) -> None:
    prints = set()
    for mask in (None, held_px(), 255 - held_px()):
        by_gdal(tmp_path / "a.tif", bands(3), mask, internal=False)
        prints.add(open_slide(tmp_path / "a.tif").fingerprint())
    assert len(prints) == 3


def test_a_mask_that_cannot_be_decoded_is_failed(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    by_gdal(path, bands(3), held_px(), **LAYOUTS["deflate tiles"])
    with tifffile.TiffFile(path) as tif:
        page = next(p for p in (page.aspage() for page in tif.pages) if p.subfiletype == 4)
        offset, count = page.dataoffsets[0], page.databytecounts[0]
        rows, columns = page.tilelength, page.tilewidth
    data = bytearray(path.read_bytes())
    data[offset : offset + count] = bytes(count)
    path.write_bytes(data)
    found = open_slide(path).look(Box(0, 0, *SHAPE))
    assert found.marks is not None
    failed = np.zeros(SHAPE, bool)
    failed[:rows, :columns] = True
    np.testing.assert_array_equal(found.marks == Mark.FAILED, failed)
    assert found.failed


def test_tiles_that_are_absent_hold_no_data_where_alpha_is_declared(tmp_path: Path) -> None:
    profile = {"driver": "GTiff", "height": 128, "width": 128, "count": 4, "dtype": "uint8"}
    with rasterio.open(
        tmp_path / "s.tif", "w", tiled=True, blockxsize=64, blockysize=64, SPARSE_OK=True,
        photometric="RGB", alpha="YES", compress="deflate", **profile,
    ) as raster:  # fmt: skip
        raster.write(np.full((4, 64, 64), 255, np.uint8), window=((0, 64), (0, 64)))
    found = open_slide(tmp_path / "s.tif").look(Box(0, 0, 128, 128))
    assert found.marks is not None
    np.testing.assert_array_equal(found.marks == Mark.NO_DATA, empty_for_gdal(tmp_path / "s.tif"))
    assert (found.marks == Mark.NO_DATA).sum() == 3 * 64 * 64


def picture_modes() -> dict[str, Any]:
    rgb = np.moveaxis(bands(3), 0, -1)
    rgba = Image.fromarray(np.dstack([rgb, held_px()]))
    indexed = Image.fromarray(np.where(held_px() > 0, 3, 0).astype(np.uint8), "P")
    indexed.putpalette([9, 9, 9] * 3 + [200, 30, 40])
    return {
        "rgba.png": (rgba, {}),
        "rgba.webp": (rgba, {"lossless": True}),
        "la.png": (rgba.convert("LA"), {}),
        "palette.png": (indexed, {"transparency": 0}),
        "grey.png": (Image.fromarray(held_px()), {"transparency": 0}),
        "sixteen.png": (Image.fromarray(held_px().astype(np.uint16) * 100), {"transparency": 0}),
        "rgb.png": (Image.fromarray(np.dstack([held_px()] * 3)), {"transparency": (0, 0, 0)}),
    }


@pytest.mark.parametrize("name", picture_modes())
def test_what_is_wholly_transparent_in_a_picture_holds_no_data(name: str, tmp_path: Path) -> None:
    picture, how = picture_modes()[name]
    picture.save(tmp_path / name, **how)
    np.testing.assert_array_equal(empty_for_us(tmp_path / name), held_px() == 0)
    slide = open_slide(tmp_path / name)
    assert slide.traits.mask == "alpha"
    found = slide.look(Box(0, 0, *SHAPE)).pixels
    assert (found[held_px() == 0] == (255 if slide.channels == 3 else 0)).all()


def test_a_mask_beside_a_picture_counts(tmp_path: Path) -> None:
    Image.fromarray(np.moveaxis(bands(3), 0, -1)).save(tmp_path / "a.png")
    with rasterio.open(tmp_path / "a.png", "r+") as raster:
        raster.write_mask(held_px())
    assert (tmp_path / "a.png.msk").exists()
    np.testing.assert_array_equal(empty_for_us(tmp_path / "a.png"), held_px() == 0)
    np.testing.assert_array_equal(empty_for_gdal(tmp_path / "a.png"), held_px() == 0)


def test_alpha_is_not_drawn(tmp_path: Path) -> None:
    pixels = np.full((2, *SHAPE), 100, np.uint8)
    pixels[1] = held_px()
    by_gdal(tmp_path / "a.tif", pixels, photometric="MINISBLACK", alpha="YES")
    shown = read_thumbnail(open_slide(tmp_path / "a.tif"), 400)
    assert (shown == shown[..., :1]).all()  # grey
