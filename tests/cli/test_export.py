"""``gigafcn export`` from the command line."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest

from gigafcn.cli import main
from tests.export.maps import one_hot, write_scores

if TYPE_CHECKING:
    from pathlib import Path

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    labels = np.zeros((80, 64), np.int64)
    labels[10:30, 5:40] = 1
    labels[50:52, 5:40] = labels[60, 60] = 2
    return write_scores(tmp_path / "case.zarr", one_hot(labels))


@pytest.mark.parametrize(
    ("words", "file", "said"),
    [
        (("--to", "ome-tiff"), "case.ome.tiff", "1 levels"),
        (("--to", "ome-tiff", "--content", "labels"), "case.ome.tiff", "1 levels"),
        (("--to", "geojson"), "case.geojson", "3 objects (1 tissue, 2 nuclei)"),
        (("--to", "geojson", "--min-area", "1"), "case.geojson", "2 objects (1 tissue, 1 nuclei)"),
        (
            ("--to", "geojson", "--class", "nuclei", "--class", "tissue", "--no-crop"),
            "case.geojson",
            "3 objects (2 nuclei, 1 tissue)",
        ),
        (("--to", "geojson", "--background"), "case.geojson", "4 objects (1 background, "),
        (
            ("--to", "png", "--class", "tissue", "--max-px", "100", "--colormap", "magma"),
            "case.tissue.png",
            "692 x 268 px",
        ),
        (("--to", "csv", "--threshold", "0.5"), "case.csv", "3 classes"),
    ],
)
def test_a_line_says_what_was_written_and_where(
    path: Path, words: tuple[str, ...], file: str, said: str, capsys: Capture
) -> None:
    assert main(["export", str(path), *words]) == 0
    out = capsys.readouterr().out
    assert out.startswith(said)
    assert out.endswith(f"{path.with_name(file)}\n")
    assert path.with_name(file).is_file()


def test_a_file_may_be_named(path: Path, capsys: Capture) -> None:
    target = path.with_name("areas of a case.csv")
    assert main(["export", str(path), "--to", "csv", "-o", str(target), "--json"]) == 0
    event = json.loads(capsys.readouterr().out)
    assert event["path"] == str(target)
    assert event["figures"] == {"background": 4349, "tissue": 700, "nuclei": 71}


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ((), 2, "--to needs a value; see gigafcn export --help"),
        (("--to", "svg"), 2, "svg"),
        (("--to", "csv", "--simplify", "1"), 2, "simplify is for geojson, not for csv"),
        (("--to", "geojson", "--threshold", "2"), 2, "--threshold"),
        (("--to", "geojson", "--as", "cells"), 2, "cells are for stride 8 and more"),
        (("--to", "geojson", "--slide", "missing.svs"), 3, "missing.svs: no such file"),
    ],
)
def test_a_request_that_cannot_be_met_is_one_line(
    path: Path, words: tuple[str, ...], code: int, message: str, capsys: Capture
) -> None:
    assert main(["export", str(path), *words]) == code
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("gigafcn: error: ")
    assert message in line
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_a_map_that_does_not_exist_is_exit_code_3(tmp_path: Path, capsys: Capture) -> None:
    assert main(["export", str(tmp_path / "no.zarr"), "--to", "csv"]) == 3
    assert "does not exist" in capsys.readouterr().err
