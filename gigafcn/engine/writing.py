"""Gather blocks into whole shard rows; store them, and their pyramid, from a thread of its own."""

from __future__ import annotations

import queue
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from gigafcn.geometry import Box, Span

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gigafcn.output.spec import MapSpec
    from gigafcn.output.store import MapStore

WAITING = 1
"""Shard rows that may wait to be stored while the next is computed."""


@dataclass(frozen=True, slots=True)
class ShardRow:
    """One row of shards of a tile while it fills."""

    box: Box
    """Map px, in coordinates of the store."""

    scores: NDArray[Any]
    """(c, y, x)."""

    labels: NDArray[Any] | None
    """(y, x)."""


@dataclass(slots=True)
class ShardWriter:
    """Takes blocks of one tile in order of rows and stores each shard row once it is full."""

    store: MapStore
    spec: MapSpec
    tile: Box
    """Map px, in coordinates of the store."""

    written: dict[str, str] = field(default_factory=dict)
    """CRC32C of the objects of the tile by key, complete once the writer has ended."""

    busy_s: float = 0.0
    """Seconds spent compressing and storing."""

    waited_s: float = 0.0
    """Seconds that the producer waited for room."""

    _rows: dict[int, ShardRow] = field(default_factory=dict)
    _queue: queue.Queue[ShardRow | None] = field(
        default_factory=lambda: queue.Queue(maxsize=WAITING)
    )
    _error: BaseException | None = None
    _thread: threading.Thread | None = None

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

    def put(self, box: Box, scores: NDArray[Any], labels: NDArray[Any] | None) -> None:
        """Place a block; it may lie across shard rows."""
        for row in self._touched(box.y):
            part = box.intersect(row.box)
            rows, columns = part.relative_to(row.box)
            source = part.relative_to(box)
            row.scores[:, rows, columns] = scores[(slice(None), *source)]
            if row.labels is not None and labels is not None:
                row.labels[rows, columns] = labels[source]

    def rows_done(self, stop: int) -> None:
        """Hand over every shard row that ends at or before map row ``stop``."""
        for key in sorted(self._rows):
            if self._rows[key].box.y1 <= stop:
                self._hand_over(self._rows.pop(key))

    def _touched(self, rows: Span) -> list[ShardRow]:
        shard = self.spec.shard
        first, last = rows.start // shard, (rows.stop - 1) // shard
        return [self._rows.get(k) or self._opened(k) for k in range(first, last + 1)]

    def _opened(self, key: int) -> ShardRow:
        shard = self.spec.shard
        rows = Span(key * shard, (key + 1) * shard).intersect(self.tile.y)
        box = Box.of(rows, self.tile.x)
        scores = np.empty((len(self.spec.classes), *box.shape), self.spec.dtype)
        labels = np.empty(box.shape, self.spec.label_dtype) if self.spec.labels else None
        row = self._rows[key] = ShardRow(box, scores, labels)
        return row

    def _hand_over(self, row: ShardRow | None) -> None:
        start = time.perf_counter()
        self._queue.put(row)
        self.waited_s += time.perf_counter() - start
        if self._error is not None and row is not None:
            raise self._error

    def _store_all(self) -> None:
        pyramid = self.store.tile_pyramid(self.tile)
        while (row := self._queue.get()) is not None:
            if self._error is not None:
                continue
            start = time.perf_counter()
            try:
                self.store.write(row.box, row.scores, row.labels)
                pyramid.add(row.box, row.scores, row.labels)
            except BaseException as error:  # raised in the producer's thread
                self._error = error
            self.busy_s += time.perf_counter() - start
        self.written = self.store.written | pyramid.written
