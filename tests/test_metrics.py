"""Are the figures those of Long et al., by hand?"""

from __future__ import annotations

import numpy as np
import pytest

from gigafcn.errors import UsageError
from gigafcn.metrics import boundary_counts, boundary_f1, confusion_matrix, metrics


def test_pixels_are_counted_by_truth_in_rows_and_prediction_in_columns() -> None:
    truth = [[0, 0, 1], [1, 2, 2]]
    predicted = [[0, 1, 1], [1, 2, 0]]
    assert confusion_matrix(truth, predicted, 3).tolist() == [[1, 1, 0], [0, 2, 0], [1, 0, 1]]


def test_ignored_pixels_of_the_truth_are_not_counted() -> None:
    assert confusion_matrix([0, 255, 1], [0, 1, 0], 2, ignore=255).tolist() == [[1, 0], [1, 0]]


def test_matrices_of_parts_add_up_to_that_of_the_whole() -> None:
    rng = np.random.default_rng(0)
    truth, predicted = rng.integers(0, 3, (2, 40, 50)).astype(np.uint8)
    parts = confusion_matrix(truth[:7], predicted[:7], 3) + confusion_matrix(
        truth[7:], predicted[7:], 3
    )
    assert (parts == confusion_matrix(truth, predicted, 3)).all()


def test_the_four_figures_are_those_computed_by_hand() -> None:
    # t = (6, 4, 2); IU = 5/(6+6-5), 3/(4+4-3), 1/(2+2-1); right = 9 of 12.
    found = metrics(np.array([[5, 1, 0], [0, 3, 1], [1, 0, 1]]))
    assert found.iu == pytest.approx((5 / 7, 3 / 5, 1 / 3))
    assert found.pixel_accuracy == pytest.approx(9 / 12)
    assert found.mean_accuracy == pytest.approx((5 / 6 + 3 / 4 + 1 / 2) / 3)
    assert found.mean_iu == pytest.approx((5 / 7 + 3 / 5 + 1 / 3) / 3)
    assert found.frequency_weighted_iu == pytest.approx((6 * 5 / 7 + 4 * 3 / 5 + 2 / 3) / 12)
    assert found.pixels == 12


def test_a_class_that_is_nowhere_is_left_out_of_the_means() -> None:
    found = metrics(np.array([[3, 1, 0], [0, 4, 0], [0, 0, 0]]))
    assert np.isnan(found.iu[2])
    assert found.mean_iu == pytest.approx((3 / 4 + 4 / 5) / 2)
    assert found.mean_accuracy == pytest.approx((3 / 4 + 1) / 2)


def test_a_class_predicted_but_absent_from_the_truth_counts_as_zero() -> None:
    found = metrics(np.array([[3, 1], [0, 0]]))
    assert found.iu == (0.75, 0.0)
    assert found.mean_iu == pytest.approx(0.375)
    assert found.mean_accuracy == pytest.approx(0.75)


def test_a_perfect_prediction_scores_one_everywhere() -> None:
    found = metrics(np.diag([5, 7]))
    assert (found.pixel_accuracy, found.mean_accuracy, found.mean_iu) == (1, 1, 1)
    assert found.frequency_weighted_iu == 1


@pytest.mark.parametrize(
    ("truth", "predicted", "message"),
    [
        ([0, 1], [0], "shape"),
        ([0, 3], [0, 1], "truth holds class 0 to 3"),
        ([0, 1], [-1, 1], "prediction holds class -1 to 1"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    truth: list[int], predicted: list[int], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        confusion_matrix(truth, predicted, 2)


def test_an_empty_matrix_is_refused() -> None:
    with pytest.raises(UsageError, match="no pixel"):
        metrics(np.zeros((2, 2), np.int64))


def test_dice_and_accuracy_of_a_class_are_those_computed_by_hand() -> None:
    # t = (6, 4, 2), predicted (6, 4, 2): Dice = 2 * right / (t + predicted).
    found = metrics(np.array([[5, 1, 0], [0, 3, 1], [1, 0, 1]]))
    assert found.dice == pytest.approx((10 / 12, 6 / 8, 2 / 4))
    assert found.accuracy == pytest.approx((5 / 6, 3 / 4, 1 / 2))


def test_dice_and_accuracy_of_a_class_that_is_nowhere_are_not_defined() -> None:
    found = metrics(np.array([[3, 0, 1], [0, 0, 0], [0, 0, 0]]))
    assert np.isnan(found.dice[1])
    assert np.isnan(found.accuracy[1:]).all()
    assert found.dice[2] == 0


def test_boundary_counts_by_hand() -> None:
    # The truth changes between columns 3 and 4, the prediction between 5 and 6: 4 rows each.
    truth = np.tile([0, 0, 0, 0, 1, 1, 1, 1, 1, 1], (4, 1))
    predicted = np.tile([0, 0, 0, 0, 0, 0, 1, 1, 1, 1], (4, 1))
    within = boundary_counts(truth, predicted, 2, tolerance=2)
    beyond = boundary_counts(truth, predicted, 2, tolerance=1)
    assert within.tolist() == [[4, 4, 4, 4], [4, 4, 4, 4]]
    assert beyond.tolist() == [[4, 0, 4, 0], [4, 0, 4, 0]]


def test_the_tolerance_is_a_euclidean_distance() -> None:
    truth, predicted = np.zeros((2, 12, 12), np.int64)
    truth[2, 2] = predicted[5, 6] = 1  # 5 px apart
    assert boundary_counts(truth, predicted, 2, tolerance=5)[1].tolist() == [1, 1, 1, 1]
    assert boundary_counts(truth, predicted, 2, tolerance=4)[1].tolist() == [1, 0, 1, 0]


def test_the_edge_of_the_image_and_ignored_pixels_make_no_boundary() -> None:
    truth, predicted = np.ones((2, 4, 4), np.int64)
    truth[:, 2] = 255
    predicted[:, 2] = 0
    counts = boundary_counts(truth, predicted, 2, tolerance=0, ignore=255)
    assert counts.tolist() == [[0] * 4, [0] * 4]
    assert np.isnan(boundary_f1(counts)).all()


def test_boundary_counts_of_parts_with_margins_add_up_to_those_of_the_whole() -> None:
    rng = np.random.default_rng(0)
    truth, predicted = rng.integers(0, 3, (2, 30, 40)).repeat(3, axis=1).repeat(3, axis=2)
    whole = boundary_counts(truth, predicted, 3, tolerance=4)
    total = np.zeros((3, 4), np.int64)
    for start in range(0, 90, 31):
        top, bottom = max(0, start - 5), min(90, start + 31 + 5)
        inner = (slice(start - top, min(90, start + 31) - top), slice(None))
        part = truth[top:bottom], predicted[top:bottom]
        total += boundary_counts(*part, 3, tolerance=4, inner=inner)
    assert (total == whole).all()


def test_boundary_f1_is_the_harmonic_mean_of_precision_and_recall() -> None:
    # 6 of 8 predicted lie near, 3 of 12 true ones are found: 2 * 0.75 * 0.25 / 1.
    assert boundary_f1(np.array([[8, 6, 12, 3]])) == pytest.approx((0.375,))


def test_a_negative_tolerance_is_refused() -> None:
    with pytest.raises(UsageError, match="must not be negative, got -1 px"):
        boundary_counts(np.zeros((2, 2)), np.zeros((2, 2)), 1, tolerance=-1)
