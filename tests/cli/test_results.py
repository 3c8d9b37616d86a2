"""What other programs find in the results: places, sizes, areas, scores."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import openslide
import pytest
import shapely
import tifffile
import zarr
from PIL import Image

from gigafcn.output import open_map
from tests.cli.refusals import MODEL
from tests.commands import gigafcn
from tests.run.whole import labels_of
from tests.scanner_files import write_mrxs, write_scn

if TYPE_CHECKING:
    from pathlib import Path

MEANS = ("--slide-mpp", "0.5", "--save-mpp", "2")


def run(folder: Path, *words: str) -> str:
    ended = gigafcn(*words, cwd=folder)
    assert ended.code == 0, ended.err
    return ended.out


def outlined(path: Path) -> Any:
    """All polygons of a GeoJSON file together."""
    features = json.loads(path.read_text())["features"]
    return shapely.union_all([shapely.from_geojson(json.dumps(f["geometry"])) for f in features])


def noise(height: int, width: int) -> Any:
    return np.random.default_rng(1).integers(1, 256, (height, width, 3), np.uint8)


def test_outlines_count_from_the_scanned_area_as_qupath_does(folder: Path) -> None:
    write_scn(folder / "glass.scn", noise(300, 400), at=(64, 48))
    run(folder, "infer", "glass.scn", *MODEL, "--export", "geojson", "--save", "labels")
    everything = ("--background", "--overwrite", "-o", "all.geojson")
    for words, corner in (((), (0, 0)), (("--no-crop",), (48, 64))):
        run(folder, "export", "glass.zarr", "--to", "geojson", *everything, *words)
        x0, y0, x1, y1 = outlined(folder / "all.geojson").bounds
        # The map is of the scanned area, all of whose px are of some class.
        assert (x0, y0) == corner
        assert (x1 - x0, y1 - y0) == (400, 300)


def test_an_mrxs_slide_counts_once_and_its_gaps_are_of_no_class(folder: Path) -> None:
    (folder / "scans").mkdir()
    write_mrxs(folder / "scans" / "a.mrxs", noise(384, 512), {(1, 3)})
    out = run(folder, "infer", "scans", *MODEL, "-o", "maps", "--json")
    summary = json.loads(out.splitlines()[-1])
    assert (summary["slides"], summary["failed"]) == (1, 0)
    assert open_map(folder / "maps" / "a.zarr").spec.shape == (384, 512)


def test_an_ome_tiff_has_the_pyramid_and_pixel_size_of_the_map(folder: Path) -> None:
    tifffile.imwrite(folder / "wide.tif", noise(700, 1300), tile=(256, 256), photometric="rgb")
    run(folder, "infer", "wide.tif", *MODEL, "--slide-mpp", "0.5", "--export", "ome-tiff")
    stored = open_map(folder / "wide.zarr")
    with tifffile.TiffFile(folder / "wide.ome.tiff") as tif:
        levels = tif.series[0].levels
        assert [level.shape[-2:] for level in levels] == [at.shape for at in stored.levels]
        for level, scores in zip(levels, stored.scores, strict=True):
            np.testing.assert_array_equal(level.asarray(), scores[...])
        assert 'PhysicalSizeX="0.5"' in (tif.ome_metadata or "")
    # OpenSlide looks for levels beside the first, not within it as OME-TIFF has them.
    slide = openslide.OpenSlide(folder / "wide.ome.tiff")
    assert slide.dimensions == (1300, 700)
    assert float(slide.properties["openslide.mpp-x"]) == pytest.approx(0.5)


def test_a_map_of_labels_alone_is_scored_against_an_image_and_against_zarr(folder: Path) -> None:
    run(folder, "infer", "slide.tif", *MODEL, *MEANS, "--save", "labels")
    predicted = labels_of(folder / "slide.zarr")
    truth = predicted.repeat(4, 0).repeat(4, 1)[:300, :420].copy()  # on the slide's own grid
    truth[:40], truth[260:] = (truth[:40] + 1) % 3, 9
    Image.fromarray(truth).save(folder / "truth.png")
    array = zarr.create_array(
        folder / "truth.zarr", shape=truth.shape, dtype="uint8", chunks=(64, 64)
    )
    array[...] = truth
    found = []
    for name in ("truth.png", "truth.zarr"):
        words = ("--ignore", "9", "--plot", f"{name}.plot.png", "--json")
        found.append(json.loads(run(folder, "evaluate", "slide.zarr", name, *words)))
        with Image.open(folder / f"{name}.plot.png") as plot:
            assert plot.width > 600
    assert found[0]["confusion_matrix"] == found[1]["confusion_matrix"]
    fine = predicted.repeat(4, 0).repeat(4, 1)[:260, :420]
    matrix = np.zeros((3, 3), int)
    np.add.at(matrix, (truth[:260].ravel(), fine.ravel()), 1)
    assert found[0]["confusion_matrix"] == matrix.tolist()
    assert found[0]["pixel_accuracy"] == pytest.approx(220 / 260)
    for number, dice in enumerate(found[0]["dice"]):
        both = matrix[number].sum() + matrix[:, number].sum()
        expected = None if both == 0 else pytest.approx(2 * matrix[number, number] / both)
        assert dice == expected
    assert found[0]["ignored"] == 40 * 420
