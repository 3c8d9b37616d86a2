"""Piece by piece gives the figures of the whole arrays."""

from __future__ import annotations

import csv
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
import zarr
from PIL import Image

from gigafcn.errors import SlideError, UsageError
from gigafcn.evaluate import evaluate_map, write_plot
from gigafcn.export import export_map
from gigafcn.metrics import boundary_counts, boundary_f1, confusion_matrix
from tests.export.maps import LARGE, blobs, one_hot, write_scores

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

Labels = np.ndarray[Any, np.dtype[np.uint8]]


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A map in four pieces."""
    return write_scores(tmp_path_factory.mktemp("maps") / "large.zarr", one_hot(blobs()))


def shifted(labels: NDArray[Any]) -> NDArray[np.uint8]:
    """A truth that differs from the labels, with some pixels to ignore."""
    truth = np.roll(labels, (3, 2), axis=(0, 1)).astype(np.uint8)
    truth[40:60, 1000:1100] = 255
    return truth


def matrix(truth: NDArray[Any], predicted: NDArray[Any], ignore: int | None = None) -> Any:
    return tuple(map(tuple, confusion_matrix(truth, predicted, 3, ignore).tolist()))


def test_the_matrix_is_that_of_the_whole_arrays(large: Path) -> None:
    truth = shifted(blobs())
    found = evaluate_map(large, truth, ignore=255)
    assert found.matrix == matrix(truth, blobs(), 255)
    assert (found.ignored, found.not_computed, found.shape) == (2000, 0, LARGE)
    assert found.classes == ("background", "tissue", "nuclei")


def test_the_boundary_f1_is_that_of_the_whole_arrays(large: Path) -> None:
    truth = shifted(blobs())
    found = evaluate_map(large, truth, ignore=255, boundary_px=3)
    counts = boundary_counts(truth, blobs(), 3, tolerance=3, ignore=255)
    assert found.boundary_f1 == boundary_f1(counts)
    assert found.mean_boundary_f1 == pytest.approx(np.mean(boundary_f1(counts)))


def test_a_truth_of_the_slide_is_compared_with_a_strided_map_pixel_by_pixel(
    tmp_path: Path,
) -> None:
    truth = blobs((301, 398)).astype(np.uint8)
    coarse = truth[2::4, 2::4]
    provenance = {"slide": {"shape": [301, 398]}}
    stride = (Fraction(4), Fraction(4))
    cells = np.zeros((76, 100), np.uint8)
    cells[:75, :99] = coarse[:75, :99]
    path = write_scores(tmp_path / "m.zarr", one_hot(cells), stride=stride, provenance=provenance)
    repeated = cells.repeat(4, 0).repeat(4, 1)[:301, :398]
    found = evaluate_map(path, truth, boundary_px=2)
    assert found.matrix == matrix(truth, repeated)
    assert found.boundary_f1 == boundary_f1(boundary_counts(truth, repeated, 3, tolerance=2))


def test_a_coarse_truth_is_repeated(large: Path) -> None:
    truth = blobs()[::4, ::4].astype(np.uint8)
    repeated = truth.repeat(4, 0).repeat(4, 1)[: LARGE[0], : LARGE[1]]
    assert evaluate_map(large, truth).matrix == matrix(repeated, blobs())


def test_a_region_is_compared_with_its_part_of_the_slides_truth(tmp_path: Path) -> None:
    truth = blobs((400, 500)).astype(np.uint8)
    part = truth[100:260, 200:420]
    path = write_scores(
        tmp_path / "m.zarr",
        one_hot(part),
        offset=(100.0, 200.0),
        provenance={"slide": {"shape": [400, 500]}},
    )
    assert evaluate_map(path, truth).metrics.pixel_accuracy == 1
    assert evaluate_map(path, part).metrics.pixel_accuracy == 1


def test_what_has_no_tissue_counts_as_background_and_what_failed_not_at_all(
    tmp_path: Path,
) -> None:
    truth = np.ones((128, 128), np.uint8)
    truth[:, 64:] = 0
    status = np.array([[1, 2], [3, 1]], np.uint8)
    path = write_scores(tmp_path / "m.zarr", one_hot(truth), status=status)
    found = evaluate_map(path, truth)
    assert found.matrix == ((2 * 4096, 0, 0), (0, 4096, 0), (0, 0, 0))
    assert found.not_computed == 4096
    # What the table of areas counts, which knows only what was computed.
    export_map(path, "csv", tmp_path / "m.csv")
    with (tmp_path / "m.csv").open(encoding="utf-8", newline="") as file:
        computed = [int(row["pixels"]) for row in csv.DictReader(file)]
    assert found.left_out_as_background == 4096
    assert computed == [2 * 4096 - found.left_out_as_background, 4096, 0]


def test_labels_follow_from_softmax_scores_when_none_are_stored(tmp_path: Path) -> None:
    labels = blobs((100, 90))
    path = write_scores(
        tmp_path / "m.zarr",
        one_hot(labels),
        labels=False,
        provenance={"plan": {"activation": "softmax"}},
    )
    assert evaluate_map(path, labels.astype(np.uint8)).metrics.mean_iu == 1


def test_classes_that_do_not_exclude_each_other_are_refused(tmp_path: Path) -> None:
    path = write_scores(
        tmp_path / "m.zarr", np.zeros((2, 64, 64), np.uint8), classes=("a", "b"), labels=False
    )
    with pytest.raises(UsageError, match="do not exclude each other"):
        evaluate_map(path, np.zeros((64, 64), np.uint8))


def test_a_map_of_one_class_says_yes_from_its_threshold_on(tmp_path: Path) -> None:
    scores = np.arange(0, 250, dtype=np.uint8).reshape(1, 25, 10)
    path = write_scores(tmp_path / "m.zarr", scores, classes=("tumour",), labels=False)
    truth = np.where(scores[0] >= 128, 255, 0).astype(np.uint8)
    found = evaluate_map(path, truth)
    assert found.classes == ("not tumour", "tumour")
    assert found.matrix == ((128, 0), (0, 122))
    assert evaluate_map(path, truth, threshold=0.2).matrix == ((51, 77), (0, 122))


def test_truths_of_every_kind_are_read_alike(tmp_path: Path) -> None:
    labels = blobs((200, 180)).astype(np.uint8)
    path = write_scores(tmp_path / "m.zarr", one_hot(labels))
    Image.fromarray(labels).save(tmp_path / "grey.png")
    palette = Image.fromarray(labels).convert("P")
    palette.putpalette([9, 9, 9, 200, 0, 0, 0, 0, 200])
    palette.save(tmp_path / "palette.png")
    tifffile.imwrite(tmp_path / "mask.tif", labels, tile=(64, 64), compression="zlib")
    zarr.create_array(str(tmp_path / "mask.zarr"), data=labels, chunks=(64, 64))
    truths: list[Any] = [labels, labels.astype(np.int32), path, path / "labels" / "classes"]
    truths += [tmp_path / n for n in ("grey.png", "palette.png", "mask.tif", "mask.zarr")]
    for truth in truths:
        assert evaluate_map(path, truth).metrics.pixel_accuracy == 1, truth


@pytest.mark.parametrize(
    ("truth", "message"),
    [
        (np.zeros((64, 64, 3), np.uint8), "3 channels of uint8; .* convert colours to numbers"),
        (np.zeros((64, 64), np.float32), "1 channels of float32"),
    ],
)
def test_a_truth_that_is_no_mask_is_refused(
    tmp_path: Path, truth: NDArray[Any], message: str
) -> None:
    path = write_scores(tmp_path / "m.zarr", one_hot(np.zeros((64, 64))))
    with pytest.raises(SlideError, match=message):
        evaluate_map(path, truth)


@pytest.mark.parametrize(("value", "dtype"), [(3, np.uint8), (-1, np.int16)])
def test_a_value_that_is_no_class_must_be_ignored(tmp_path: Path, value: int, dtype: Any) -> None:
    path = write_scores(tmp_path / "m.zarr", one_hot(np.zeros((64, 64))))
    truth = np.zeros((64, 64), dtype)
    truth[5, 5] = value
    with pytest.raises(UsageError, match="ignore"):
        evaluate_map(path, truth)
    assert evaluate_map(path, truth, ignore=(value, 9)).ignored == 1


def test_a_truth_that_ignores_everything_is_refused(tmp_path: Path) -> None:
    path = write_scores(tmp_path / "m.zarr", one_hot(np.zeros((64, 64))))
    with pytest.raises(UsageError, match="counts no pixel"):
        evaluate_map(path, np.zeros((64, 64), np.uint8), ignore=0)


def test_the_plot_is_a_picture_that_only_replaces_itself(large: Path, tmp_path: Path) -> None:
    found = evaluate_map(large, shifted(blobs()), ignore=255, boundary_px=2)
    target = tmp_path / "plots" / "a.png"
    write_plot(target, found, title="large")
    with Image.open(target) as picture:
        assert picture.format == "PNG"
    with pytest.raises(UsageError, match="exists; choose another name or replace"):
        write_plot(target, found)
    write_plot(target, found, overwrite=True)
    target.write_bytes(b"mine")
    with pytest.raises(UsageError, match="not written by gigafcn"):
        write_plot(target, found, overwrite=True)
    with pytest.raises(UsageError, match=r"ends in \.png"):
        write_plot(tmp_path / "a.pdf", found)


def test_what_is_not_defined_is_null_in_json(tmp_path: Path) -> None:
    path = write_scores(tmp_path / "m.zarr", one_hot(np.zeros((64, 64))))
    values = evaluate_map(path, np.zeros((64, 64), np.uint8), boundary_px=1).to_json()
    assert values["iu"] == [1.0, None, None]
    assert values["boundary_f1"] == [None, None, None]
    assert values["mean_boundary_f1"] is None
