"""Px that nobody computed are of no class, for every reader of a map."""

from __future__ import annotations

import csv
import json
import shutil
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import shapely
import tifffile
import torch
import zarr
from PIL import Image
from torch import nn

import gigafcn
from gigafcn.evaluate import evaluate_map
from gigafcn.export import export_map
from gigafcn.output import open_map
from gigafcn.run.mending import mend_labels
from tests.cli.test_bad_input_pixels import with_a_bad_tile
from tests.commands import gigafcn as command

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

SHAPE = (1100, 1300)
LEFT_OUT, FAILED = 255, 254
BAD = (slice(256, 512), slice(512, 768))
"""The chunk of the bad tile."""


def by_brightness() -> nn.Module:
    """Says the first of three classes of dark px, the last of bright ones."""
    net = nn.Conv2d(3, 3, 1)
    with torch.no_grad():
        net.weight.copy_(torch.arange(3)[:, None, None, None].expand_as(net.weight) * 4.0)
        net.bias.copy_(torch.tensor([0.0, -4.0, -12.0]))  # type: ignore[union-attr]  # it has one
    return net


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A slide with one bad tile, and a mask of tissue that covers it and more."""
    folder = tmp_path_factory.mktemp("scan")
    pixels = np.random.default_rng(0).integers(0, 256, (*SHAPE, 3), np.uint8)
    tifffile.imwrite(
        folder / "slide.tif", pixels, tile=(128, 128), photometric="rgb", compression="zlib"
    )
    with_a_bad_tile(folder / "slide.tif", tile=2 * 11 + 4)
    mask = np.zeros(SHAPE, np.uint8)
    mask[:600, 300:900] = 1
    Image.fromarray(mask).save(folder / "mask.png")
    return folder


def expected_codes() -> NDArray[np.uint8]:
    """255 where the mask's chunks are not, 254 in the bad chunk, else 0."""
    codes = np.full(SHAPE, LEFT_OUT, np.uint8)
    codes[:768, 256:1024] = 0
    codes[BAD] = FAILED
    return codes


@pytest.fixture(scope="module")
def mapped(scan: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("maps") / "m.zarr"
    gigafcn.infer(
        scan / "slide.tif", by_brightness(), path, tissue=scan / "mask.png", slide_mpp=0.5
    )
    return path


def stored(path: Path, name: str) -> NDArray[Any]:
    """What zarr-python alone reads."""
    return np.asarray(zarr.open_array(str(path / name), mode="r")[...])


def levels_of(path: Path, name: str) -> Iterator[NDArray[Any]]:
    for level in range(len(open_map(path).levels)):
        yield stored(path, f"{name}/{level}")


def test_labels_as_any_reader_of_zarr_sees_them(mapped: Path) -> None:
    labels, codes = stored(mapped, "labels/classes/0"), expected_codes()
    np.testing.assert_array_equal(labels[codes != 0], codes[codes != 0])
    assert set(np.unique(labels[codes == 0])) == {0, 1, 2}


def test_coarser_levels_of_labels_have_the_class_of_most_computed_px(mapped: Path) -> None:
    finer: NDArray[Any] | None = None
    for labels in levels_of(mapped, "labels/classes"):
        if finer is not None:
            np.testing.assert_array_equal(labels, majority(finer))
        finer = labels


def majority(labels: NDArray[Any]) -> NDArray[Any]:
    """Block by block, in plain Python."""
    height, width = (-(-n // 2) for n in labels.shape)
    out = np.empty((height, width), labels.dtype)
    for y in range(height):
        for x in range(width):
            block = labels[2 * y : 2 * y + 2, 2 * x : 2 * x + 2].ravel().tolist()
            known = [label for label in block if label < FAILED]
            votes = {label: known.count(label) for label in known}
            out[y, x] = max(votes, key=lambda one: votes[one]) if known else min(block)
    return out


def test_scores_of_bytes_average_what_was_computed_alone(scan: Path, tmp_path: Path) -> None:
    # Blocks of 3 px: a stored px never covers part of a chunk, but coarser ones do at the edges.
    gigafcn.infer(
        scan / "slide.tif", by_brightness(), tmp_path / "m.zarr", activation="sigmoid",
        tissue=scan / "mask.png", slide_mpp=0.5,
    )  # fmt: skip
    path, codes = tmp_path / "m.zarr", expected_codes()
    marks = stored(path, "computed/0")
    np.testing.assert_array_equal(marks, np.where(codes == 0, 1, codes))
    assert not list(path.glob("labels/*"))
    for level in range(1, len(open_map(path).levels)):
        known = stored(path, f"computed/{level - 1}") == 1
        finer = np.where(known, stored(path, f"{level - 1}").astype(float), np.nan)
        padded = np.pad(finer, [(0, 0), *((0, n % 2) for n in known.shape)],
                        constant_values=np.nan)  # fmt: skip
        blocks = np.stack([padded[:, y::2, x::2] for y in (0, 1) for x in (0, 1)])
        there = ~np.isnan(blocks).all(axis=0)
        means = np.nansum(blocks, axis=0) / np.maximum((~np.isnan(blocks)).sum(axis=0), 1)
        np.testing.assert_array_equal(stored(path, f"{level}"), np.rint(means).astype(np.uint8))
        np.testing.assert_array_equal(stored(path, f"computed/{level}") == 1, there[0])


def test_a_map_of_floats_is_not_a_number_where_nothing_was_computed(
    scan: Path, tmp_path: Path
) -> None:
    gigafcn.infer(
        scan / "slide.tif", by_brightness(), tmp_path / "m.zarr", dtype="float32",
        tissue=scan / "mask.png", slide_mpp=0.5, save="probabilities",
    )  # fmt: skip
    missing = np.isnan(stored(tmp_path / "m.zarr", "0"))
    np.testing.assert_array_equal(missing, np.broadcast_to(expected_codes() != 0, missing.shape))


def test_open_map_masks_what_is_no_class_and_no_score(mapped: Path) -> None:
    found, codes = open_map(mapped), expected_codes()
    labels, scores = found.masked_labels(), found.masked_scores(found.spec.classes[0])
    for values in (labels, scores):
        assert isinstance(values, np.ma.MaskedArray)
        np.testing.assert_array_equal(values.mask, codes != 0)
    coarse = found.masked_labels(1)
    np.testing.assert_array_equal(coarse.mask, stored(mapped, "labels/classes/1") >= FAILED)


def test_csv_outlines_and_score_count_the_same_px(mapped: Path, tmp_path: Path) -> None:
    counts = np.bincount(stored(mapped, "labels/classes/0").ravel(), minlength=256)[:3]
    names = open_map(mapped).spec.classes
    export_map(mapped, "csv", tmp_path / "m.csv")
    with (tmp_path / "m.csv").open(encoding="utf-8", newline="") as file:
        rows = {row["class"]: row for row in csv.DictReader(file)}
    assert [int(rows[name]["pixels"]) for name in names] == counts.tolist()
    export_map(mapped, "geojson", tmp_path / "m.geojson")
    areas = dict.fromkeys(names, 0.0)
    for feature in json.loads((tmp_path / "m.geojson").read_text())["features"]:
        geometry = shapely.from_geojson(json.dumps(feature["geometry"]))
        areas[feature["properties"]["classification"]["name"]] += geometry.area
    told = [name for name in names if areas[name]]
    assert [areas[name] for name in told] == [counts[names.index(name)] for name in told]
    assert len(told) >= 2
    truth = np.zeros(SHAPE, np.uint8)
    found = evaluate_map(mapped, truth)
    assert np.sum(found.matrix, axis=0).tolist() == counts.tolist()
    assert found.not_computed == int((expected_codes() != 0).sum())


def test_what_is_no_class_is_transparent_and_named_in_the_metadata(mapped: Path) -> None:
    said = json.loads((mapped / "labels/classes/zarr.json").read_text())["attributes"]["ome"]
    colours = {c["label-value"]: c["rgba"][3] for c in said["image-label"]["colors"]}
    assert colours == {0: 255, 1: 255, 2: 255, LEFT_OUT: 0, FAILED: 0}
    names = {p["label-value"]: p["class"] for p in said["image-label"]["properties"]}
    assert (names[LEFT_OUT], names[FAILED]) == ("left out", "failed")


@pytest.mark.parametrize(("classes", "dtype"), [(253, "uint8"), (254, "uint16")])
def test_classes_keep_their_numbers_however_many_there_are(
    classes: int, dtype: str, tmp_path: Path
) -> None:
    image = np.random.default_rng(1).integers(0, 256, (300, 280, 3), np.uint8)
    net = nn.Conv2d(3, classes, 1)
    path = tmp_path / "m.zarr"
    gigafcn.infer(image, net, path, save="labels", tissue=mask_of(tmp_path, image.shape[:2]))
    labels = stored(path, "labels/classes/0")
    assert labels.dtype == dtype
    assert (labels[:, 256:] == np.iinfo(labels.dtype).max).all()
    scores = net(torch.from_numpy(image / 255).float().permute(2, 0, 1)[None]).argmax(1)[0]
    np.testing.assert_array_equal(labels[:, :256], scores[:, :256].numpy())


def mask_of(folder: Path, shape: tuple[int, ...]) -> Path:
    """Tissue in the first column of chunks."""
    mask = np.zeros(shape, np.uint8)
    mask[:, :200] = 1
    Image.fromarray(mask).save(folder / "mask.png")
    return folder / "mask.png"


OLD = Path(__file__).parents[1] / "data" / "map-of-0.1.0.zip"


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """The folder with a map that gigafcn 0.1.0 wrote, its receipts, slide, mask and model."""
    with zipfile.ZipFile(OLD) as file:
        file.extractall(tmp_path / "old")
    return tmp_path / "old"


OLD_LEFT_OUT = np.array([[0, 0, 1], [1, 1, 0], [1, 1, 1]], bool)
"""Chunks (y, x)."""


def old_px() -> NDArray[np.bool_]:
    """Whether each px (y, x) of the old map was left out."""
    px: NDArray[np.bool_] = OLD_LEFT_OUT.repeat(256, 0).repeat(256, 1)[:600, :700]
    return px


def test_an_old_map_is_read_as_what_it_is(old: Path) -> None:
    assert (stored(old / "map.zarr", "labels/classes/0")[old_px()] == 0).all()
    found = open_map(old / "map.zarr")
    np.testing.assert_array_equal(found.masked_labels().mask, old_px())
    export_map(old / "map.zarr", "csv", old / "m.csv")
    with (old / "m.csv").open(encoding="utf-8", newline="") as file:
        counted = sum(int(row["pixels"]) for row in csv.DictReader(file))
    assert counted == (~old_px()).sum()
    export_map(old / "map.zarr", "ome-tiff", old / "m.ome.tif", content="labels")
    labels = tifffile.imread(old / "m.ome.tif")
    np.testing.assert_array_equal(labels == LEFT_OUT, old_px())


def test_a_command_mends_an_old_map_and_its_receipts(old: Path) -> None:
    whole = old / "new.zarr"
    words = ("-m", "net.py:net", "--trust", "--tissue", "mask.png", "--slide-mpp", "0.5")
    assert command("infer", "slide.png", *words, "-o", "new.zarr", cwd=old).code == 0
    for _ in range(2):
        ended = command("check", "map.zarr", "--mend-labels", cwd=old)
        assert ended.code == 0, ended
        for name in ("0", "1", "labels/classes/0", "labels/classes/1"):
            np.testing.assert_array_equal(stored(old / "map.zarr", name), stored(whole, name))
        for name in ("labels/classes", "labels/classes/0", "labels/classes/1"):
            mended, new = (
                json.loads((path / name / "zarr.json").read_text())
                for path in (old / "map.zarr", whole)
            )
            assert mended.get("fill_value") == new.get("fill_value")
            labels = [d["attributes"].get("ome", {}).get("image-label") for d in (mended, new)]
            assert labels[0] == labels[1]
    assert "nothing to mend" in ended.out


def test_a_mend_that_was_cut_short_leaves_a_map_that_reads_as_before(
    old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("gigafcn.run.mending.finish_map", cut)
        with pytest.raises(KeyboardInterrupt):
            mend_labels(old / "map.zarr")
    np.testing.assert_array_equal(open_map(old / "map.zarr").masked_labels().mask, old_px())
    assert mend_labels(old / "map.zarr") > 0
    assert gigafcn.check(old / "map.zarr").is_sound
    np.testing.assert_array_equal(
        stored(old / "map.zarr", "labels/classes/0") == LEFT_OUT, old_px()
    )


def test_a_map_without_receipts_can_be_mended_too(old: Path) -> None:
    shutil.rmtree(old / "map.zarr.run")
    assert mend_labels(old / "map.zarr") > 0
    assert not (old / "map.zarr.run").exists()
