"""``evaluate_map``: a finished map against the truth, piece by piece.

Each piece of the map adds to one confusion matrix, so memory does not grow with the map.  A piece
that was left out because there is no tissue counts as the class "background" where the map has
one, and how much that is is reported; whatever else was not computed is not scored, and its size is
reported too.  The model's answer is
the label; for a map of one class, whether its probability reaches a threshold, and any truth but 0
is then that class.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from gigafcn.errors import UsageError
from gigafcn.evaluate.alignment import Alignment, Placement, align
from gigafcn.evaluate.truth import numbers_without_class, open_truth
from gigafcn.geometry import Box
from gigafcn.metrics import Metrics, boundary_counts, boundary_f1, confusion_matrix, metrics
from gigafcn.output.opening import open_map
from gigafcn.output.palette import is_background
from gigafcn.output.placing import downsample, slide_shape, slide_turned
from gigafcn.output.reading import (
    NOT_COMPUTED,
    pieces,
    read_labels,
    read_probabilities,
    read_status,
)
from gigafcn.output.store import ChunkStatus
from gigafcn.progress import Progress, ProgressCallback

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from gigafcn.output.opening import StoredMap
    from gigafcn.slide.opening import Source
    from gigafcn.slide.protocol import Slide

_LEFT_OUT = -1


@dataclass(frozen=True, slots=True)
class Evaluation:
    """How a map agrees with the truth."""

    classes: tuple[str, ...]
    """Names, in the order of the matrix."""

    colours: tuple[str, ...]
    """``RRGGBB`` of each class."""

    matrix: tuple[tuple[int, ...], ...]
    """Pixels by class in truth (rows) and class predicted (columns)."""

    metrics: Metrics
    """Figures that follow from the matrix."""

    boundary_f1: tuple[float, ...] | None
    """Boundary F1 per class, None when not asked for; NaN for a class without boundary."""

    ignored: int
    """Pixels left out because the truth said so."""

    not_computed: int
    """Pixels left out because the map has no answer there."""

    shape: tuple[int, int]
    """Size (y, x) in px of what was compared, on the finer grid."""

    left_out_as_background: int = 0
    """Pixels of the matrix predicted as "background" because there is no tissue: nobody computed
    them, and tables of areas do not count them."""

    @property
    def mean_boundary_f1(self) -> float | None:
        """Mean over classes that have a boundary."""
        known = [f for f in self.boundary_f1 or () if not np.isnan(f)]
        return float(np.mean(known)) if known else None

    def to_json(self) -> dict[str, Any]:
        """Everything as JSON values; what is not defined is None."""
        return {
            "classes": list(self.classes),
            **{name: _plain(value) for name, value in asdict(self.metrics).items()},
            "boundary_f1": _plain(self.boundary_f1),
            "mean_boundary_f1": self.mean_boundary_f1,
            "ignored": self.ignored,
            "not_computed": self.not_computed,
            "left_out_as_background": self.left_out_as_background,
            "shape": list(self.shape),
            "confusion_matrix": [list(row) for row in self.matrix],
        }


def evaluate_map(
    path: str | Path,
    truth: Source,
    *,
    ignore: int | Sequence[int] = (),
    threshold: float = 0.5,
    boundary_px: int | None = None,
    progress: ProgressCallback | None = None,
) -> Evaluation:
    """Score a finished map against a mask.

    Parameters
    ----------
    path
        Directory of the map.
    truth
        Mask of class numbers in the map's order: image file, Zarr array, label image of an
        OME-Zarr, or numpy array; of the size of the map or of the slide, or a whole number of
        times larger or smaller.
    ignore
        Values of the truth whose pixels are not scored; those of a map's labels that are no class
        are not in any case.
    threshold
        For a map of one class: the least probability that means yes.
    boundary_px
        Tolerance of the boundary F1 in px of the finer of map and truth; None leaves it out.
    progress
        Called after each piece.

    Returns
    -------
    Evaluation

    Raises
    ------
    SlideError
        When map or truth cannot be opened.
    UsageError
        When they cannot be compared.
    RunError
        When one of them is damaged.
    """
    if boundary_px is not None and boundary_px < 0:
        raise UsageError(f"the boundary's tolerance must not be negative, got {boundary_px} px")
    stored = open_map(path)
    ignored = (ignore,) if isinstance(ignore, int) else tuple(ignore)
    ignored += numbers_without_class(truth)
    mask = open_truth(truth, orient=slide_turned(stored))
    try:
        alignment = align(_placement(stored), mask.levels[0].shape)
        comparison = _Comparison(stored, mask, alignment, ignored, threshold)
        return _evaluate(comparison, boundary_px, progress)
    finally:
        mask.close()


def _placement(stored: StoredMap) -> Placement:
    down = [Fraction(d).limit_denominator(10_000) for d in downsample(stored)]
    offset = [Fraction(o).limit_denominator(10_000) for o in stored.spec.offset]
    stride = stored.spec.stride
    return Placement(
        stored.spec.shape,
        slide_shape(stored),
        (stride[0] * down[0], stride[1] * down[1]),
        (offset[0] * down[0], offset[1] * down[1]),
    )


@dataclass(frozen=True, slots=True)
class _Comparison:
    """What is compared with what."""

    stored: StoredMap
    mask: Slide
    alignment: Alignment
    ignored: tuple[int, ...]
    threshold: float

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes that are told apart."""
        names = self.stored.spec.classes
        return names if len(names) > 1 else (f"not {names[0]}", names[0])

    @property
    def colours(self) -> tuple[str, ...]:
        """Colours of the same."""
        colours = self.stored.spec.colours
        return colours if len(colours) > 1 else ("B8BCC2", colours[0])

    def pair(self, box: Box) -> tuple[Box, NDArray[np.int64], NDArray[np.int32]]:
        """Fine px of a map box, truth there (ignored ones as such), and prediction."""
        fine = self.alignment.fine(box)
        if fine.is_empty:
            return fine, np.zeros((0, 0), np.int64), np.zeros((0, 0), np.int32)
        truth_box = self.alignment.truth_box(fine)
        truth = self.mask.read(truth_box)[..., 0].astype(np.int64)
        kept = ~np.isin(truth, self.ignored)
        if len(self.stored.spec.classes) == 1:
            truth = (truth != 0).astype(np.int64)
        elif (truth[kept] < 0).any():
            raise UsageError(
                f"the truth holds {int(truth[kept].min())}, which is no class; "
                f"give it as a value to ignore"
            )
        truth[~kept] = _LEFT_OUT
        ny, nx = self.alignment.truth_repeat
        start = Box(truth_box.y0 * ny, truth_box.x0 * nx, 0, 0)
        truth = truth.repeat(ny, 0).repeat(nx, 1)[fine.relative_to(start)]
        return fine, truth, self._fine(box, fine, self._predicted(box))

    def _fine(self, box: Box, fine: Box, values: NDArray[Any]) -> NDArray[Any]:
        """Values of a map box, repeated on the fine px of it that the truth covers."""
        ny, nx = self.alignment.map_repeat
        y, x = self.alignment.origin
        start = Box(y + box.y0 * ny, x + box.x0 * nx, 0, 0)
        return values.repeat(ny, 0).repeat(nx, 1)[fine.relative_to(start)]

    @property
    def _background(self) -> int | None:
        """Number of the class "background", if the map has one."""
        names = enumerate(self.stored.spec.classes)
        return next((i for i, name in names if is_background(name)), None)

    def taken_for_background(self, box: Box, fine: Box, truth: NDArray[np.int64]) -> int:
        """Scored fine px of a map box that are background because they were left out."""
        left_out = read_status(self.stored, box) == ChunkStatus.BACKGROUND
        if self._background is None or not left_out.any():
            return 0
        return int(np.count_nonzero(self._fine(box, fine, left_out) & (truth != _LEFT_OUT)))

    def _predicted(self, box: Box) -> NDArray[np.int32]:
        names = self.stored.spec.classes
        if len(names) == 1:
            values = read_probabilities(self.stored, box, 0)
            labels = (values >= np.float32(self.threshold)).astype(np.int32)
            labels[np.isnan(values)] = NOT_COMPUTED
        else:
            labels = read_labels(self.stored, box)
        if self._background is not None:
            labels[read_status(self.stored, box) == ChunkStatus.BACKGROUND] = self._background
        return labels


def _evaluate(
    comparison: _Comparison, boundary_px: int | None, progress: ProgressCallback | None
) -> Evaluation:
    stored, count = comparison.stored, len(comparison.classes)
    matrix, outlines = np.zeros((count, count), np.int64), np.zeros((count, 4), np.int64)
    ignored = missing = assumed = 0
    boxes = list(pieces(stored))
    began, done = time.perf_counter(), 0
    for number, box in enumerate(boxes, start=1):
        fine, truth, predicted = comparison.pair(box)
        if not fine.is_empty:
            ignored += int(np.count_nonzero(truth == _LEFT_OUT))
            lost = (predicted == NOT_COMPUTED) & (truth != _LEFT_OUT)
            missing += int(np.count_nonzero(lost))
            assumed += comparison.taken_for_background(box, fine, truth)
            truth[lost] = _LEFT_OUT
            matrix += confusion_matrix(truth, predicted, count, ignore=_LEFT_OUT)
            if boundary_px is not None:
                outlines += _outlines(comparison, box, fine, boundary_px)
        done += box.area
        if progress is not None:
            total, seconds = Box.whole(stored.spec.shape).area, time.perf_counter() - began
            progress(Progress("evaluate", number, len(boxes), done, total, seconds))
    return Evaluation(
        comparison.classes,
        comparison.colours,
        tuple(tuple(row) for row in matrix.tolist()),
        metrics(matrix),
        None if boundary_px is None else boundary_f1(outlines),
        ignored,
        missing,
        comparison.alignment.fine(Box.whole(stored.spec.shape)).shape,
        assumed,
    )


def _outlines(comparison: _Comparison, box: Box, fine: Box, tolerance: int) -> NDArray[np.int64]:
    """Boundary counts of a piece, seen with as much around it as the tolerance reaches."""
    margin = [-(-(tolerance + 1) // repeat) for repeat in comparison.alignment.map_repeat]
    wide = Box(box.y0 - margin[0], box.x0 - margin[1], box.y1 + margin[0], box.x1 + margin[1])
    around, truth, predicted = comparison.pair(wide.clip(comparison.stored.spec.shape))
    truth[predicted == NOT_COMPUTED] = _LEFT_OUT
    return boundary_counts(
        truth,
        predicted,
        len(comparison.classes),
        tolerance=tolerance,
        ignore=_LEFT_OUT,
        inner=fine.relative_to(around),
    )


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(v) for v in value]
    return None if isinstance(value, float) and np.isnan(value) else value
