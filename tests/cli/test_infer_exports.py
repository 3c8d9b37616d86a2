"""``infer --export`` and what the closing lines offer: files and viewers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from urllib.error import HTTPError
from urllib.parse import unquote
from urllib.request import Request, urlopen

import pytest
import shapely
import tifffile

from gigafcn.output.serving import ORIGIN
from tests.cli.refusals import MODEL, refused
from tests.commands import ended, gigafcn, started

if TYPE_CHECKING:
    from pathlib import Path

EXPORTS = ("--export", "ome-tiff,geojson,png,jpeg,csv,json")
FILES = [
    "slide.class 0.jpg", "slide.class 0.png", "slide.class 1.jpg", "slide.class 1.png",
    "slide.class 2.jpg", "slide.class 2.png", "slide.csv", "slide.geojson", "slide.json",
    "slide.ome.tiff",
]  # fmt: skip


def exports_in(folder: Path) -> dict[str, int]:
    return {p.name: p.stat().st_mtime_ns for p in folder.glob("slide.*") if p.name in FILES}


def test_every_format_is_written_beside_the_map_and_left_when_all_is_done(folder: Path) -> None:
    words = ("infer", "slide.tif", *MODEL, "--slide-mpp", "0.5", *EXPORTS)
    done = gigafcn(*words, cwd=folder)
    assert done.code == 0, done.err
    first = exports_in(folder)
    assert sorted(first) == FILES
    assert all(f"  export: {name}\n" in done.out for name in FILES)
    with tifffile.TiffFile(folder / "slide.ome.tiff") as tif:
        assert tif.series[0].shape == (3, 300, 420)
    again = gigafcn(*words, cwd=folder)
    assert again.code == 0
    assert exports_in(folder) == first
    (folder / "slide.csv").unlink()
    gigafcn(*words, cwd=folder)
    assert sorted(exports_in(folder)) == FILES


def test_a_map_made_anew_is_exported_anew_and_listed_in_json(folder: Path) -> None:
    words = ("infer", "slide.tif", *MODEL, "--export", "geojson", "--json")
    assert gigafcn(*words, cwd=folder).code == 0
    before = (folder / "slide.geojson").read_text()
    done = gigafcn(*words, "--overwrite", "--region", "0,0,100,100", cwd=folder)
    assert done.events[-1]["exports"] == ["slide.geojson"]
    assert (folder / "slide.geojson").read_text() != before


def test_a_foreign_file_in_the_place_of_an_export_is_kept(folder: Path) -> None:
    (folder / "slide.csv").write_text("mine\n")
    done = gigafcn("infer", "slide.tif", *MODEL, "--export", "csv", cwd=folder)
    assert done.code == 2
    assert "slide.csv exists and was not exported by gigafcn" in done.error
    assert (folder / "slide.csv").read_text() == "mine\n"


def test_an_unknown_format_is_refused(folder: Path) -> None:
    message = refused(2, "infer", "slide.tif", *MODEL, "--export", "pdf", cwd=folder)
    assert "--export: 'pdf' is not one of 'ome-tiff', 'geojson', 'png'" in message


def test_areas_of_outlines_are_those_of_the_labels(folder: Path) -> None:
    words = ("--export", "geojson,csv", "--save", "labels", "--save-mpp", "2", "--slide-mpp", "0.5")
    assert gigafcn("infer", "slide.tif", *MODEL, *words, cwd=folder).code == 0
    collection = json.loads((folder / "slide.geojson").read_text())
    areas: dict[str, float] = {}
    for feature in collection["features"]:
        name = feature["properties"]["classification"]["name"]
        shape = shapely.from_geojson(json.dumps(feature["geometry"]))
        assert shape.is_valid
        areas[name] = areas.get(name, 0.0) + shape.area
    rows = [line.split(",") for line in (folder / "slide.csv").read_text().splitlines()[1:]]
    for name, _, area_px, area_mm2, *_ in rows:
        assert areas.get(name, 0.0) == float(area_px)
        assert float(area_mm2) == pytest.approx(float(area_px) * 0.25e-6, rel=1e-5)


def test_the_closing_lines_name_viewers(folder: Path) -> None:
    done = gigafcn("infer", "slide.tif", *MODEL, "-o", "my maps", cwd=folder)
    assert done.out.splitlines()[-2:] == [
        "  napari:       napari --plugin napari-ome-zarr 'my maps/slide.zarr'",
        "  neuroglancer: gigafcn view 'my maps/slide.zarr'",
    ]


def test_view_serves_the_map_to_neuroglancer_alone_until_it_is_stopped(folder: Path) -> None:
    assert gigafcn("infer", "slide.tif", *MODEL, "--quiet", cwd=folder).code == 0
    process = started("view", "slide.zarr", cwd=folder)
    try:
        assert process.stdout is not None
        link, told = process.stdout.readline().strip(), process.stdout.readline()
        address = told.split(" at ")[1].split(" until ")[0]
        page, state = link.split("/#!")
        layers = json.loads(unquote(state))["layers"]
        assert page == ORIGIN
        assert [(layer["type"], layer["source"]) for layer in layers] == [
            ("image", f"zarr3://{address}/"),
            ("segmentation", f"zarr3://{address}/labels/classes/"),
        ]
        document = folder / "slide.zarr" / "zarr.json"
        with urlopen(f"{address}/zarr.json") as answer:
            assert answer.read() == document.read_bytes()
            assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN
        shard = next((folder / "slide.zarr" / "0" / "c").rglob("*/0/0"))
        url = f"{address}/{shard.relative_to(folder / 'slide.zarr')}"
        for asked, part in (("bytes=4-9", slice(4, 10)), ("bytes=-8", slice(-8, None))):
            with urlopen(Request(url, headers={"Range": asked})) as answer:
                assert answer.status == 206
                assert answer.read() == shard.read_bytes()[part]
        for wrong, headers in (("../slide.tif", {}), ("zarr.json", {"Host": "evil.example"})):
            with pytest.raises(HTTPError, match=r"404|403"):
                urlopen(Request(f"{address}/{wrong}", headers=headers))
    finally:
        process.send_signal(2)
        assert ended(process).code == 0


def test_view_refuses_what_is_no_map(folder: Path) -> None:
    assert "does not exist" in refused(3, "view", "nosuch.zarr", cwd=folder)
