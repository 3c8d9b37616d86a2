"""Exports go beside the map, are whole or absent, and replace nothing but exports."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile

from gigafcn.errors import SlideError, StorageError, UsageError
from gigafcn.export import FORMATS, export_map
from gigafcn.export.places import written_whole
from gigafcn.output import create_map
from tests.export.maps import one_hot, write_scores
from tests.output.maps import a_spec

if TYPE_CHECKING:
    from pathlib import Path

NAMES = {
    "ome-tiff": "case 7.ome.tiff",
    "geojson": "case 7.geojson",
    "png": "case 7.nuclei.png",
    "jpeg": "case 7.nuclei.jpg",
    "csv": "case 7.csv",
    "json": "case 7.json",
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    labels = np.zeros((64, 64), np.int64)
    labels[10:30, 5:40] = 2
    return write_scores(tmp_path / "case 7.zarr", one_hot(labels))


def exported(path: Path, to: str, *, overwrite: bool = False) -> Path:
    options: dict[str, Any] = {"classes": ("nuclei",)} if to in ("png", "jpeg") else {}
    return export_map(path, to, overwrite=overwrite, **options).path


@pytest.mark.parametrize("to", FORMATS)
def test_an_export_lies_beside_the_map_and_replaces_an_earlier_one_when_asked(
    path: Path, to: str
) -> None:
    assert exported(path, to) == path.with_name(NAMES[to])
    with pytest.raises(UsageError, match="exists; choose another name or replace it"):
        exported(path, to)
    exported(path, to, overwrite=True)
    assert sorted(p.name for p in path.parent.iterdir()) == sorted([path.name, NAMES[to]])


@pytest.mark.parametrize("to", FORMATS)
def test_a_file_that_gigafcn_did_not_export_is_never_replaced(path: Path, to: str) -> None:
    path.with_name(NAMES[to]).write_text("class,of 1999\n")
    with pytest.raises(UsageError, match=f"not exported by gigafcn as {to}"):
        exported(path, to, overwrite=True)


def test_a_slide_of_the_same_name_is_never_replaced(path: Path) -> None:
    slide = path.with_name(NAMES["ome-tiff"])
    tifffile.imwrite(slide, np.zeros((64, 64), np.uint8), ome=True)
    with pytest.raises(UsageError, match="never replaced"):
        exported(path, "ome-tiff", overwrite=True)


def test_nothing_is_written_into_the_map(path: Path) -> None:
    with pytest.raises(UsageError, match="inside the map"):
        export_map(path, "csv", path / "areas.csv")


def test_folders_are_made(path: Path) -> None:
    assert export_map(path, "csv", path.parent / "a" / "b.csv").path.is_file()


def test_a_file_is_whole_or_absent(tmp_path: Path) -> None:
    def write_half() -> None:
        with written_whole(tmp_path / "a.csv") as partial:
            partial.write_text("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_half()
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_refuses_is_named_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="cannot write"), written_whole(tmp_path / "file" / "a"):
        pass


def test_an_unfinished_map_is_refused(tmp_path: Path) -> None:
    create_map(tmp_path / "m.zarr", a_spec())
    with pytest.raises(SlideError, match="did not finish"):
        export_map(tmp_path / "m.zarr", "csv")


def test_what_is_no_map_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SlideError, match="gigafcn did not write it"):
        export_map(tmp_path, "csv")


@pytest.mark.parametrize(
    ("to", "options", "message"),
    [
        ("dzi", {}, "cannot be exported to 'dzi'; choose one of ome-tiff"),
        ("csv", {"min_area": 3}, "min-area is for geojson, not for csv"),
        ("csv", {"colour": 3}, "colour is no option of any format"),
        ("geojson", {"threshold": 1.5}, "threshold must be above 0 and at most 1, got 1.5"),
        ("csv", {"threshold": 0}, "threshold must be above 0"),
        ("geojson", {"simplify": -1}, "must not be negative"),
        ("geojson", {"objects": "dots"}, "polygons or cells"),
        ("geojson", {"objects": "cells", "simplify": 1}, "are for polygons"),
        ("geojson", {"classes": ("stroma",)}, "no class 'stroma'; its classes are background"),
        ("ome-tiff", {"content": "all"}, "content must be one of"),
        ("png", {}, "one class; name one of background, tissue, nuclei"),
        ("png", {"classes": ("stroma",)}, "no class 'stroma'"),
        ("png", {"colormap": "rainbows"}, "no colour map 'rainbows'"),
        ("png", {"max_px": 5}, "max-px must be 64 to 20000, got 5"),
    ],
)
def test_options_that_do_not_fit_are_refused(
    path: Path, to: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        export_map(path, to, **options)
    assert [p.name for p in path.parent.iterdir()] == [path.name]
