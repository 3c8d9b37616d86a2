"""What is in a finished map.

:func:`open_map` reads back the spec, the arrays of every level, the status and the provenance of
a map that gigafcn wrote, for pictures, evaluation and export.  It reads nothing of the pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import zarr

from gigafcn.errors import SlideError, UsageError
from gigafcn.geometry import Box
from gigafcn.output.chunk_status import ChunkStatus
from gigafcn.output.label_codes import codes_of
from gigafcn.output.ownership import KEY, attributes_of, is_ours
from gigafcn.output.spec import (
    MapLevel,
    MapSpec,
    computed_path,
    labels_path,
    map_levels,
    scores_path,
)
from gigafcn.output.store import STATUS_PATH
from gigafcn.storage.url_path import place_of
from gigafcn.storage.zarr_stores import store_at

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


Masked: TypeAlias = "np.ma.MaskedArray[Any, np.dtype[Any]]"
"""Values, and where there is none."""


@dataclass(frozen=True, slots=True)
class StoredMap:
    """A finished map, open for reading."""

    path: Path
    """Directory of the store."""

    spec: MapSpec
    """Its layout."""

    levels: tuple[MapLevel, ...]
    """Levels of the pyramid, finest first."""

    scores: tuple[zarr.Array[Any], ...]
    """Scores (c, y, x) of the stored classes per level; empty when not stored."""

    labels: tuple[zarr.Array[Any], ...]
    """Argmax (y, x) per level; empty when not stored. :meth:`masked_labels` masks what is none."""

    marks: tuple[zarr.Array[Any], ...]
    """(y, x) per level: 1 where a px was computed, else a code; empty when not stored."""

    status: NDArray[np.uint8]
    """:class:`~gigafcn.output.store.ChunkStatus` per level-0 chunk (y, x)."""

    provenance: dict[str, Any]
    """What the run said about itself."""

    def computed(self, level: int) -> NDArray[np.bool_]:
        """Pixels (y, x) of ``level`` of which any level-0 pixel was computed."""
        return self.with_status(level, ChunkStatus.COMPUTED)

    def with_status(self, level: int, status: ChunkStatus) -> NDArray[np.bool_]:
        """Pixels (y, x) of ``level`` of a status: computed goes before failed, failed before none.

        What is stored px by px tells, where it is, else the status of chunks.
        """
        return np.equal(px_status(self, level, Box.whole(self.levels[level].shape)), status)

    def masked_labels(self, level: int = 0, box: Box | None = None) -> Masked:
        """Labels (y, x) of a box of a level, of all of it for None; px without a class are masked.

        Raises
        ------
        UsageError
            When the map stores no labels.
        """
        if not self.labels:
            raise UsageError(f"map {self.path} stores no labels")
        return self._masked(self.labels[level], level, box)

    def masked_scores(self, name: str, level: int = 0, box: Box | None = None) -> Masked:
        """Stored scores (y, x) of a class; px that were not computed are masked.

        Raises
        ------
        UsageError
            When the map stores no scores of that class.
        """
        if name not in self.spec.stored_classes:
            raise UsageError(
                f"map {self.path} stores no scores of class {name!r}, only of "
                f"{', '.join(self.spec.stored_classes) or 'none'}"
            )
        plane = self.spec.stored_classes.index(name)
        return self._masked(self.scores[level], level, box, plane)

    def _masked(self, array: zarr.Array[Any], level: int, box: Box | None, *plane: int) -> Masked:
        box = Box.whole(self.levels[level].shape) if box is None else box
        where: tuple[int | slice, ...] = (*plane, *box.relative_to(Box(0, 0, 0, 0)))
        values = np.asarray(array[where])
        return np.ma.MaskedArray(values, px_status(self, level, box) != ChunkStatus.COMPUTED)


def px_status(stored: StoredMap, level: int, box: Box) -> NDArray[np.uint8]:
    """:class:`~gigafcn.output.chunk_status.ChunkStatus` of each px (y, x) of a box of a level."""
    array = next((each[level] for each in (stored.labels, stored.marks) if each), None)
    if array is not None and stored.spec.coded:
        return _decoded(np.asarray(array[box.relative_to(Box(0, 0, 0, 0))]))
    found = _of_chunks(stored, level, box)
    if stored.spec.leaves_out == "px":  # floats alone: what was left out is NaN
        values = np.asarray(stored.scores[level][(0, *box.relative_to(Box(0, 0, 0, 0)))])
        found[np.isnan(values) & (found == ChunkStatus.COMPUTED)] = ChunkStatus.BACKGROUND
    return found


def _decoded(labels: NDArray[Any]) -> NDArray[np.uint8]:
    codes = codes_of(labels.dtype)
    found = np.full(labels.shape, ChunkStatus.COMPUTED, np.uint8)
    found[labels == codes.left_out] = ChunkStatus.BACKGROUND
    found[labels == codes.failed] = ChunkStatus.FAILED
    return found


def coded_labels(labels: NDArray[Any], status: NDArray[np.uint8]) -> NDArray[Any]:
    """Labels (y, x) of a map of gigafcn 0.1 with the codes that later ones store."""
    codes = codes_of(labels.dtype)
    labels = np.where(status == ChunkStatus.FAILED, codes.failed, labels).astype(labels.dtype)
    labels[(status != ChunkStatus.FAILED) & (status != ChunkStatus.COMPUTED)] = codes.left_out
    return labels


def _of_chunks(stored: StoredMap, level: int, box: Box) -> NDArray[np.uint8]:
    """What the status of chunks says of px (y, x), each of which may cover several chunks."""
    factor, cells = stored.levels[level].factor, stored.status
    rank = np.select(
        [cells == ChunkStatus.COMPUTED, cells == ChunkStatus.FAILED], [2, 1], 0
    ).astype(np.uint8)
    for axis, span in enumerate(box.spans):
        first = np.arange(span.start, span.stop) * factor // stored.spec.chunk
        if factor <= stored.spec.chunk:
            rank = rank.take(first, axis=axis)
        else:
            stop = min(span.stop * factor // stored.spec.chunk, cells.shape[axis])
            rank = np.maximum.reduceat(rank.take(range(stop), axis=axis), first, axis=axis)
    names = np.array([ChunkStatus.BACKGROUND, ChunkStatus.FAILED, ChunkStatus.COMPUTED], np.uint8)
    return names[rank]


def open_map(path: str | Path) -> StoredMap:
    """Open a finished map.

    Parameters
    ----------
    path
        Directory of the store.

    Raises
    ------
    SlideError
        When there is no finished map of gigafcn, or it cannot be read.
    """
    root = place_of(path)
    if not root.is_dir():
        raise SlideError(f"map {root} does not exist or is not a directory")
    described = attributes_of(root).get(KEY)
    if not isinstance(described, dict) or "map" not in described:
        reason = "its run did not finish" if is_ours(root) else "gigafcn did not write it"
        raise SlideError(f"map {root} cannot be opened: {reason}")
    try:
        spec = MapSpec.from_json(described["map"])
        levels = map_levels(spec)
        status = _open(root / STATUS_PATH)
        return StoredMap(
            path=root,
            spec=spec,
            levels=levels,
            scores=tuple(_open(root / scores_path(k)) for k in range(len(levels)))
            if spec.stored
            else (),
            labels=tuple(_open(root / labels_path(k)) for k in range(len(levels)))
            if spec.labels
            else (),
            marks=tuple(_open(root / computed_path(k)) for k in range(len(levels)))
            if spec.marks_computed
            else (),
            status=np.asarray(status[...], np.uint8),
            provenance={k: v for k, v in described.items() if k not in {"map", "status"}},
        )
    except (OSError, UsageError, ValueError) as error:
        raise SlideError(f"map {root} cannot be opened: {error}") from error


def _open(path: Path) -> zarr.Array[Any]:
    return zarr.open_array(store_at(path), mode="r")
