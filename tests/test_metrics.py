"""Are the figures those of Long et al., by hand?"""

from __future__ import annotations

import numpy as np
import pytest

from gigafcn.errors import UsageError
from gigafcn.metrics import confusion_matrix, metrics


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
