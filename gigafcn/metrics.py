"""How well does a map agree with the truth?  The four figures of Long, Shelhamer, Darrell (2015).

All follow from the confusion matrix n, where n[i, j] counts pixels of class i predicted as j, and
t[i] is the sum of row i:

- pixel accuracy: ``sum_i n[i, i] / sum_i t[i]``
- mean accuracy: mean over i of ``n[i, i] / t[i]``
- mean IU: mean over i of ``IU[i] = n[i, i] / (t[i] + sum_j n[j, i] - n[i, i])``
- frequency-weighted IU: ``sum_i t[i] IU[i] / sum_i t[i]``

A class that is in neither truth nor prediction has no IU (NaN) and is left out of the mean; one
that is predicted but absent from the truth has IU 0 and counts.  Mean accuracy is over the classes
that the truth holds.  Matrices of parts of an image add up, so a slide is scored piece by piece.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gigafcn.errors import UsageError

Matrix = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Metrics:
    """Agreement of a prediction with the truth, each figure in 0..1."""

    pixel_accuracy: float
    """Part of the pixels that are right."""

    mean_accuracy: float
    """Mean over classes of the part of the class that is found."""

    mean_iu: float
    """Mean over classes of intersection over union."""

    frequency_weighted_iu: float
    """Intersection over union, classes weighted by their pixels in the truth."""

    iu: tuple[float, ...]
    """Intersection over union per class; NaN for a class that is nowhere."""

    pixels: int
    """Pixels counted."""


def confusion_matrix(
    truth: npt.ArrayLike, predicted: npt.ArrayLike, classes: int, ignore: int | None = None
) -> Matrix:
    """Count the pixels of each pair (class in truth, class predicted).

    Parameters
    ----------
    truth, predicted
        Class numbers, of equal shape.
    classes
        Number of classes.
    ignore
        Value in ``truth`` whose pixels are left out.

    Returns
    -------
    int64 array (classes, classes)
        Rows are the truth, columns the prediction.

    Raises
    ------
    UsageError
        If the shapes differ or a value is no class.

    Examples
    --------
    >>> confusion_matrix([0, 0, 1, 9], [0, 1, 1, 0], 2, ignore=9)
    array([[1, 1],
           [0, 1]])
    """
    rows, columns = np.asarray(truth), np.asarray(predicted)
    if rows.shape != columns.shape:
        raise UsageError(
            f"cannot compare: truth has shape {rows.shape}, prediction {columns.shape}; "
            f"they must be equal"
        )
    rows, columns = rows.ravel(), columns.ravel()
    if ignore is not None:
        counted = rows != ignore
        rows, columns = rows[counted], columns[counted]
    for name, values in (("truth", rows), ("prediction", columns)):
        if values.size and not (values.min() >= 0 and values.max() < classes):
            raise UsageError(
                f"cannot compare: {name} holds class {values.min()} to {values.max()}, "
                f"but classes are 0 to {classes - 1}; give the value to leave out as ignore"
            )
    pairs = rows.astype(np.int64) * classes + columns.astype(np.int64)
    return np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)


def metrics(matrix: Matrix) -> Metrics:
    """Compute the figures of a confusion matrix (truth in rows).

    Raises
    ------
    UsageError
        If the matrix is not square or counts no pixel.

    Examples
    --------
    >>> metrics(confusion_matrix([0, 0, 0, 1], [0, 0, 1, 1], 2)).pixel_accuracy
    0.75
    """
    n = np.asarray(matrix, np.int64)
    if n.ndim != 2 or n.shape[0] != n.shape[1]:
        raise UsageError(f"a confusion matrix is square, got shape {n.shape}")
    total = int(n.sum())
    if total == 0:
        raise UsageError("cannot score: the confusion matrix counts no pixel")
    right = n.diagonal().astype(np.float64)
    in_truth = n.sum(axis=1).astype(np.float64)
    union = in_truth + n.sum(axis=0) - right
    iu = np.divide(right, union, out=np.full(len(right), np.nan), where=union > 0)
    held = in_truth > 0
    return Metrics(
        pixel_accuracy=float(right.sum() / total),
        mean_accuracy=float((right[held] / in_truth[held]).mean()),
        mean_iu=float(iu[union > 0].mean()),
        frequency_weighted_iu=float((in_truth[held] * iu[held]).sum() / total),
        iu=tuple(float(value) for value in iu),
        pixels=total,
    )
