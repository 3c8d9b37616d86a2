"""Compute the parts of a tile so that its rows of shards are complete as early as may be.

Parts are boxes beside and below each other.  They go forward together, always the one that is
furthest behind, so the writer holds few rows although no part waits for another to end.  What no
part holds is never read, computed or stored.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from gigafcn.engine.scores import in_store
from gigafcn.output.spec import status_slices
from gigafcn.output.store import ChunkStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from gigafcn.engine.reading import StripReader
    from gigafcn.engine.writing import ShardWriter
    from gigafcn.geometry import Box
    from gigafcn.plan.run_plan import RunPlan


class Part(Protocol):
    """A part of a tile while it is computed."""

    reader: StripReader[Any]

    @property
    def done(self) -> int:
        """Stored row up to which everything was handed on."""
        ...

    def steps(self) -> Iterator[None]:
        """Compute the part, a strip or row of windows at a time."""
        ...


class Parts:
    """The parts of one tile.

    Parameters
    ----------
    plan
        Of the run.
    groups
        Boxes of map px; a group begins when the one before has ended.
    """

    def __init__(self, plan: RunPlan, groups: Sequence[Sequence[Box]]) -> None:
        self._plan = plan
        self._groups = groups
        self.readers: list[StripReader[Any]] = []
        """Of parts that have begun."""

    def compute(self, begin: Callable[[Box], Part], writer: ShardWriter) -> None:
        """Compute all of them."""
        for number, group in enumerate(self._groups):
            later = [box for other in self._groups[number + 1 :] for box in other]
            self._together(group, later, begin, writer)

    def _together(
        self,
        group: Sequence[Box],
        later: Sequence[Box],
        begin: Callable[[Box], Part],
        writer: ShardWriter,
    ) -> None:
        """Compute a group; rows that later ones hold are not complete."""
        limit = min((self._top(box) for box in later), default=writer.tile.y1)
        waiting = sorted(group, key=self._top)
        active: list[tuple[Part, Iterator[None]]] = []
        while waiting or active:
            behind = min((part.done for part, _ in active), default=None)
            if waiting and (behind is None or self._top(waiting[0]) <= behind):
                part = begin(waiting.pop(0))
                self.readers.append(part.reader)
                active.append((part, part.steps()))
            number = min(range(len(active)), key=lambda n: active[n][0].done)
            if next(active[number][1], _ENDED) is _ENDED:
                active.pop(number)
            rows = [part.done for part, _ in active] + [self._top(box) for box in waiting]
            writer.rows_done(min(limit, *rows) if rows else limit)

    def _top(self, box: Box) -> int:
        return in_store(box, self._plan).y0

    def status(self, row: Box) -> NDArray[np.uint8]:
        """Status cells (y, x) of a complete row of shards, in coordinates of the store."""
        rows, columns = status_slices(self._plan.spec, row)
        shape = (rows.stop - rows.start, columns.stop - columns.start)
        cells = np.full(shape, ChunkStatus.BACKGROUND, np.uint8)
        for reader in self.readers:
            part = reader.account.tile.intersect(row)
            if not part.is_empty:
                y, x = status_slices(self._plan.spec, part)
                where = (
                    slice(y.start - rows.start, y.stop - rows.start),
                    slice(x.start - columns.start, x.stop - columns.start),
                )
                cells[where] = reader.account.status(part)
        if self._plan.tissue is not None:
            cells[~self._plan.tissue.cells()[rows, columns]] = ChunkStatus.BACKGROUND
        return cells


_ENDED = object()
