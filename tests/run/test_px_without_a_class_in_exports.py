"""Px that nobody computed are of no class in viewers and exports, in old maps, and one by one."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import numpy as np
import pytest
import rasterio
import shapely
import tifffile
import torch
import zarr
from PIL import Image
from torch import nn

import gigafcn
from gigafcn.evaluate import evaluate_map
from gigafcn.export import export_map
from gigafcn.geometry import Box
from gigafcn.output import ChunkStatus, build_pyramid_shard, create_map, finish_map, open_map
from gigafcn.output.reading import NOT_COMPUTED, read_labels, read_probabilities
from gigafcn.output.serving import neuroglancer_url
from gigafcn.output.spec import pyramid_tasks
from tests.cli.test_bad_input_pixels import with_a_bad_tile
from tests.commands import gigafcn as command
from tests.export.maps import write_scores
from tests.output.maps import a_spec, some_values, write_level_0

if TYPE_CHECKING:
    from numpy.typing import NDArray

SHAPE = (1100, 1300)
LEFT_OUT, FAILED = 255, 254
REGION = (10, 0, 1031, 1201)
"""y0, x0, y1, x1 in px of the slide: no multiple of anything."""

OLD = Path(__file__).parents[1] / "data" / "map-of-0.1.0.zip"


def by_brightness() -> nn.Module:
    """Says the first of three classes of dark px, the last of bright ones."""
    net = nn.Conv2d(3, 3, 1)
    with torch.no_grad():
        net.weight.copy_(torch.arange(3)[:, None, None, None].expand_as(net.weight) * 4.0)
        net.bias.copy_(torch.tensor([0.0, -5.5, -12.5]))  # type: ignore[union-attr]  # it has one
    return net


@pytest.fixture(scope="module")
def mapped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A region, averaged, with px that were computed, failed, and were left out."""
    folder = tmp_path_factory.mktemp("scan")
    pixels = np.random.default_rng(0).integers(0, 256, (*SHAPE, 3), np.uint8)
    tifffile.imwrite(
        folder / "slide.tif", pixels, tile=(128, 128), photometric="rgb", compression="zlib"
    )
    with_a_bad_tile(folder / "slide.tif", tile=2 * 11 + 4)
    mask = np.zeros(SHAPE, np.uint8)
    mask[:500, 100:900] = 1
    Image.fromarray(mask).save(folder / "mask.png")
    gigafcn.infer(
        folder / "slide.tif", by_brightness(), folder / "m.zarr", tissue=folder / "mask.png",
        slide_mpp=0.5, region=REGION, save_mpp=1.0,
    )  # fmt: skip
    return folder / "m.zarr"


def stored(path: Path, name: str) -> NDArray[Any]:
    """What zarr-python alone reads."""
    return np.asarray(zarr.open_array(str(path / name), mode="r")[...])


def test_three_counts_of_a_region_in_means_are_one(mapped: Path, tmp_path: Path) -> None:
    labels = stored(mapped, "labels/classes/0")
    assert labels.shape == (511, 601)
    counts = np.bincount(labels.ravel(), minlength=256)
    assert counts[LEFT_OUT] > 0
    # The bad tile, x 512 to 640 and y 256 to 384 of the slide, lies in one chunk of the map.
    assert counts[FAILED] == 256 * 256
    assert counts.sum() == counts[:3].sum() + counts[FAILED] + counts[LEFT_OUT]
    export_map(mapped, "csv", tmp_path / "m.csv")
    with (tmp_path / "m.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["pixels"]) for row in rows] == counts[:3].tolist()
    export_map(mapped, "geojson", tmp_path / "m.geojson")
    areas = {row["class"]: 0.0 for row in rows}
    for feature in json.loads((tmp_path / "m.geojson").read_text())["features"]:
        outline = shapely.from_geojson(json.dumps(feature["geometry"]))
        areas[feature["properties"]["classification"]["name"]] += outline.area
    assert list(areas.values()) == [float(row["area_px"]) for row in rows]
    found = evaluate_map(mapped, np.zeros(labels.shape, np.uint8))
    assert np.sum(found.matrix, axis=0).tolist() == counts[:3].tolist()
    assert found.not_computed == counts[FAILED] + counts[LEFT_OUT]


def test_labels_as_truth_score_what_has_a_class_alone(mapped: Path, tmp_path: Path) -> None:
    labels = stored(mapped, "labels/classes/0")
    scores = np.full((1, *labels.shape), 200, np.uint8)
    write_scores(tmp_path / "one.zarr", scores, classes=("tumour",), labels=False)
    found = evaluate_map(tmp_path / "one.zarr", mapped)
    assert found.matrix == ((0, int((labels == 0).sum())), (0, int(np.isin(labels, (1, 2)).sum())))
    assert found.ignored == (labels >= FAILED).sum()


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_a_tiff_of_labels_has_the_codes_and_names_them(mapped: Path, tmp_path: Path) -> None:
    export_map(mapped, "ome-tiff", tmp_path / "both.ome.tif", content="both")
    labels = stored(mapped, "labels/classes/0")
    with tifffile.TiffFile(tmp_path / "both.ome.tif") as tif:
        np.testing.assert_array_equal(tif.series[1].asarray(), labels)
        assert "254 failed, 255 left out" in str(tif.ome_metadata)
        assert "0 also where nothing was computed" in str(tif.ome_metadata)
        page = len(tif.series[0].levels[0].pages) + 1
    with rasterio.open(f"GTIFF_DIR:{page}:{tmp_path / 'both.ome.tif'}") as band:
        np.testing.assert_array_equal(band.read_masks(1) == 0, labels == LEFT_OUT)


def test_neuroglancer_shows_the_classes_and_nothing_else(mapped: Path) -> None:
    found = open_map(mapped)
    link = unquote(neuroglancer_url(found, "http://127.0.0.1:1"))
    (layer,) = [one for one in json.loads(link.split("#!")[1])["layers"] if "segments" in one]
    assert layer["segments"] == ["0", "1", "2"]
    assert layer["hideSegmentZero"] is False
    assert layer["notSelectedAlpha"] == 0
    colours = {str(i): f"#{colour}" for i, colour in enumerate(found.spec.colours)}
    assert layer["segmentColors"] == colours


def test_napari_shows_nothing_where_there_is_no_class(mapped: Path) -> None:
    asked = (
        "import sys, numpy\n"
        "from napari.layers import Layer\n"
        "from napari_ome_zarr import napari_get_reader\n"
        "read = napari_get_reader(sys.argv[1])(sys.argv[1])\n"
        "labels = Layer.create(*next(one for one in read if one[2] == 'labels'))\n"
        "numbers = numpy.array([0, 1, 2, 254, 255], numpy.uint8)\n"
        "print(labels.colormap.map(numbers)[:, 3].tolist())\n"
    )
    told = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", asked, str(mapped)],
        capture_output=True, text=True, check=False,
        env=os.environ | {"QT_QPA_PLATFORM": "offscreen"},
    )  # fmt: skip
    assert told.returncode == 0, told.stderr
    assert json.loads(told.stdout.splitlines()[-1]) == [1.0, 1.0, 1.0, 0.0, 0.0]


@pytest.mark.parametrize(
    ("dtype", "labelled"), [("uint8", True), ("uint8", False), ("float32", False)]
)
def test_single_px_of_a_computed_chunk_may_be_left_out(
    dtype: str, labelled: bool, tmp_path: Path
) -> None:
    spec = a_spec((600, 340), dtype=dtype, labels=labelled, leaves_out="px")
    scores, labels = some_values(spec)
    hole = np.zeros(spec.shape, bool)
    hole[100:305, 37:222] = True
    scores[:, hole] = 0 if dtype == "uint8" else np.nan
    if dtype == "uint8":
        codes = np.ones(spec.shape, np.uint8) if labels is None else labels
        labels = np.where(hole, LEFT_OUT, codes).astype(np.uint8)
    path = tmp_path / "m.zarr"
    create_map(path, spec)
    cells = write_level_0(path, spec, (scores, labels))
    for level, index in pyramid_tasks(spec):
        build_pyramid_shard(path, spec, level, index)
    softmax = {"plan": {"activation": "softmax"}}
    finish_map(path, spec, softmax, status=cells)
    found = open_map(path)
    assert (found.status == ChunkStatus.COMPUTED).all()
    box = Box.whole(spec.shape)
    np.testing.assert_array_equal(read_labels(found, box) == NOT_COMPUTED, hole)
    np.testing.assert_array_equal(np.isnan(read_probabilities(found, box, 1)), hole)
    np.testing.assert_array_equal(found.masked_scores("tissue").mask, hole)
    coarse = hole.reshape(300, 2, 170, 2).all((1, 3))
    np.testing.assert_array_equal(~found.computed(1), coarse)
    export_map(path, "csv", tmp_path / "m.csv")
    with (tmp_path / "m.csv").open(encoding="utf-8", newline="") as file:
        counted = sum(int(row["pixels"]) for row in csv.DictReader(file))
    assert counted == (~hole).sum()


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """The folder with a map that gigafcn 0.1.0 wrote, its receipts, slide, mask and model."""
    with zipfile.ZipFile(OLD) as file:
        file.extractall(tmp_path / "old")
    return tmp_path / "old"


@pytest.mark.parametrize("finished", [True, False])
def test_a_run_of_an_earlier_build_is_refused_by_version(old: Path, finished: bool) -> None:
    if not finished:
        (old / "map.zarr" / "zarr.json").unlink()
    before = {p: p.read_bytes() for p in old.rglob("*") if p.is_file()}
    words = ("-m", "net.py:net", "--trust", "--tissue", "mask.png", "--slide-mpp", "0.5")
    ended = command("infer", "slide.png", *words, "-o", "map.zarr", cwd=old)
    assert ended.code == 2
    (line,) = [one for one in ended.err.splitlines() if "error:" in one]
    assert "belongs to a run of another build of gigafcn (that was 0.1.0, this is " in line
    assert {p: p.read_bytes() for p in before} == before


def test_neuroglancer_hides_the_first_class_of_an_old_map(old: Path) -> None:
    link = unquote(neuroglancer_url(open_map(old / "map.zarr"), "http://127.0.0.1:1"))
    assert json.loads(link.split("#!")[1])["layers"][-1]["hideSegmentZero"] is True


def test_an_old_map_is_checked_and_scored_as_what_it_is(old: Path) -> None:
    assert gigafcn.check(old / "map.zarr").is_sound
    found = open_map(old / "map.zarr")
    cells = stored(old / "map.zarr", "status") == ChunkStatus.COMPUTED
    computed = cells.repeat(256, 0).repeat(256, 1)[: found.spec.shape[0], : found.spec.shape[1]]
    scored = evaluate_map(old / "map.zarr", np.zeros(found.spec.shape, np.uint8))
    assert np.sum(scored.matrix) == computed.sum()
    assert scored.not_computed == (~computed).sum()
