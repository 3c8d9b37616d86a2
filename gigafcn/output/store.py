"""How tiles get into a map.

:func:`create_map` makes every array but not the root ``zarr.json``, so nothing opens the map yet.
Any number of processes then hold a :class:`MapStore` and write whole shards: a tile is a whole
number of shards and one task owns it, so no two tasks touch one object and nothing is locked.
``finish_map`` (in :mod:`gigafcn.output.metadata`) ends it.

The status array is not written by tasks.  Its cells are one byte per chunk (150 kB for a slide of
100 000 x 100 000 px), so one status object per task would double the number of files, and a
shared one would be written by two tasks.  Instead :meth:`MapStore.write` returns the cells of its
box, the driver keeps them (in memory and receipts) and hands the whole array to ``finish_map``.  A
run that dies has a status array that reads "absent" everywhere, and no root document either.

It leaves out the pyramid, metadata, and any check of the values: they arrive quantised.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr

from gigafcn.errors import RunError, UsageError
from gigafcn.output.chunk_status import ChunkStatus as ChunkStatus
from gigafcn.output.chunk_status import status_codes
from gigafcn.output.disk import storing
from gigafcn.output.label_codes import codes_of
from gigafcn.output.ownership import KEY, attributes_of, make_room
from gigafcn.output.shards import ShardedArray, create_array
from gigafcn.output.spec import (
    STATUS_CHUNK,
    MapSpec,
    array_kinds,
    coded_kind,
    map_levels,
    scores_path,
    status_slices,
)
from gigafcn.output.tile_pyramid import TilePyramid
from gigafcn.storage.url_path import place_of
from gigafcn.storage.zarr_stores import store_at

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from gigafcn.geometry import Box

STATUS_PATH = "status"
"""Path of the status array inside the store."""

_BAD_PLACE = frozenset(
    {errno.EACCES, errno.EEXIST, errno.ENAMETOOLONG, errno.ENOTDIR, errno.EPERM, errno.EROFS}
)


def create_map(path: str | Path, spec: MapSpec, *, overwrite: bool = False) -> None:
    """Create the arrays of a map, without the root document that makes it openable.

    Parameters
    ----------
    path
        Directory of the store, by custom ending in ``.zarr``; parents are made.
    spec
        Layout of the map.
    overwrite
        Replace an earlier map of gigafcn, finished or not; nothing else is ever replaced.

    Raises
    ------
    UsageError
        When the path is taken or cannot be created.
    RunError
        When the disk refuses.
    """
    root = place_of(path)
    with storing(root, spec, "the layout"):
        make_room(root, overwrite=overwrite)
        try:
            root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            if error.errno not in _BAD_PLACE:
                raise
            reason = error.strerror
            raise UsageError(
                f"output {root} cannot be created: {reason}; choose another place"
            ) from error
        _create_status(root, spec)  # first: it marks the directory as gigafcn's
        for k, level in enumerate(map_levels(spec)):
            for kind in array_kinds(spec):
                shape = level.shape if kind.planes is None else (kind.planes, *level.shape)
                create_array(root / kind.path(k), shape, level, dtype=kind.dtype, fill=kind.fill)


def _create_status(root: Path, spec: MapSpec) -> None:
    zarr.create_array(
        store=store_at(root / STATUS_PATH),
        shape=spec.status_shape,
        dtype="uint8",
        chunks=tuple(min(STATUS_CHUNK, cells) for cells in spec.status_shape),
        fill_value=int(ChunkStatus.ABSENT),
        dimension_names=("y", "x"),
        attributes={KEY: {"map": spec.to_json(), "codes": status_codes()}},
    )


def empty_status(spec: MapSpec) -> NDArray[np.uint8]:
    """Status cells (y, x) of a map in which nothing is written, for the driver to fill in."""
    return np.full(spec.status_shape, ChunkStatus.ABSENT, np.uint8)


class MapStore:
    """A created map that takes level-0 shards, in this process.

    Parameters
    ----------
    path
        Directory of the store, made by :func:`create_map`.
    spec
        The very spec it was made with.

    Raises
    ------
    RunError
        When there is no such map, or it was made with another spec.
    """

    def __init__(self, path: str | Path, spec: MapSpec) -> None:
        self._root = place_of(path)
        self._spec = spec
        self._level = map_levels(spec)[0]
        stored = attributes_of(self._root / STATUS_PATH).get(KEY, {})
        if stored.get("map") != spec.to_json():
            raise RunError(f"{self._root} was not created for this map; start the run anew")
        self.written: dict[str, str] = {}
        """CRC32C of the objects written so far, by key."""
        self._scores = (
            ShardedArray(self._root, scores_path(0), self._level) if spec.stored else None
        )
        kind = array_kinds(spec)[-1]
        self._coded = coded_kind(spec)
        self._labels = (
            ShardedArray(self._root, kind.path(0), self._level) if kind.planes is None else None
        )

    def tile_pyramid(self, tile: Box) -> TilePyramid:
        """What builds the coarser levels of a tile from its rows of shards."""
        return TilePyramid(self._root, self._spec, tile)

    def write(
        self,
        box: Box,
        scores: NDArray[Any] | None,
        labels: NDArray[Any] | None,
        status: int | NDArray[np.uint8] = ChunkStatus.COMPUTED,
    ) -> NDArray[np.uint8]:
        """Store a tile and return its status cells.

        Parameters
        ----------
        box
            Whole shards, clipped to the map.
        scores
            Values (c, y, x) of the stored classes in the map's dtype; None when the map stores
            none, or nothing in the box was computed. What is not computed becomes the fill value.
        labels
            Argmax (y, x), or which px were computed; None when the map stores neither, or nothing
            in the box was computed. The same holds for it, but chunks that failed hold their code.
        status
            One code for all chunks of the box, or one per chunk (y, x): computed, background or
            failed. Chunks that are not computed are stored as the fill value, and a shard
            without a chunk to store has no object.

        Returns
        -------
        numpy.ndarray
            The cells (y, x), to be placed at ``status_slices(spec, box)``.

        Raises
        ------
        ValueError
            When the box is not whole shards or the arrays do not fit it.
        RunError
            When the disk refuses.
        """
        cells = self._checked_cells(box, scores, labels, status)
        for index in self._level.shards_in(box):
            shard = self._level.shard_box(index)
            done = cells[self._cells_within(shard, box)] == ChunkStatus.COMPUTED
            failed = cells[self._cells_within(shard, box)] == ChunkStatus.FAILED
            place = shard.relative_to(box)
            with storing(self._root, self._spec, f"shard {index[0]}/{index[1]}"):
                if self._scores is not None:
                    block = None if scores is None else scores[(..., *place)]
                    self._put(self._scores, index, block, done)
                if self._labels is not None:
                    block = None if labels is None else labels[place]
                    if self._coded is not None and failed.any():
                        block = self._marked(index, block, done, failed)
                        done = done | failed
                    self._put(self._labels, index, block, done)
        return cells

    def _put(
        self,
        array: ShardedArray,
        index: tuple[int, int],
        block: NDArray[Any] | None,
        done: NDArray[np.bool_],
    ) -> None:
        """Store the chunks (y, x) of a shard that are done; none if nothing is."""
        if block is None or not done.any():
            array.drop(index)
            return
        _blank(block, done, array.fill, self._spec.chunk)
        self.written |= array.put(index, block, _hull(done, self._spec.chunk))

    def _marked(
        self,
        index: tuple[int, int],
        block: NDArray[Any] | None,
        done: NDArray[np.bool_],
        failed: NDArray[np.bool_],
    ) -> NDArray[Any]:
        """Labels of a shard with the code of what failed in its chunks (y, x)."""
        assert self._labels is not None
        if block is None:
            shape = self._level.shard_box(index).shape
            block = np.full(shape, self._labels.fill, self._labels.dtype)
        _blank(block, ~failed, codes_of(self._labels.dtype).failed, self._spec.chunk)
        return block

    def _cells_within(self, inner: Box, outer: Box) -> tuple[slice, slice]:
        (y, x), (y0, x0) = status_slices(self._spec, inner), status_slices(self._spec, outer)
        return (
            slice(y.start - y0.start, y.stop - y0.start),
            slice(x.start - x0.start, x.stop - x0.start),
        )

    def _checked_cells(
        self,
        box: Box,
        scores: NDArray[Any] | None,
        labels: NDArray[Any] | None,
        status: int | NDArray[np.uint8],
    ) -> NDArray[np.uint8]:
        self._check_box(box)
        spec = self._spec
        y, x = status_slices(spec, box)
        shape = (y.stop - y.start, x.stop - x.start)
        cells: NDArray[np.uint8] = np.broadcast_to(np.asarray(status, np.uint8), shape).copy()
        if not np.isin(cells, [s for s in ChunkStatus if s != ChunkStatus.ABSENT]).all():
            raise ValueError(f"status of {box} must be computed, background or failed")
        given = (scores is not None, labels is not None)
        if not any(given) and (cells == ChunkStatus.COMPUTED).any():
            raise ValueError(f"{box} has computed chunks but no values")
        if any(given) and given != (bool(spec.stored), self._labels is not None):
            raise ValueError(
                f"scores and labels of {box} must be given exactly when the map stores them"
            )
        if scores is not None and scores.shape != (len(spec.stored), *box.shape):
            raise ValueError(f"scores of {box} have shape {scores.shape}")
        if labels is not None and labels.shape != box.shape:
            raise ValueError(f"labels of {box} have shape {labels.shape}")
        return cells

    def _check_box(self, box: Box) -> None:
        side, shape = self._level.shard, self._spec.shape
        starts_on_shards = box.y0 % side == 0 and box.x0 % side == 0
        ends_on_shards = all(
            stop % side == 0 or stop == end for stop, end in zip(box[2:], shape, strict=True)
        )
        if box.is_empty or box.clip(shape) != box or not (starts_on_shards and ends_on_shards):
            raise ValueError(
                f"{box} is not whole shards of {side} px of a map of {shape[0]} x {shape[1]} px"
            )


def _hull(done: NDArray[np.bool_], chunk: int) -> tuple[slice, slice]:
    """Rows and columns of a shard's pixels that hold all chunks (y, x) that are done."""
    y, x = (np.flatnonzero(done.any(axis=axis)) for axis in (1, 0))
    return slice(y[0] * chunk, (y[-1] + 1) * chunk), slice(x[0] * chunk, (x[-1] + 1) * chunk)


def _blank(values: NDArray[Any], done: NDArray[np.bool_], fill: float, chunk: int) -> None:
    """Put the fill value where chunks (y, x) are not done."""
    for y, x in np.argwhere(~done) * chunk:
        values[..., y : y + chunk, x : x + chunk] = fill
