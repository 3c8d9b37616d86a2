"""``gigafcn evaluate`` from the command line."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
import tifffile

from gigafcn.cli import main
from tests.export.maps import one_hot, write_scores

if TYPE_CHECKING:
    from pathlib import Path

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A map and a truth of 4000 px, of which 1000 are ignored and 300 differ."""
    labels = np.zeros((80, 50), np.uint8)
    labels[:40] = 1
    write_scores(tmp_path / "case.zarr", one_hot(labels))
    truth = labels.copy()
    truth[60:] = 255
    truth[:6] = 0
    tifffile.imwrite(tmp_path / "truth.tif", truth)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_table_of_classes_and_the_figures_of_the_whole(folder: Path, capsys: Capture) -> None:
    assert main(["evaluate", "case.zarr", "truth.tif", "--ignore", "255"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines() if line.strip()]
    table = {line[0]: line[1:] for line in lines}
    assert table["background"] == ["1300", "1000", "0.7692", "0.7692", "0.8696"]
    assert table["tissue"] == ["1700", "2000", "1.0000", "0.8500", "0.9189"]
    assert table["nuclei"] == ["0", "0", "-", "-", "-"]
    assert ["pixel", "accuracy", "0.9000"] in lines
    assert ["compared", "3000", "of", "4000", "px"] in lines
    assert ["ignored", "1000", "px"] in lines


def test_everything_as_json_and_a_plot(folder: Path, capsys: Capture) -> None:
    words = ["case.zarr", "truth.tif", "--ignore", "255", "--ignore", "9", "--boundary", "1"]
    assert main(["evaluate", *words, "--plot", "plot.png", "--json"]) == 0
    event = json.loads(capsys.readouterr().out)
    assert event["pixel_accuracy"] == 0.9
    assert event["confusion_matrix"][0] == [1000, 300, 0]
    assert event["mean_boundary_f1"] == pytest.approx(2 / 3)
    assert (folder / "plot.png").is_file()


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("case.zarr",), 2, "TRUTH is missing"),
        (("case.zarr", "truth.tif"), 2, "truth holds class 0 to 255"),
        (("case.zarr", "missing.png"), 3, "missing.png: no such file"),
        (("missing.zarr", "truth.tif"), 3, "does not exist"),
        (("case.zarr", "odd.tif"), 2, "the truth is 70 x 50 px (y, x), the map 80 x 50 px"),
        (("case.zarr", "truth.tif", "--boundary", "-1"), 2, "must not be negative"),
        (("case.zarr", "truth.tif", "--plot", "odd.tif"), 2, "ends in .png"),
    ],
)
def test_a_request_that_cannot_be_met_is_one_line(
    folder: Path, words: tuple[str, ...], code: int, message: str, capsys: Capture
) -> None:
    tifffile.imwrite(folder / "odd.tif", np.zeros((70, 50), np.uint8))
    assert main(["evaluate", *words]) == code
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
