"""Areas, shares and means are those counted by hand."""

from __future__ import annotations

import csv
import json
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from gigafcn.export import export_map
from tests.export.maps import LARGE, blobs, one_hot, write_scores

if TYPE_CHECKING:
    from pathlib import Path


def table(path: Path, **options: Any) -> dict[str, dict[str, Any]]:
    exported = export_map(path, "json", overwrite=True, **options).path
    return {row["name"]: row for row in json.loads(exported.read_text())["classes"]}


def quarter(tmp_path: Path, **spec: Any) -> Path:
    """100 x 100 px: the left half background, of the right 1000 px nuclei, the rest tissue."""
    labels = np.zeros((100, 100), np.int64)
    labels[:, 50:] = 1
    labels[:20, 50:] = 2
    return write_scores(tmp_path / "map.zarr", one_hot(labels, top=255), **spec)


def test_area_share_and_means_by_hand(tmp_path: Path) -> None:
    rows = table(quarter(tmp_path, mpp=(0.5, 0.25), stride=(Fraction(2), Fraction(2))))
    nuclei = rows["nuclei"]
    assert nuclei["pixels"] == 1000
    assert nuclei["area_px"] == 4000
    assert nuclei["area_mm2"] == pytest.approx(1000 * 1.0 * 0.5 * 1e-6)
    assert nuclei["fraction_of_tissue"] == pytest.approx(1000 / 5000)
    assert nuclei["mean_probability"] == pytest.approx((1000 + 9000 * 20 / 255) / 10_000)
    assert nuclei["mean_probability_in_class"] == pytest.approx(1)
    assert rows["background"]["fraction_of_tissue"] is None
    assert rows["tissue"]["fraction_of_tissue"] == pytest.approx(4000 / 5000)


def test_without_a_pixel_size_there_is_no_area_in_mm2(tmp_path: Path) -> None:
    assert table(quarter(tmp_path, mpp=None))["nuclei"]["area_mm2"] is None


def test_what_was_not_computed_counts_nowhere(tmp_path: Path) -> None:
    status = np.array([[1, 2], [1, 3]], np.uint8)
    path = quarter(tmp_path, status=status)
    rows = table(path)
    assert (rows["background"]["pixels"], rows["tissue"]["pixels"]) == (5000, 14 * 80)
    document = json.loads(path.with_suffix(".json").read_text())
    assert (document["pixels"], document["tissue_pixels"]) == (6400, 1400)


def test_a_class_that_is_nowhere_has_no_mean_of_its_own(tmp_path: Path) -> None:
    path = write_scores(tmp_path / "map.zarr", one_hot(np.zeros((64, 64), np.int64)))
    row = table(path)["nuclei"]
    assert (row["pixels"], row["mean_probability_in_class"]) == (0, None)
    assert row["fraction_of_tissue"] is None


def test_a_threshold_counts_pixels_of_every_class_that_reaches_it(tmp_path: Path) -> None:
    rows = table(quarter(tmp_path), threshold=20 / 255)
    assert {row["pixels"] for row in rows.values()} == {10_000}


def test_pieces_add_up_to_the_whole(tmp_path: Path) -> None:
    labels = blobs(LARGE)
    rows = table(write_scores(tmp_path / "map.zarr", one_hot(labels)))
    assert [row["pixels"] for row in rows.values()] == np.bincount(labels.ravel()).tolist()


def test_the_csv_has_the_same_figures(tmp_path: Path) -> None:
    path = quarter(tmp_path)
    rows = table(path)
    with export_map(path, "csv").path.open() as file:
        read = list(csv.DictReader(file))
    for row in read:
        for name, value in list(row.items())[1:]:
            expected = rows[row["class"]][name]
            got = None if value == "" else float(value)
            # six digits are written
            assert got == (None if expected is None else pytest.approx(expected, rel=1e-5))
