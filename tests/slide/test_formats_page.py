"""docs/formats.md lists what was opened, with the versions that opened it, and nothing else."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import rasterio
import tifffile
import zarr
from PIL import Image

from gigafcn.geometry import Box
from gigafcn.slide import open_slide
from tests.scanner_files import (
    write_dicom,
    write_mrxs,
    write_ndpi,
    write_philips,
    write_scn,
    write_svs,
    write_trestle,
)

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/formats.md").read_text()
ROWS, COLUMNS = np.mgrid[:256, :384]
PIXELS = np.stack([ROWS, COLUMNS * 2 / 3, (ROWS + COLUMNS) / 2.5], axis=2).astype(np.uint8)


def write_tiff(path: Path, **options: Any) -> None:
    tifffile.imwrite(path, PIXELS, photometric="rgb", **options)


def write_geotiff(path: Path) -> None:
    bands = np.moveaxis(PIXELS, -1, 0)
    place: dict[str, Any] = {"height": 256, "width": 384, "count": 3, "dtype": "uint8"}
    place |= {"transform": rasterio.Affine(10, 0, 5e5, 0, -10, 4e6), "crs": "EPSG:32633"}
    with rasterio.open(path, "w", driver="GTiff", nodata=0, **place) as raster:
        raster.write(bands)


def write_ome_zarr(path: Path, version: str) -> None:
    number: Any = 2 if version == "0.4" else 3
    group = zarr.open_group(str(path), mode="w", zarr_format=number)
    group.create_array("0", data=np.moveaxis(PIXELS, -1, 0), chunks=(1, 64, 64))
    axes = [{"name": name} for name in "cyx"]
    image: Any = {"axes": axes, "datasets": [{"path": "0"}], "version": version}
    multiscales = {"version": version, "multiscales": [image]}
    group.attrs.update(multiscales if number == 2 else {"ome": multiscales})


def write_zarr(path: Path, number: Any) -> None:
    zarr.create_array(str(path), data=PIXELS, chunks=(64, 64, 3), zarr_format=number)


WRITERS: dict[str, tuple[str, Callable[[Path], None]]] = {
    "openslide aperio": ("a.svs", lambda p: write_svs(p, PIXELS)),
    "openslide mirax": ("a.mrxs", lambda p: write_mrxs(p, PIXELS)),
    "openslide hamamatsu": ("a.ndpi", lambda p: write_ndpi(p, PIXELS, restart=8)),
    "openslide leica": ("a.scn", lambda p: write_scn(p, PIXELS, (0, 0))),
    "openslide dicom": ("a.dcm", lambda p: write_dicom(p, PIXELS)),
    "openslide philips": ("a.tiff", lambda p: write_philips(p, PIXELS)),
    "openslide trestle": ("a.tif", lambda p: write_trestle(p, PIXELS)),
    "tiff uniform": ("a.tif", lambda p: write_tiff(p, metadata=None)),
    "tiff shaped": ("a.tif", lambda p: write_tiff(p)),
    "tiff ome": ("a.ome.tif", lambda p: write_tiff(p)),
    "tiff imagej": ("a.tif", lambda p: write_tiff(p, imagej=True)),
    "bigtiff uniform": ("a.tif", lambda p: write_tiff(p, bigtiff=True, metadata=None)),
    "geotiff uniform": ("a.tif", write_geotiff),
    "zarr 2": ("a.zarr", lambda p: write_zarr(p, 2)),
    "zarr 3": ("a.zarr", lambda p: write_zarr(p, 3)),
    "ome-zarr 0.4": ("a.zarr", lambda p: write_ome_zarr(p, "0.4")),
    "ome-zarr 0.5": ("a.zarr", lambda p: write_ome_zarr(p, "0.5")),
    "picture png": ("a.png", lambda p: Image.fromarray(PIXELS).save(p)),
    "picture jpeg": ("a.jpg", lambda p: Image.fromarray(PIXELS).save(p, quality=98)),
    "picture webp": ("a.webp", lambda p: Image.fromarray(PIXELS).save(p, lossless=True)),
    "picture bmp": ("a.bmp", lambda p: Image.fromarray(PIXELS).save(p)),
}
LOSSY = ("openslide", "picture jpeg")


@pytest.mark.parametrize("name", WRITERS)
def test_a_file_of_each_row_is_opened_and_shows_its_pixels(name: str, tmp_path: Path) -> None:
    filename, write = WRITERS[name]
    write(tmp_path / filename)
    slide = open_slide(tmp_path / filename)
    assert slide.traits.format == name
    found = slide.read(Box(0, 0, 256, 384)).astype(int)
    # A smooth image is a value or two off after JPEG at quality 95 with whole chroma; flipped,
    # shifted by a tile or with other channels it is tens of values off.
    most = 3 if name.startswith(LOSSY) else 0
    assert np.abs(found - PIXELS).mean() <= most


def test_the_table_has_these_rows_and_no_others() -> None:
    rows = re.findall(r"^\| [^|]+ \| `([^`]+)` \|", PAGE, re.MULTILINE)
    assert rows == list(WRITERS)


def test_the_versions_are_those_that_the_tests_run_with() -> None:
    pinned = dict(re.findall(r"^([\w-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(), re.M))
    said = PAGE.split("Versions:")[1].split("\n\n")[0].rstrip(". \n")
    named = dict(one.split() for one in said.split(","))
    assert len(named) == 6
    assert {name: pinned[name] for name in named} == named
