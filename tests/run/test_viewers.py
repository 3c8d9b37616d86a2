"""One mark on a slide lies on one place of the world for all who read its map.

Each reader's arithmetic is its own: napari places the centres of px, neuroglancer their corners,
GDAL applies the geotransform to corners, QuPath counts level-0 px from the slide's corner.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import rasterio
import shapely
import tifffile
import torch
import zarr
from rasterio.transform import Affine
from torch import nn

import gigafcn
from gigafcn.evaluate.scoring import evaluate_map
from gigafcn.geometry import Box
from gigafcn.output import open_map

if TYPE_CHECKING:
    from pathlib import Path

SHAPE = (1024, 1536)
MARK = Box(320, 672, 384, 704)
"""Level-0 px, on multiples of 32, longer than wide and in no middle."""

MPP = (0.25, 0.5)
FIRST = (100.0, 30.0)
"""µm (y, x): size of a px, and where the slide lies itself."""

FACTORS = (1, 4, 16)

WAYS: dict[str, dict[str, Any]] = {
    "level 0": {},
    "level 1": {"level": 1},
    "level 2": {"level": 2},
    "resampled": {"mpp": 2.0},
    "resampled from level 1": {"level": 1, "mpp": 4.0},
    "means": {"save_mpp": 2.0},
    "means of level 1": {"level": 1, "save_mpp": 4.0},
    "a region of level 2": {"level": 2, "region": (100, 204, 900, 1000)},
    "a region resampled": {"mpp": 2.0, "region": (101, 205, 900, 1000)},
}


class Marks(nn.Module):
    """Class 1 where the first channel is bright, else class 0."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        bright = x[:, :1] - 127.5
        return torch.cat([-bright, bright], 1)


def pyramid() -> list[Any]:
    """Levels (y, x, 3): means of blocks."""
    base = np.zeros((*SHAPE, 3), np.uint8)
    base[MARK.y0 : MARK.y1, MARK.x0 : MARK.x1, 0] = 255
    base[..., 1] = np.arange(SHAPE[1]) % 251
    return [
        base.reshape(SHAPE[0] // n, n, SHAPE[1] // n, n, 3).mean((1, 3)).astype(np.uint8)
        for n in FACTORS
    ]


def write_zarr(path: Path) -> None:
    """An OME-Zarr 0.5 image that lies elsewhere, its levels placed by centres."""
    group, datasets = zarr.open_group(path, mode="w"), []
    for number, (n, picture) in enumerate(zip(FACTORS, pyramid(), strict=True)):
        group.create_array(str(number), data=np.moveaxis(picture, 2, 0), chunks=(3, 128, 128))
        moved = [f + (n - 1) / 2 * m for f, m in zip(FIRST, MPP, strict=True)]
        scale = [1.0, *(n * m for m in MPP)]
        transforms = [
            {"type": "scale", "scale": scale},
            {"type": "translation", "translation": [0.0, *moved]},
        ]
        datasets.append({"path": str(number), "coordinateTransformations": transforms})
    space = {"type": "space", "unit": "micrometer"}
    axes = [{"name": "c", "type": "channel"}, {"name": "y", **space}, {"name": "x", **space}]
    image: Any = {"name": "slide", "axes": axes, "datasets": datasets}
    group.attrs["ome"] = {"version": "0.5", "multiscales": [image]}


NORTH_UP = Affine(MPP[1], 0, 500_000, 0, -MPP[0], 4_600_000)


def write_raster(path: Path) -> None:
    """A GeoTIFF of px of 0.25 x 0.5 m with overviews of means."""
    with rasterio.open(
        path, "w", driver="GTiff", height=SHAPE[0], width=SHAPE[1], count=3, dtype="uint8",
        transform=NORTH_UP, crs="EPSG:32633", tiled=True, blockxsize=128, blockysize=128,
    ) as raster:  # fmt: skip
        raster.write(np.moveaxis(pyramid()[0], 2, 0))
        raster.build_overviews(list(FACTORS[1:]), rasterio.enums.Resampling.average)


def mapped(slide: Path, path: Path, options: dict[str, Any]) -> Any:
    """Map a slide; return the box of the mark in px of the map."""
    given: dict[str, Any] = {"scale": 1.0, "activation": "softmax", "verify": False} | options
    gigafcn.infer(slide, Marks(), path, **given)
    return mark_of(np.asarray(open_map(path).labels[0][...]) == 1)


def mark_of(found: Any) -> Box:
    """The box that is marked, which is all that is."""
    rows, columns = np.nonzero(found)
    box = Box(int(rows.min()), int(columns.min()), int(rows.max()) + 1, int(columns.max()) + 1)
    assert found[box.y0 : box.y1, box.x0 : box.x1].all()
    return box


def ome_of(path: Path) -> Any:
    ome: Any = zarr.open_group(path, mode="r").attrs["ome"]
    return ome["multiscales"][0]["datasets"]


def neuroglancer(path: Path, number: int, box: Box) -> list[float]:
    """Corners (y0, x0, y1, x1) by ``src/datasource/zarr/ome.ts``.

    "In OME's coordinate space, the origin of a voxel is its center, while in Neuroglancer it is the
    lower corner. Translate by the physical size of half a voxel in the current scale."
    """
    scale, moved = (t[t["type"]][-2:] for t in ome_of(path)[number]["coordinateTransformations"])
    corner = [t - s * 0.5 for s, t in zip(scale, moved, strict=True)]
    return [corner[a % 2] + edge * scale[a % 2] for a, edge in enumerate(box)]


def napari(*paths: Path) -> list[list[dict[str, Any]]]:
    """World coordinates of the first and last px of each layer of some images."""
    command = [sys.executable, "-W", "ignore", "-m", "tests.output.napari_layers", *map(str, paths)]
    environment = os.environ | {"QT_QPA_PLATFORM": "offscreen"}
    told = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert told.returncode == 0, told.stderr
    found = [json.loads(line) for line in told.stdout.splitlines() if line.startswith("[{")]
    assert len(found) == len(paths), told.stdout
    return found


def in_napari(layer: dict[str, Any], shape: tuple[int, int], box: Box) -> list[float]:
    """World coordinates of the middle of a box of px, whose centres are whole numbers."""
    middle = [(a + b - 1) / 2 for a, b in box.spans]
    return [
        first + at * (last - first) / (n - 1)
        for first, last, n, at in zip(layer["first"], layer["last"], shape, middle, strict=True)
    ]


def test_napari_and_neuroglancer_lay_each_map_over_its_slide(tmp_path: Path) -> None:
    slide = tmp_path / "slide.zarr"
    write_zarr(slide)
    at = [f + m * (low + high - 1) / 2
          for f, m, (low, high) in zip(FIRST, MPP, MARK.spans, strict=True)]  # fmt: skip
    corners = neuroglancer(slide, 0, MARK)
    for number, n in enumerate(FACTORS):
        coarse = Box(*(edge // n for edge in MARK))
        assert neuroglancer(slide, number, coarse) == pytest.approx(corners, rel=1e-12)
    paths = [tmp_path / f"{number}.zarr" for number in range(len(WAYS))]
    marks = [mapped(slide, p, way) for p, way in zip(paths, WAYS.values(), strict=True)]
    shown = napari(slide, *paths)
    assert in_napari(shown[0][0], SHAPE, MARK) == pytest.approx(at, rel=1e-12)
    for name, path, mark, layers in zip(WAYS, paths, marks, shown[1:], strict=True):
        assert neuroglancer(path, 0, mark) == pytest.approx(corners, rel=1e-12), name
        for layer in layers:
            found = in_napari(layer, open_map(path).spec.shape, mark)
            assert found == pytest.approx(at, rel=1e-12), name


@pytest.mark.parametrize("way", WAYS)
def test_gdal_and_qupath_lay_each_map_over_its_slide(way: str, tmp_path: Path) -> None:
    slide, path = tmp_path / "slide.tif", tmp_path / "m.zarr"
    write_raster(slide)
    options = dict(WAYS[way])
    for name in ("mpp", "save_mpp"):  # of a raster, whose px are metres
        if name in options:
            options[name] = options[name] * 1e6
    mark = mapped(slide, path, options)
    target = gigafcn.export_map(path, "ome-tiff").path
    with rasterio.open(slide) as raster:
        expected = [*(raster.transform @ (MARK.x0, MARK.y0)),
                    *(raster.transform @ (MARK.x1, MARK.y1))]  # fmt: skip
    with rasterio.open(target) as raster:
        corners = [
            *(raster.transform @ (mark.x0, mark.y0)),
            *(raster.transform @ (mark.x1, mark.y1)),
        ]
    assert corners == pytest.approx(expected, abs=1e-6)  # of coordinates of millions of metres
    # QuPath: GeoJSON in level-0 px, x before y, from the slide's corner.
    exported = gigafcn.export_map(path, "geojson", classes=("class 1",)).path
    (feature,) = json.loads(exported.read_text())["features"]
    outline = shapely.from_geojson(json.dumps(feature["geometry"]))
    assert outline.bounds == (MARK.x0, MARK.y0, MARK.x1, MARK.y1)
    # OME-TIFF: corner of the first px and its size, from the slide's corner.
    with tifffile.TiffFile(target) as tif:
        assert tif.ome_metadata is not None
        image = tifffile.xml2dict(tif.ome_metadata)["OME"]["Image"]["Pixels"]
    plane = image["Plane"][0]
    for axis, (low, high) in zip("YX", mark.spans, strict=True):
        place, size = plane[f"Position{axis}"], image[f"PhysicalSize{axis}"]
        number = "YX".index(axis)
        um = [edge * MPP[number] * 1e6 for edge in MARK.spans[number]]
        assert [place + low * size, place + high * size] == pytest.approx(um, rel=1e-9)


@pytest.mark.parametrize("way", ["level 1", "level 2", "a region of level 2", "means of level 1"])
def test_a_truth_of_the_slide_lies_under_a_map_of_any_level(way: str, tmp_path: Path) -> None:
    slide, path = tmp_path / "slide.zarr", tmp_path / "m.zarr"
    write_zarr(slide)
    mapped(slide, path, WAYS[way])
    truth = np.zeros(SHAPE, np.uint8)
    truth[MARK.y0 : MARK.y1, MARK.x0 : MARK.x1] = 1
    found = evaluate_map(path, truth).matrix
    assert (found[0][1], found[1][0]) == (0, 0)
    assert found[1][1] in (MARK.area, MARK.area // 16, MARK.area // 64)
