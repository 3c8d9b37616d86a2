"""Gather blocks into whole shard rows; store them, and their pyramid, from a thread of its own.

Chunks that are not to be stored as computed, by their status, hold the fill value, or in labels the
code of what failed: in the map and in its pyramid.
"""

from __future__ import annotations

import queue
import threading
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from gigafcn.doing import Doing
from gigafcn.geometry import Box, Span
from gigafcn.output.chunk_status import ChunkStatus
from gigafcn.output.label_codes import COMPUTED
from gigafcn.output.spec import status_slices

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from gigafcn.engine.timeline import Watch
    from gigafcn.output.spec import MapSpec
    from gigafcn.output.store import MapStore

WAITING = 1
"""Shard rows that may wait to be stored while the next is computed."""


@dataclass(frozen=True, slots=True)
class ShardRow:
    """One row of shards of a tile while it fills."""

    box: Box
    """Map px, in coordinates of the store."""

    scores: NDArray[Any] | None
    """(c, y, x) of the stored classes; None when none are."""

    labels: NDArray[Any] | None
    """(y, x) labels, or which px were computed."""

    status: NDArray[np.uint8] | None = None
    """Of each chunk (y, x), once the row is full."""


@dataclass(slots=True)
class ShardWriter:
    """Takes blocks of one tile in order of rows and stores each shard row once it is full."""

    store: MapStore
    spec: MapSpec
    tile: Box
    """Map px, in coordinates of the store."""

    status_of: Callable[[Box], NDArray[np.uint8]]
    """Status cells (y, x) of a full row of shards, in coordinates of the store."""

    watch: Watch

    status: NDArray[np.uint8] = field(init=False)
    """Status cells (y, x) of the tile, complete once the writer has ended."""

    written: dict[str, str] = field(default_factory=dict)
    """CRC32C of the objects of the tile by key, complete once the writer has ended."""

    _rows: dict[int, ShardRow] = field(default_factory=dict)
    _queue: queue.Queue[ShardRow | None] = field(
        default_factory=lambda: queue.Queue(maxsize=WAITING)
    )
    _opening: threading.Lock = field(default_factory=threading.Lock)
    _error: BaseException | None = None
    _thread: threading.Thread | None = None

    def __post_init__(self) -> None:
        """Begin with nothing written."""
        rows, columns = status_slices(self.spec, self.tile)
        shape = (rows.stop - rows.start, columns.stop - columns.start)
        # Rows of shards that nobody puts anything into show no tissue.
        self.status = np.full(shape, ChunkStatus.BACKGROUND, np.uint8)

    def __enter__(self) -> ShardWriter:
        """Start the writing thread."""
        self._thread = threading.Thread(target=self._store_all, name="gigafcn-writer", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Store what is full, then stop; raise what went wrong in the thread."""
        self._hand_over(None)
        assert self._thread is not None
        self._thread.join()
        if kind is None and self._error is not None:
            raise self._error

    def put(self, box: Box, scores: NDArray[Any] | None, labels: NDArray[Any] | None) -> None:
        """Place a block; it may lie across shard rows."""
        for row in self._touched(box.y):
            part = box.intersect(row.box)
            rows, columns = part.relative_to(row.box)
            source = part.relative_to(box)
            if row.scores is not None and scores is not None:
                row.scores[:, rows, columns] = scores[(slice(None), *source)]
            if row.labels is not None and labels is not None:
                row.labels[rows, columns] = labels[source]

    def rows_done(self, stop: int) -> None:
        """Hand over every shard row that ends at or before map row ``stop``."""
        with self._opening:  # columns that are ahead open rows meanwhile
            done = [key for key in sorted(self._rows) if self._rows[key].box.y1 <= stop]
            rows = [self._rows.pop(key) for key in done]
        for row in rows:
            self._hand_over(replace(row, status=self.status_of(row.box)))

    def _touched(self, rows: Span) -> list[ShardRow]:
        shard = self.spec.shard
        first, last = rows.start // shard, (rows.stop - 1) // shard
        with self._opening:  # columns of a tile are put from threads of their own
            return [self._rows.get(k) or self._opened(k) for k in range(first, last + 1)]

    def _opened(self, key: int) -> ShardRow:
        shard = self.spec.shard
        rows = Span(key * shard, (key + 1) * shard).intersect(self.tile.y)
        box = Box.of(rows, self.tile.x)
        planes = len(self.spec.stored)
        scores = np.empty((planes, *box.shape), self.spec.dtype) if planes else None
        labels = self._px_without_scores(box.shape)
        row = self._rows[key] = ShardRow(box, scores, labels)
        return row

    def _px_without_scores(self, shape: tuple[int, int]) -> NDArray[Any] | None:
        """Room for labels, or an array that says that all px were computed, if either is stored."""
        if self.spec.labels:
            return np.empty(shape, self.spec.label_dtype)
        return np.full(shape, COMPUTED, np.uint8) if self.spec.marks_computed else None

    def _hand_over(self, row: ShardRow | None) -> None:
        with self.watch.during(Doing.WAITING_FOR_ROOM):
            self._queue.put(row)
        if self._error is not None and row is not None:
            raise self._error

    def _store_all(self) -> None:
        pyramid = self.store.tile_pyramid(self.tile)
        while (row := self._queue.get()) is not None:
            if self._error is not None:
                continue
            try:
                with self.watch.during(Doing.STORING), self.watch.listening():
                    self._store(row)
                    pyramid.add(row.box, row.scores, row.labels, row.status)
            except BaseException as error:  # raised in the producer's thread
                self._error = error
        if self._error is None:
            try:
                with self.watch.during(Doing.STORING), self.watch.listening():
                    pyramid.finish()
            except BaseException as error:
                self._error = error
        self.written = self.store.written | pyramid.written

    def _store(self, row: ShardRow) -> None:
        """Store a row."""
        assert row.status is not None
        self.store.write(row.box, row.scores, row.labels, row.status)
        cells, whole = status_slices(self.spec, row.box), status_slices(self.spec, self.tile)
        first = cells[0].start - whole[0].start
        self.status[first : first + len(row.status)] = row.status
