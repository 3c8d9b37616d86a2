"""What QuPath gets: polygons of the labels, in the slide's px, joined across pieces."""

from __future__ import annotations

import json
import logging
import tracemalloc
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import shapely
from PIL import Image

from gigafcn.errors import RunError, UsageError
from gigafcn.export import export_map, geojson
from tests.export.maps import LARGE, blobs, one_hot, parts_of, write_scores

if TYPE_CHECKING:
    from pathlib import Path

FULL = 200 / 255
"""Probability of a pixel's class in these maps."""


def features(path: Path) -> list[dict[str, Any]]:
    collection = json.loads(path.read_text())
    assert collection["type"] == "FeatureCollection"
    return list(collection["features"])


def shapes(found: list[dict[str, Any]], name: str) -> list[shapely.Polygon]:
    return [
        shapely.from_geojson(json.dumps(feature["geometry"]))
        for feature in found
        if feature["properties"]["classification"]["name"] == name
    ]


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A map in four pieces."""
    return write_scores(tmp_path_factory.mktemp("maps") / "large.zarr", one_hot(blobs()))


def test_polygons_round_trip_through_shapely_with_the_areas_of_the_mask(large: Path) -> None:
    found = features(export_map(large, "geojson", large.with_name("areas.geojson")).path)
    for number, name in ((1, "tissue"), (2, "nuclei")):
        polygons, mask = shapes(found, name), blobs() == number
        assert all(polygon.is_valid for polygon in polygons)
        parts = np.bincount(parts_of(mask).ravel())[1:]
        assert sorted(polygon.area for polygon in polygons) == sorted(parts.tolist())


def test_a_blob_across_the_borders_of_pieces_is_one_polygon_with_its_hole(tmp_path: Path) -> None:
    labels = np.zeros(LARGE, np.int64)
    labels[900:1090, 950:1200] = 1
    labels[1000:1050, 1000:1100] = 0  # a hole across both borders, which are at 1024
    path = write_scores(tmp_path / "blob.zarr", one_hot(labels))
    (polygon,) = shapes(features(export_map(path, "geojson").path), "tissue")
    hole = shapely.box(1000, 1000, 1100, 1050)
    assert polygon.equals(shapely.box(950, 900, 1200, 1090) - hole)
    assert len(polygon.exterior.coords) == len(polygon.interiors[0].coords) == 5


def test_a_feature_has_the_properties_that_qupath_reads(large: Path) -> None:
    found = features(export_map(large, "geojson", large.with_name("schema.geojson")).path)
    assert {f["properties"]["classification"]["name"] for f in found} == {"tissue", "nuclei"}
    assert len({f["id"] for f in found}) == len(found)
    assert found[0].keys() == {"type", "id", "geometry", "properties"}
    assert found[0]["type"] == "Feature"
    tissue = {"name": "tissue", "color": [0x0B, 0x9E, 0x8E]}
    assert {"objectType": "annotation", "classification": tissue} in [
        f["properties"] for f in found
    ]


def test_the_same_map_gives_the_same_file(large: Path) -> None:
    texts = [
        export_map(large, "geojson", large.with_name(f"same{i}.geojson")).path.read_bytes()
        for i in (1, 2)
    ]
    assert texts[0] == texts[1]


def test_only_named_classes_or_the_background_too(large: Path) -> None:
    nuclei = export_map(large, "geojson", large.with_name("n.geojson"), classes=("nuclei",))
    everything = export_map(large, "geojson", large.with_name("b.geojson"), background=True)
    assert list(nuclei.figures) == ["nuclei"]
    assert list(everything.figures) == ["background", "tissue", "nuclei"]


def test_a_threshold_may_give_a_pixel_several_classes(tmp_path: Path) -> None:
    scores = np.full((3, 64, 64), 100, np.uint8)
    scores[2, :32] = 51
    path = write_scores(tmp_path / "map.zarr", scores)
    found = features(export_map(path, "geojson", threshold=0.2).path)
    areas = {name: sum(p.area for p in shapes(found, name)) for name in ("tissue", "nuclei")}
    assert areas == {"tissue": 4096, "nuclei": 4096}
    above = features(export_map(path, "geojson", overwrite=True, threshold=0.21).path)
    assert sum(p.area for p in shapes(above, "nuclei")) == 2048


def test_classes_that_do_not_exclude_each_other_are_cut_at_one_half(tmp_path: Path) -> None:
    scores = np.zeros((2, 64, 64), np.uint8)
    scores[0, :10], scores[1, :20] = 128, 127
    path = write_scores(tmp_path / "map.zarr", scores, classes=("a", "b"), labels=False)
    assert export_map(path, "geojson").figures == {"a": 1, "b": 0}


def two_squares(tmp_path: Path, **spec: Any) -> Path:
    labels = np.zeros((100, 100), np.int64)
    labels[10:13, 10:13] = labels[50:60, 50:60] = 1
    return write_scores(tmp_path / "map.zarr", one_hot(labels), **spec)


def test_small_polygons_are_left_out_by_square_micrometres(tmp_path: Path) -> None:
    path = two_squares(tmp_path, mpp=(0.5, 0.5))  # 9 px are 2.25 um2
    assert export_map(path, "geojson", min_area=2.25).figures["tissue"] == 2
    assert export_map(path, "geojson", overwrite=True, min_area=2.26).figures["tissue"] == 1


def test_without_a_pixel_size_the_least_area_is_in_square_px(tmp_path: Path) -> None:
    path = two_squares(tmp_path, mpp=None)
    assert export_map(path, "geojson", min_area=9).figures["tissue"] == 2
    assert export_map(path, "geojson", overwrite=True, min_area=9.1).figures["tissue"] == 1


def test_simplified_outlines_stay_valid_and_near(large: Path) -> None:
    exact = features(export_map(large, "geojson", large.with_name("e.geojson")).path)
    rough = features(export_map(large, "geojson", large.with_name("s.geojson"), simplify=1.0).path)
    pairs = list(zip(shapes(exact, "tissue"), shapes(rough, "tissue"), strict=True))
    assert all(b.is_valid for _, b in pairs)
    assert all(shapely.hausdorff_distance(a, b) <= 1.5 for a, b in pairs)  # 1, and a corner's half
    assert len(json.dumps(rough)) < 0.6 * len(json.dumps(exact))


def test_coordinates_are_level_0_px_of_the_slide(tmp_path: Path) -> None:
    path = two_squares(
        tmp_path,
        stride=(Fraction(4), Fraction(4)),
        offset=(10.0, 20.0),
        mpp=(1.0, 1.0),
        provenance={"slide": {"mpp": [0.25, 0.25], "shape": [4000, 4000]}},
    )
    small, _ = shapes(features(export_map(path, "geojson").path), "tissue")
    x, y = (20 + 10 * 4) * 4, (10 + 10 * 4) * 4  # offset and cells are input px of 1 um
    assert small.bounds == (x, y, x + 3 * 16, y + 3 * 16)


def test_a_level_without_pixel_sizes_is_scaled_by_the_image_sizes(tmp_path: Path) -> None:
    plan = {"geometry": {"image": [741, 555]}}
    slide = {"shape": [2967, 2220], "mpp": None}
    path = two_squares(tmp_path, mpp=None, provenance={"slide": slide, "plan": plan})
    small, _ = shapes(features(export_map(path, "geojson").path), "tissue")
    assert small.bounds == (40, 40, 52, 52)


def test_coordinates_count_from_the_area_that_qupath_shows(tmp_path: Path) -> None:
    slide = {"shape": [4000, 4000], "bounds": [6, 4, 3000, 3000]}
    path = two_squares(tmp_path, provenance={"slide": slide})
    small, _ = shapes(features(export_map(path, "geojson").path), "tissue")
    assert small.bounds == (10 - 4, 10 - 6, 13 - 4, 13 - 6)
    whole = export_map(path, "geojson", overwrite=True, crop=False)
    assert shapes(features(whole.path), "tissue")[0].bounds == (10, 10, 13, 13)


def test_what_was_not_computed_is_of_no_class(tmp_path: Path) -> None:
    scores = one_hot(np.ones((128, 128), np.int64))
    status = np.array([[1, 3], [2, 1]], np.uint8)
    path = write_scores(tmp_path / "map.zarr", scores, status=status)
    found = shapes(features(export_map(path, "geojson").path), "tissue")
    assert sorted(p.bounds for p in found) == [(0, 0, 64, 64), (64, 64, 128, 128)]


def test_memory_does_not_grow_with_the_map(tmp_path: Path) -> None:
    peaks = []
    for side in (1024, 2048):
        labels = np.tile(blobs((512, 512)), (side // 512, side // 512))
        path = write_scores(tmp_path / f"{side}.zarr", one_hot(labels), chunk=256, shard=512)
        tracemalloc.start()
        export_map(path, "geojson")
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    # Four times the pixels (9 MB of scores more) add polygons that wait at a border.
    assert peaks[1] < peaks[0] + 2e6


def test_many_objects_are_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(geojson, "MANY", 1)
    with caplog.at_level(logging.WARNING, "gigafcn"):
        export_map(two_squares(tmp_path), "geojson")
    assert "2 objects in map.geojson; QuPath gets slow above 1" in caplog.text


def test_cells_of_coarse_maps_are_detections_with_probabilities(tmp_path: Path) -> None:
    labels = np.array([[0, 1], [2, 0]])
    stride = (Fraction(32), Fraction(32))
    path = write_scores(tmp_path / "map.zarr", one_hot(labels), stride=stride, chunk=2, shard=2)
    tissue, nucleus = features(export_map(path, "geojson", objects="cells").path)
    assert shapely.from_geojson(json.dumps(tissue["geometry"])).equals(shapely.box(32, 0, 64, 32))
    assert tissue["properties"]["objectType"] == "detection"
    assert nucleus["properties"]["classification"]["name"] == "nuclei"
    assert nucleus["properties"]["measurements"] == {
        "background": round(20 / 255, 4),
        "tissue": round(20 / 255, 4),
        "nuclei": round(FULL, 4),
    }


def test_cells_of_fine_maps_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"stride 1 x 1 px .*; cells are for stride 8"):
        export_map(two_squares(tmp_path), "geojson", objects="cells")


def test_a_slide_of_another_size_is_refused(tmp_path: Path) -> None:
    path = two_squares(tmp_path, provenance={"slide": {"shape": [4000, 4000]}})
    other = tmp_path / "other.png"
    Image.new("RGB", (30, 20)).save(other)
    with pytest.raises(UsageError, match=r"20 x 30 px .* the mapped one 4000 x 4000 px"):
        export_map(path, "geojson", slide=str(other))


def test_a_damaged_map_leaves_no_file(tmp_path: Path) -> None:
    path = two_squares(tmp_path)
    shard = path / "labels" / "classes" / "0" / "c" / "0" / "0"
    shard.write_bytes(shard.read_bytes()[:-40])
    with pytest.raises(RunError, match="cannot be read at"):
        export_map(path, "geojson")
    assert [entry.name for entry in tmp_path.iterdir()] == ["map.zarr"]
