"""How well does a map agree with the truth?  The four figures of Long, Shelhamer, Darrell (2015).

All follow from the confusion matrix n, where n[i, j] counts pixels of class i predicted as j, and
t[i] is the sum of row i; so does the Dice coefficient of a class, ``2 IU[i] / (1 + IU[i])``:

- pixel accuracy: ``sum_i n[i, i] / sum_i t[i]``
- mean accuracy: mean over i of ``n[i, i] / t[i]``
- mean IU: mean over i of ``IU[i] = n[i, i] / (t[i] + sum_j n[j, i] - n[i, i])``
- frequency-weighted IU: ``sum_i t[i] IU[i] / sum_i t[i]``

A class that is in neither truth nor prediction has no IU (NaN) and is left out of the mean; one
that is predicted but absent from the truth has IU 0 and counts.  Mean accuracy is over the classes
that the truth holds.  Matrices of parts of an image add up, so a slide is scored piece by piece.

The boundary F1 of Csurka et al. (2013), which the SegNet paper reports, asks how much of the
outlines agrees: per class, precision is the part of the predicted boundary within a tolerance of a
true one, recall the part of the true boundary within it of a predicted one, and F1 their harmonic
mean.  A boundary px of a class has a px of another class above, below, left or right; the image's
edge is no boundary.  Here px of all parts are added up before dividing; the papers average over
images.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isqrt
from typing import Any

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

    accuracy: tuple[float, ...]
    """Part that is found per class; NaN for a class that the truth does not hold."""

    dice: tuple[float, ...]
    """Dice coefficient (F1 of pixels) per class; NaN for a class that is nowhere."""

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
    accuracy = np.divide(right, in_truth, out=np.full(len(right), np.nan), where=held)
    return Metrics(
        pixel_accuracy=float(right.sum() / total),
        mean_accuracy=float(accuracy[held].mean()),
        mean_iu=float(iu[union > 0].mean()),
        frequency_weighted_iu=float((in_truth[held] * iu[held]).sum() / total),
        iu=tuple(float(value) for value in iu),
        accuracy=tuple(float(value) for value in accuracy),
        dice=tuple(float(value) for value in 2 * iu / (1 + iu)),
        pixels=total,
    )


def boundary_counts(
    truth: npt.NDArray[Any],
    predicted: npt.NDArray[Any],
    classes: int,
    *,
    tolerance: int,
    ignore: int | None = None,
    inner: tuple[slice, slice] | None = None,
) -> Matrix:
    """Count boundary pixels, and how many of them lie near one of the other image.

    Parameters
    ----------
    truth, predicted
        Class numbers (y, x).
    classes
        Number of classes.
    tolerance
        Largest distance in px, between centres, that counts as near.
    ignore
        Value in ``truth`` whose pixels are no boundary and make none.
    inner
        The part to count; around it there must be ``tolerance`` + 1 px, or the image's edge.

    Returns
    -------
    int64 array (classes, 4)
        Predicted, predicted near true, true, true near predicted. Parts of an image add up.

    Raises
    ------
    UsageError
        If the shapes differ or the tolerance is negative.

    Examples
    --------
    >>> truth = np.array([[0, 0, 0, 1, 1]])
    >>> boundary_counts(truth, np.array([[0, 0, 1, 1, 1]]), 2, tolerance=1).tolist()
    [[1, 1, 1, 1], [1, 1, 1, 1]]
    """
    if truth.shape != predicted.shape or truth.ndim != 2:
        raise UsageError(f"cannot compare outlines of shapes {truth.shape} and {predicted.shape}")
    if tolerance < 0:
        raise UsageError(f"the boundary's tolerance must not be negative, got {tolerance} px")
    counted = np.ones(truth.shape, bool) if ignore is None else truth != ignore
    part = inner if inner is not None else (slice(None), slice(None))
    edges = [_edges(image, counted) for image in (predicted, truth)]
    found = np.zeros((classes, 4), np.int64)
    for number in range(classes):
        images = zip(edges, (predicted, truth), strict=True)
        mine, true = (edge & (image == number) for edge, image in images)
        for column, (of, to) in enumerate(((mine, true), (true, mine))):
            near = of & _near(to, tolerance) if of.any() else of
            found[number, 2 * column] = np.count_nonzero(of[part])
            found[number, 2 * column + 1] = np.count_nonzero(near[part])
    return found


def boundary_f1(counts: Matrix) -> tuple[float, ...]:
    """Boundary F1 per class from :func:`boundary_counts`; NaN for a class without any boundary.

    Examples
    --------
    >>> boundary_f1(np.array([[10, 5, 4, 4], [0, 0, 3, 0], [0, 0, 0, 0]]))
    (0.6666666666666666, 0.0, nan)
    """
    scores = []
    for predicted, right, true, found in np.asarray(counts, np.int64).tolist():
        precision = right / predicted if predicted else 0.0
        recall = found / true if true else 0.0
        both = precision + recall
        score = 2 * precision * recall / both if both else 0.0
        scores.append(score if predicted or true else float("nan"))
    return tuple(scores)


def _edges(image: npt.NDArray[Any], counted: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Counted pixels with a counted neighbour of another class."""
    edge = np.zeros(image.shape, bool)
    for axis in (0, 1):
        first = (slice(None),) * axis + (slice(None, -1),)
        second = (slice(None),) * axis + (slice(1, None),)
        differ = (image[first] != image[second]) & counted[first] & counted[second]
        edge[first] |= differ
        edge[second] |= differ
    return edge


def _near(mask: npt.NDArray[np.bool_], distance: int) -> npt.NDArray[np.bool_]:
    """Pixels whose centre is within ``distance`` px of that of one in the mask."""
    height, width = mask.shape
    sums = np.zeros((height, width + 1), np.int32)
    np.cumsum(mask, axis=1, out=sums[:, 1:])
    columns = np.arange(width)
    near = np.zeros(mask.shape, bool)
    furthest = min(distance, height - 1)
    for dy in range(-furthest, furthest + 1):
        reach = isqrt(distance * distance - dy * dy)
        left, right = np.maximum(columns - reach, 0), np.minimum(columns + reach + 1, width)
        row = sums[:, right] > sums[:, left]
        near[max(0, -dy) : height - max(0, dy)] |= row[max(0, dy) : height + min(0, dy)]
    return near
