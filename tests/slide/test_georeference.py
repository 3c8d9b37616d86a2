"""What GeoTIFF says of a raster's place is carried to the map, and rasterio agrees."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import rasterio
import tifffile
from rasterio.transform import Affine

import gigafcn
from gigafcn.slide import open_slide
from gigafcn.slide.georeference import GeoReference, georeference
from tests.run.small_nets import Skip, whole_numbers

if TYPE_CHECKING:
    from pathlib import Path

NORTH_UP = Affine(10.0, 0, 500_000, 0, -10.0, 4_600_000)
ROTATED = NORTH_UP @ Affine.rotation(30)


def write(path: Path, pixels: Any, transform: Affine = NORTH_UP, **options: Any) -> None:
    bands = np.moveaxis(pixels, -1, 0)
    options = {"crs": "EPSG:32633"} | options
    with rasterio.open(
        path, "w", driver="GTiff", height=bands.shape[1], width=bands.shape[2],
        count=len(bands), dtype=bands.dtype, transform=transform, tiled=True, blockxsize=64,
        blockysize=64, **options,
    ) as raster:  # fmt: skip
        raster.write(bands)


def affine(found: GeoReference | None) -> Affine:
    assert found is not None
    return Affine(*found.transform)


@pytest.mark.parametrize("transform", [NORTH_UP, ROTATED], ids=["north up", "rotated"])
@pytest.mark.parametrize("point", [False, True], ids=["corners", "centres"])
def test_transform_and_system_are_those_that_rasterio_reads(
    transform: Affine, point: bool, tmp_path: Path, make_pixels: Any, reads_like: Any
) -> None:
    path, pixels = tmp_path / "a.tif", make_pixels(130, 150, 4, dtype="int16")
    write(path, pixels, transform)
    if point:
        with rasterio.open(path, "r+") as raster:
            raster.update_tags(AREA_OR_POINT="Point")
    slide = open_slide(path)
    with rasterio.open(path) as raster:
        assert affine(slide.traits.geo).almost_equals(raster.transform, precision=1e-6)
    assert slide.traits.geo is not None
    assert slide.traits.geo.epsg == 32633
    reads_like(slide, pixels, boxes=5)


def test_px_of_metres_are_no_absurd_micrometres(tmp_path: Path, make_pixels: Any) -> None:
    write(tmp_path / "m.tif", make_pixels(70, 70, 1))
    assert open_slide(tmp_path / "m.tif").mpp == (10e6, 10e6)
    degrees = Affine(0.001, 0, 15, 0, -0.001, 45)
    write(tmp_path / "d.tif", make_pixels(70, 70, 1), degrees, crs="EPSG:4326")
    assert open_slide(tmp_path / "d.tif").mpp is None


def test_a_plain_tiff_has_no_place(tmp_path: Path, make_pixels: Any) -> None:
    tifffile.imwrite(tmp_path / "a.tif", make_pixels(20, 20))
    assert open_slide(tmp_path / "a.tif").traits.geo is None


def test_a_reference_survives_json_and_tags() -> None:
    keys = (1, 1, 0, 2, 1024, 0, 1, 1, 3072, 0, 1, 32633)
    for transform in (NORTH_UP, ROTATED):
        first = GeoReference(tuple(transform)[:6], keys, (1.5,), "WGS|")
        assert GeoReference.from_json(first.to_json()) == first
        assert georeference({tag[0]: tag[3] for tag in first.tags()}) == first


def test_a_raster_is_resampled_to_metres_like_a_slide_to_micrometres(
    tmp_path: Path, make_pixels: Any
) -> None:
    write(tmp_path / "a.tif", make_pixels(256, 300, 3))
    options: dict[str, Any] = {"scale": 1.0, "activation": "none", "mpp": 20e6}
    net = whole_numbers(Skip())
    result = gigafcn.infer(tmp_path / "a.tif", net, tmp_path / "m.zarr", **options)
    stored = gigafcn.open_map(result.path)
    assert stored.spec.shape == (128, 150)
    assert stored.provenance["geo"]["transform"] == [20.0, 0.0, 5e5, 0.0, -20.0, 4.6e6]


@pytest.mark.parametrize("region", [None, (64, 32, 192, 224)])
def test_the_exported_map_lies_where_the_raster_does(
    region: tuple[int, int, int, int] | None, tmp_path: Path, make_pixels: Any
) -> None:
    pixels = make_pixels(256, 300, 3).astype(np.float32)
    pixels[:20, :20] = np.nan
    write(tmp_path / "a.tif", pixels, nodata=float("nan"))
    net = whole_numbers(Skip())
    options: dict[str, Any] = {"scale": 1.0, "activation": "none"}
    result = gigafcn.infer(tmp_path / "a.tif", net, tmp_path / "m.zarr", region=region, **options)
    stored = gigafcn.open_map(result.path)
    assert stored.provenance["geo"]["epsg"] == 32633
    assert stored.provenance["reading"]["no_data_px"] == (0 if region else 400)
    target = gigafcn.export_map(result.path, "ome-tiff").path
    with rasterio.open(target) as raster:
        assert raster.crs.to_epsg() == 32633
        y, x = (0, 0) if region is None else region[:2]
        assert raster.transform.almost_equals(NORTH_UP @ Affine.translation(x, y))
        assert np.isnan(raster.nodata)


@pytest.mark.parametrize("content", ["probabilities", "labels", "both"])
def test_each_class_of_the_exported_map_lies_there(
    content: str, tmp_path: Path, make_pixels: Any
) -> None:
    write(tmp_path / "a.tif", make_pixels(700, 300, 3))
    options: dict[str, Any] = {"scale": 1.0, "activation": "softmax", "level": 0}
    net = whole_numbers(Skip())
    region = (64, 32, 692, 224)
    gigafcn.infer(tmp_path / "a.tif", net, tmp_path / "m.zarr", region=region, **options)
    target = gigafcn.export_map(tmp_path / "m.zarr", "ome-tiff", content=content).path
    with rasterio.open(target) as raster:
        # One subdataset per directory: the pages and their smaller levels.
        names = raster.subdatasets or [raster.name]
    full = 0
    for name in names:
        with rasterio.open(name) as raster:
            if raster.shape == (628, 192):
                full += 1
                assert raster.crs.to_epsg() == 32633
                assert raster.transform.almost_equals(NORTH_UP @ Affine.translation(32, 64))
    assert full == {"probabilities": 3, "labels": 1, "both": 4}[content]
    with tifffile.TiffFile(target) as tif:
        tags = [page.aspage().tags for page in tif.pages]
    assert [33550 in own and 34735 in own for own in tags] == [True] * full
