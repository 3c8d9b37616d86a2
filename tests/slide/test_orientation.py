"""A picture that says which way up it is: mapped as stored, with a line; turned when asked to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import rasterio
import tifffile
from PIL import Image, ImageOps
from rasterio.transform import Affine
from torch import nn

import gigafcn
from gigafcn.evaluate.scoring import evaluate_map
from gigafcn.geometry import Box
from gigafcn.output import open_map
from gigafcn.slide import open_slide
from gigafcn.slide.marks import Mark
from gigafcn.slide.thumbnail import read_thumbnail

if TYPE_CHECKING:
    from pathlib import Path

ORIENTATION = 0x0112
PLAIN: dict[str, Any] = {"scale": 1.0, "activation": "none", "dtype": "float32", "verify": False}


class Same(nn.Module):
    """Every px of the image, unchanged."""

    def forward(self, x: Any) -> Any:
        return x * 1.0


def some_pixels(height: int = 97, width: int = 150) -> Any:
    return np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8)


def write(path: Path, pixels: Any, value: int) -> None:
    """A file of the kind that its name says, with an orientation."""
    if path.suffix == ".tif":
        tags = [(ORIENTATION, 3, 1, value, True)]
        with tifffile.TiffWriter(path) as writer:
            options: dict[str, Any] = {"photometric": "rgb", "metadata": None, "tile": (32, 48)}
            writer.write(
                pixels, extratags=tags, resolution=(40000, 20000), resolutionunit="CENTIMETER",
                **options,
            )  # fmt: skip
            writer.write(pixels[::2, ::2], subfiletype=1, extratags=tags, **options)
        return
    exif = Image.Exif()
    exif[ORIENTATION] = value
    Image.fromarray(pixels).save(path, exif=exif, lossless=True)  # of which WebP alone knows


def as_meant(pixels: Any, value: int) -> Any:
    """Stored pixels as Pillow turns them."""
    picture = Image.fromarray(pixels)
    picture.getexif()[ORIENTATION] = value
    return np.asarray(ImageOps.exif_transpose(picture))


@pytest.mark.parametrize("value", range(1, 9))
@pytest.mark.parametrize("kind", [".tif", ".jpg", ".png", ".webp"])
def test_it_is_read_as_stored_or_as_pillow_turns_it(kind: str, value: int, tmp_path: Path) -> None:
    path = tmp_path / f"a{kind}"
    write(path, some_pixels(), value)
    stored = open_slide(path)
    assert stored.traits.orientation == value
    assert stored.levels[0].shape == (97, 150)
    pixels = stored.read(Box.whole((97, 150)))
    if kind != ".tif":  # Pillow turns TIFFs unasked
        with Image.open(path) as picture:
            np.testing.assert_array_equal(pixels, np.asarray(picture))
            meant = np.asarray(ImageOps.exif_transpose(picture))
        np.testing.assert_array_equal(meant, as_meant(pixels, value))
    meant = as_meant(pixels, value)
    slide = open_slide(path, orient=True)
    for number, level in enumerate(slide.levels):
        expected = as_meant(stored.read(Box.whole(stored.levels[number].shape), number), value)
        assert level.shape == expected.shape[:2]
        np.testing.assert_array_equal(slide.read(Box.whole(level.shape), number), expected)
        box = Box(5, 11, 33, 41)
        np.testing.assert_array_equal(slide.read(box, number), expected[5:33, 11:41])
        seen = slide.look(box, number, (2, 0)).pixels
        np.testing.assert_array_equal(seen, expected[5:33, 11:41, [2, 0]])
    thumbnail = read_thumbnail(slide, 1000)
    np.testing.assert_array_equal(thumbnail, meant)
    if kind == ".tif":
        y, x = (0.5, 0.25) if value < 5 else (0.25, 0.5)
        assert slide.mpp == (y, x)


@pytest.mark.parametrize("value", range(1, 9))
def test_a_map_with_orient_is_that_of_the_upright_picture(value: int, tmp_path: Path) -> None:
    write(tmp_path / "a.tif", some_pixels(), value)
    meant = as_meant(some_pixels(), value)
    path, region = tmp_path / "m.zarr", (10, 20, 70, 90)
    gigafcn.infer(tmp_path / "a.tif", Same(), path, orient=True, **PLAIN)
    stored = open_map(path)
    np.testing.assert_array_equal(np.asarray(stored.scores[0][...]), np.moveaxis(meant, 2, 0))
    assert stored.spec.mpp == ((0.5, 0.25) if value < 5 else (0.25, 0.5))
    assert stored.provenance["slide"]["orientation"] == value
    gigafcn.infer(
        tmp_path / "a.tif", Same(), tmp_path / "r.zarr", orient=True, region=region, **PLAIN
    )
    part = np.asarray(open_map(tmp_path / "r.zarr").scores[0][...])
    np.testing.assert_array_equal(part, np.moveaxis(meant[10:70, 20:90], 2, 0))


def test_worker_processes_turn_it_too(tmp_path: Path) -> None:
    write(tmp_path / "a.tif", some_pixels(), 6)
    gigafcn.infer(
        tmp_path / "a.tif", nn.Conv2d(3, 3, 1), tmp_path / "m.zarr", orient=True, workers=1, **PLAIN
    )
    assert open_map(tmp_path / "m.zarr").spec.shape == (150, 97)


def test_what_is_not_turned_is_said_in_a_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path / "a.jpg", some_pixels(), 6)
    write(tmp_path / "b.jpg", some_pixels(), 1)
    gigafcn.infer(tmp_path / "b.jpg", Same(), tmp_path / "b.zarr", **PLAIN)
    assert "orientation" not in caplog.text
    gigafcn.infer(tmp_path / "a.jpg", Same(), tmp_path / "a.zarr", **PLAIN)
    (line,) = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    assert "turned by 90° clockwise (orientation 6)" in line
    assert "--orient" in line
    assert open_map(tmp_path / "a.zarr").spec.shape == (97, 150)


@pytest.mark.parametrize("value", [3, 6])
def test_a_mask_lies_over_the_upright_picture(value: int, tmp_path: Path) -> None:
    pixels = some_pixels(512, 1024)
    write(tmp_path / "a.tif", pixels, value)
    shape = as_meant(pixels, value).shape[:2]
    mask = np.zeros(shape, np.uint8)
    mask[: shape[0] // 4, -shape[1] // 4 :] = 255
    Image.fromarray(mask).save(tmp_path / "upright.png")
    # The same mask as the slide's file is stored, which says so itself.
    back = {3: np.rot90(mask, 2), 6: np.rot90(mask, 1)}[value]
    exif = Image.Exif()
    exif[ORIENTATION] = value
    Image.fromarray(np.ascontiguousarray(back)).save(tmp_path / "stored.png", exif=exif)
    found = []
    for name in ("upright", "stored"):
        path = tmp_path / f"map {name}.zarr"
        gigafcn.infer(
            tmp_path / "a.tif", Same(), path, orient=True, tissue=tmp_path / f"{name}.png", **PLAIN
        )
        found.append(open_map(path).computed(0))
    np.testing.assert_array_equal(found[0], found[1])
    rows, columns = np.nonzero(found[0])
    assert rows.min() == 0
    assert columns.max() == shape[1] - 1
    assert found[0].mean() < 0.5


def test_holes_are_turned_with_the_pixels(tmp_path: Path) -> None:
    pixels = some_pixels(64, 96).astype(np.float32)
    pixels[3, 5] = np.nan
    tags = [(ORIENTATION, 3, 1, 6, True)]
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb", extratags=tags)
    found = open_slide(tmp_path / "a.tif", orient=True).look(Box.whole((96, 64)))
    assert found.marks is not None
    assert np.argwhere(found.marks == Mark.NO_DATA).tolist() == [[5, 60]]


def test_a_damaged_tile_is_named_where_it_lies_upright(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tags = [(ORIENTATION, 3, 1, 8, True)]
    tifffile.imwrite(
        path, some_pixels(100, 150), photometric="rgb", tile=(64, 64), compression="zlib",
        extratags=tags, metadata=None,
    )  # fmt: skip
    with tifffile.TiffFile(path) as tif:
        page = tif.pages.first
        where, count = page.dataoffsets[2], page.databytecounts[2]
    data = bytearray(path.read_bytes())
    data[where : where + count] = b"\0" * count
    path.write_bytes(data)
    found = open_slide(path, orient=True).look(Box.whole((150, 100)))
    # Stored columns 128 to 150 of the first 64 rows: the first 22 rows, and columns 0 to 64.
    assert found.failed == (Box(0, 0, 22, 64),)
    assert found.marks is not None
    assert (found.marks[:22, :64] == Mark.FAILED).all()
    assert np.count_nonzero(found.marks) == 22 * 64


@pytest.mark.parametrize("value", range(1, 9))
def test_a_turned_raster_keeps_its_place_on_the_earth(value: int, tmp_path: Path) -> None:
    path, north_up = tmp_path / "a.tif", Affine(10.0, 0, 500_000, 0, -20.0, 4_600_000)
    pixels = some_pixels()
    with rasterio.open(
        path, "w", driver="GTiff", height=97, width=150, count=3, dtype="uint8",
        transform=north_up, crs="EPSG:32633",
    ) as raster:  # fmt: skip
        raster.write(np.moveaxis(pixels, -1, 0))
    with tifffile.TiffFile(path) as tif:
        tags = [
            (tag.code, tag.dtype, tag.count, tag.value, True)
            for tag in tif.pages.first.tags
            if tag.code in (33550, 33922, 34735, 34737)
        ]
    tifffile.imwrite(
        path, pixels, photometric="rgb", metadata=None,
        extratags=[*tags, (ORIENTATION, 3, 1, value, True)],
    )  # fmt: skip
    gigafcn.infer(path, Same(), tmp_path / "m.zarr", orient=True, region=(8, 16, 80, 88), **PLAIN)
    target = gigafcn.export_map(tmp_path / "m.zarr", "ome-tiff").path
    with rasterio.open(target) as raster:
        found = np.asarray(raster.read(1))
        for row, column in ((0, 0), (71, 3), (40, 71)):
            x, y = raster.xy(row, column)
            where = ~north_up @ (x, y)  # of the stored px that lies there
            at = pixels[int(where[1]), int(where[0]), 0]
            assert found[row, column] == at


def test_evaluation_turns_a_truth_that_says_so(tmp_path: Path) -> None:
    truth = (some_pixels(64, 96)[..., 0] > 127).astype(np.uint8)
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    Image.fromarray(truth).save(tmp_path / "t.png", exif=exif)
    pixels = np.stack([(1 - truth) * 200, truth * 200], -1).astype(np.uint8)
    tags = [(ORIENTATION, 3, 1, 6, True)]
    tifffile.imwrite(
        tmp_path / "a.tif", pixels, photometric="minisblack", planarconfig="contig",
        extratags=tags, metadata=None,
    )  # fmt: skip
    options = PLAIN | {"activation": "softmax"}
    gigafcn.infer(tmp_path / "a.tif", Same(), tmp_path / "m.zarr", orient=True, **options)
    found = evaluate_map(tmp_path / "m.zarr", tmp_path / "t.png").matrix
    assert (found[0][1], found[1][0]) == (0, 0)
    assert sum(map(sum, found)) == truth.size
