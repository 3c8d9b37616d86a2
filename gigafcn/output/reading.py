"""What does a finished map say of some of its pixels?

Boxes are in level-0 map px.  What was not computed, be it left out as background or failed, is
marked as such in every answer, so that nobody mistakes a fill value for a prediction.

It leaves out what follows from the values: areas, polygons, scores.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from gigafcn.errors import RunError, UsageError
from gigafcn.geometry import Box
from gigafcn.output.chunk_status import ChunkStatus
from gigafcn.output.opening import px_status

if TYPE_CHECKING:
    from collections.abc import Iterator

    import zarr
    from numpy.typing import NDArray

    from gigafcn.output.opening import StoredMap

NOT_COMPUTED = -1
"""Label of a pixel for which the model was not asked, or did not answer."""

PIECE_PX = 1024
"""Side in px of the pieces in which a map is read, rounded to whole chunks."""


def pieces(stored: StoredMap, side: int = PIECE_PX) -> Iterator[Box]:
    """Boxes of about ``side`` px, whole chunks each, that partition the map, row by row."""
    chunk = stored.spec.chunk
    step = max(1, side // chunk) * chunk
    height, width = stored.spec.shape
    for y in range(0, height, step):
        for x in range(0, width, step):
            yield Box(y, x, y + step, x + step).clip(stored.spec.shape)


def read_status(stored: StoredMap, box: Box) -> NDArray[np.uint8]:
    """:class:`~gigafcn.output.chunk_status.ChunkStatus` of each pixel (y, x) of a box."""
    if stored.spec.leaves_out == "px":
        return px_status(stored, 0, box)
    rows, columns = (np.arange(*span) // stored.spec.chunk for span in box.spans)
    found: NDArray[np.uint8] = stored.status[np.ix_(rows, columns)]
    return found


def read_probabilities(stored: StoredMap, box: Box, channel: int) -> NDArray[np.float32]:
    """Scores (y, x) of one class, uint8 divided by 255; NaN where not computed.

    Raises
    ------
    UsageError
        When the map stores no scores of the class.
    """
    plane = plane_of(stored, channel)
    values = read_level(stored, stored.scores[0], box, plane).astype(np.float32)
    if stored.spec.dtype == "uint8":
        values /= np.float32(255)
    computed = read_status(stored, box) == ChunkStatus.COMPUTED
    return values if computed.all() else np.where(computed, values, np.float32(np.nan))


def read_labels(stored: StoredMap, box: Box) -> NDArray[np.int32]:
    """Class number (y, x) of each pixel, :data:`NOT_COMPUTED` where there is none.

    Raises
    ------
    UsageError
        When the map's classes do not exclude each other.
    """
    if stored.labels:
        labels = read_level(stored, stored.labels[0], box).astype(np.int32)
    elif excludes(stored):
        check_scores(stored)
        labels = read_level(stored, stored.scores[0], box).argmax(0).astype(np.int32)
    else:
        raise UsageError(
            f"map {stored.path} has no labels and its classes do not exclude each other; "
            f"give a threshold on the probability"
        )
    labels[read_status(stored, box) != ChunkStatus.COMPUTED] = NOT_COMPUTED
    return labels


def excludes(stored: StoredMap) -> bool:
    """Whether each pixel's class can be told: by stored labels, or by all scores of a softmax."""
    plan, spec = stored.provenance.get("plan", {}), stored.spec
    softmax = isinstance(plan, dict) and plan.get("activation") == "softmax"
    return bool(stored.labels) or (softmax and len(spec.stored) == len(spec.classes) > 1)


def channels_of(stored: StoredMap, names: tuple[str, ...]) -> tuple[int, ...]:
    """Channel of each class name.

    Raises
    ------
    UsageError
        When the map has no class of a name.
    """
    classes = stored.spec.classes
    for name in names:
        if name not in classes:
            raise UsageError(
                f"map {stored.path} has no class {name!r}; its classes are {', '.join(classes)}"
            )
    return tuple(classes.index(name) for name in names)


def check_scores(stored: StoredMap) -> None:
    """Refuse a map of labels alone.

    Raises
    ------
    UsageError
        When the map stores no scores.
    """
    if not stored.scores:
        raise UsageError(
            f"map {stored.path} stores labels only; run infer again with --save both for what "
            f"needs probabilities"
        )


def plane_of(stored: StoredMap, channel: int) -> int:
    """Where the scores of a class lie in the array of scores.

    Raises
    ------
    UsageError
        When the map does not store them.
    """
    check_scores(stored)
    spec = stored.spec
    if channel not in spec.stored:
        raise UsageError(
            f"map {stored.path} stores no scores of class {spec.classes[channel]!r}, only of "
            f"{', '.join(spec.stored_classes)}; run infer again with it in --classes"
        )
    return spec.stored.index(channel)


def read_level(
    stored: StoredMap, array: zarr.Array[Any], box: Box, plane: int | None = None
) -> NDArray[Any]:
    """Values as stored of a box in px of one level's ``array``, of one plane or of all.

    Raises
    ------
    RunError
        When the files are damaged.
    """
    where = box.relative_to(Box(0, 0, 0, 0))
    try:
        return np.asarray(array[(..., *where) if plane is None else (plane, *where)])
    # zarr and its codecs raise errors of many kinds on damaged chunks
    except Exception as error:
        raise RunError(
            f"map {stored.path} cannot be read at {tuple(box)} (y0, x0, y1, x1 in map px): "
            f"{type(error).__name__}: {' '.join(str(error).split())}; its files are damaged"
        ) from error
