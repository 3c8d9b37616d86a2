"""Drawn areas are tissue as QuPath shows them: holes stay, what is to be ignored is cut out."""

from __future__ import annotations

import json
import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import shapely
import tifffile
from rasterio.features import rasterize

import gigafcn
from gigafcn.errors import UsageError
from gigafcn.run.options import Options
from gigafcn.run.request import prepare
from gigafcn.run.tissue import with_tissue
from gigafcn.slide.array import ArraySlide
from tests.commands import gigafcn as command
from tests.run.small_nets import Skip, whole_numbers

if TYPE_CHECKING:
    from pathlib import Path

SHAPE = (768, 1024)
"""3 x 4 chunks of 256 px."""

Ring = list[list[float]]


def ring(x0: float, y0: float, x1: float, y1: float) -> Ring:
    return [[x0, y0], [x1, y0], [x1, y1], [x0, y1], [x0, y0]]


def feature(*rings: Ring, name: Any = None, **more: Any) -> dict[str, Any]:
    """An annotation as QuPath 0.5 exports it."""
    properties: dict[str, Any] = {"objectType": "annotation", "isLocked": False}
    if name is not None:
        properties["classification"] = name if isinstance(name, dict) else {
            "name": name, "color": [200, 0, 0],
        }  # fmt: skip
    geometry = {"type": "Polygon", "coordinates": list(rings)}
    return {
        "type": "Feature", "id": "5ad4", "geometry": geometry, "properties": properties, **more,
    }  # fmt: skip


def found(folder: Path, *features: Any, mpp: float | None = None, **options: Any) -> Any:
    """Chunks (y, x) that a run would compute."""
    path = folder / "a.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": list(features)}))
    return cells_of(path, mpp, **options)


@lru_cache(maxsize=2)
def planned(mpp: float | None) -> Any:
    """A run that computes everything."""
    slide = ArraySlide(np.zeros((*SHAPE, 3), np.uint8), mpp=None if mpp is None else (mpp, mpp))
    return prepare(slide, whole_numbers(Skip()), Options())


def cells_of(path: Path, mpp: float | None = None, **options: Any) -> Any:
    run = planned(mpp)
    given = Options(tissue=path, **options)
    plan = with_tissue(run.plan, run.slide, given, run.demand)
    assert plan.tissue is not None
    return plan.tissue.cells()


def chunks_of(area: Any) -> Any:
    """Chunks with a px whose middle lies in an area, by rasterio."""
    px = rasterize([area], out_shape=SHAPE).astype(bool)
    return px.reshape(3, 256, 4, 256).any(axis=(1, 3))


@pytest.mark.parametrize(
    ("hole", "px", "chunks"),
    [
        (ring(250, 250, 1024, 768), 385_500, 6),
        (ring(250, 250, 1020, 764), 390_652, 10),
        (ring(250, 0, 1024, 768), 192_000, 3),
        (ring(0, 250, 774, 768), 385_500, 6),
    ],
    ids=["corner", "inside", "three edges", "other corner"],
)
def test_a_hole_that_shares_an_edge_with_the_outline_stays_a_hole(
    hole: Ring, px: int, chunks: int, tmp_path: Path
) -> None:
    whole = shapely.Polygon(ring(0, 0, 1024, 768))
    area = whole.difference(shapely.Polygon(hole))
    assert area.area == px
    cells = found(tmp_path, feature(ring(0, 0, 1024, 768), hole))
    np.testing.assert_array_equal(cells, chunks_of(area))
    assert cells.sum() == chunks


def test_parts_of_a_multipolygon_that_overlap_are_joined(tmp_path: Path) -> None:
    parts = [[ring(0, 0, 600, 300)], [ring(300, 100, 1000, 290)]]
    both = feature()
    both["geometry"] = {"type": "MultiPolygon", "coordinates": parts}
    area = shapely.union_all([shapely.Polygon(part[0]) for part in parts])
    np.testing.assert_array_equal(found(tmp_path, both), chunks_of(area))


def test_an_area_that_ends_where_a_chunk_begins_does_not_mark_it(tmp_path: Path) -> None:
    cells = found(tmp_path, feature(ring(256, 256, 512, 512)))
    assert np.argwhere(cells).tolist() == [[1, 1]]


LEFT_OUT = [
    "Ignore*", "ignore", "IGNORE this", "Artefact", "Artifact*", "artefacts: fold", "Background",
    "background*", "Tumor: Ignore*", "to be ignored",
]  # fmt: skip


@pytest.mark.parametrize("name", LEFT_OUT)
def test_what_is_to_be_ignored_is_cut_out_of_all_else(name: str, tmp_path: Path) -> None:
    """In any order, also of areas that are drawn above it."""
    ignored = feature(ring(256, 0, 1024, 512), name=name)
    below = feature(ring(0, 0, 700, 768))
    above = feature(ring(500, 100, 900, 600), name="Tumor")
    tissue = shapely.union_all([shapely.Polygon(f["geometry"]["coordinates"][0])
                                for f in (below, above)])  # fmt: skip
    area = tissue.difference(shapely.Polygon(ring(256, 0, 1024, 512)))
    for order in ((ignored, below, above), (below, ignored, above), (below, above, ignored)):
        np.testing.assert_array_equal(found(tmp_path, *order), chunks_of(area))
    assert not chunks_of(area)[0, 1]


@pytest.mark.parametrize("name", ["Region*", None, "Tumor", "Tumor: Positive", "Stroma", ""])
def test_all_other_classes_are_tissue(name: str | None, tmp_path: Path) -> None:
    cells = found(tmp_path, feature(ring(10, 10, 100, 100), name=name))
    assert np.argwhere(cells).tolist() == [[0, 0]]


@pytest.mark.parametrize(
    "classification",
    [
        {"name": "Ignore*", "colorRGB": -3_670_016},
        {"name": "Ignore*", "color": [180, 180, 180]},
        {"names": ["Tumor", "Ignore*"], "color": [180, 180, 180]},
    ],
    ids=["0.2", "0.5", "derived"],
)
def test_classes_of_every_version_of_qupath_are_read(
    classification: dict[str, Any], tmp_path: Path
) -> None:
    tissue = feature(ring(0, 0, 1024, 768))
    cells = found(tmp_path, tissue, feature(ring(0, 0, 1024, 512), name=classification))
    np.testing.assert_array_equal(cells.any(axis=1), [False, False, True])


def test_named_classes_replace_the_rule(tmp_path: Path) -> None:
    drawn = (
        feature(ring(0, 0, 200, 200), name="Tumor"),
        feature(ring(300, 0, 500, 200), name="Stroma"),
        feature(ring(600, 0, 700, 200), name="Ignore*"),
        feature(ring(0, 300, 200, 400)),
        feature(ring(0, 0, 200, 100), name="Background"),
    )
    named = {
        ("Tumor",): [[0, 0]],
        ("tumor", "Stroma"): [[0, 0], [0, 1]],
        ("Ignore*",): [[0, 2]],
        ("unclassified",): [[1, 0]],
    }
    for names, expected in named.items():
        cells = found(tmp_path, *drawn, tissue_class=names)
        assert np.argwhere(cells).tolist() == expected
    with pytest.raises(UsageError, match=r"no class necrosis; its classes are Background, Ign"):
        found(tmp_path, *drawn, tissue_class=("Necrosis",))
    with pytest.raises(UsageError, match="what is cut out of its polygons leaves nothing"):
        found(tmp_path, drawn[4], feature(ring(0, 0, 200, 100)))
    with pytest.raises(UsageError, match="marks no tissue: all its areas are of the classes Back"):
        found(tmp_path, drawn[4])


def test_named_classes_without_polygons_are_refused() -> None:
    with pytest.raises(UsageError, match="tissue-class names classes of polygons, but tissue is"):
        gigafcn.plan_run(np.zeros((64, 64, 3), np.uint8), whole_numbers(Skip()),
                         tissue="auto", tissue_class=("Tumor",))  # fmt: skip


@pytest.mark.parametrize(("mpp", "unit"), [(None, "px"), (0.5, "µm²")])
def test_the_area_of_each_class_is_said(
    mpp: float | None, unit: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "gigafcn")
    found(
        tmp_path,
        feature(ring(0, 0, 200, 200), name="Tumor"),
        feature(ring(100, 0, 300, 200), name="Tumor"),  # half of it is there already
        feature(ring(0, 0, 50, 300), name="Ignore*"),
        feature(ring(500, 0, 600, 100)),
        mpp=mpp,
    )
    factor = 1.0 if mpp is None else mpp**2
    said = dict(re.findall(r"([A-Za-z* ]+?) (\d+) " + unit, caplog.text))
    assert {name.strip(): int(area) for name, area in said.items()} == {
        "Tumor": 60_000 * factor,
        "unclassified": 10_000 * factor,
        "Ignore*": 15_000 * factor,
        "tissue in all": (50_000 + 10_000) * factor,
    }
    assert f"15000 {unit} cut out" in caplog.text or f"3750 {unit} cut out" in caplog.text


def test_every_form_of_geojson_is_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    one = feature(ring(10, 10, 100, 100), name="Tumor")
    cell = feature(
        ring(300, 10, 400, 100), nucleusGeometry={"type": "Point", "coordinates": [1, 1]}
    )
    cell["properties"]["objectType"] = "cell"
    point = {"type": "Feature", "geometry": {"type": "Point", "coordinates": [800, 700]}}
    both = {"type": "GeometryCollection", "geometries": [one["geometry"], cell["geometry"]]}
    documents: list[Any] = [
        {"type": "FeatureCollection", "features": [one, cell, point]},
        [one, cell, point],
        both,
        {"type": "Feature", "geometry": both, "properties": None},
        {"type": "MultiPolygon",
         "coordinates": [one["geometry"]["coordinates"], cell["geometry"]["coordinates"]]},
    ]  # fmt: skip
    for document in documents:
        path = tmp_path / "a.geojson"
        path.write_text(json.dumps(document), encoding="utf-8-sig")
        assert np.argwhere(cells_of(path)).tolist() == [[0, 0], [0, 1]]
    assert caplog.text.count("1 geometries without an area left out") == 2


def test_the_command_takes_classes_and_prints_areas(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "s.tif", np.zeros((*SHAPE, 3), np.uint8), photometric="rgb")
    document = [
        feature(ring(0, 0, 200, 200), name="Tumor"),
        feature(ring(300, 0, 500, 200), name="Stroma"),
    ]
    (tmp_path / "a.geojson").write_text(json.dumps(document))
    words = ["plan", tmp_path / "s.tif", "--tissue", tmp_path / "a.geojson"]
    done = command(*map(str, words), "--tissue-class", "Stroma", cwd=tmp_path)
    assert "polygons: Stroma 40000 px, Tumor 40000 px left out; tissue in all 40000" in done.err
