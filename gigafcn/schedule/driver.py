"""The driver's side: hand out tasks a few at a time, collect receipts, report progress.

Only about two tasks per worker are in flight.  A worker's death casts suspicion on every task
assigned to it, so submitting everything at once would fail tiles that never ran.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gigafcn.errors import StorageError
from gigafcn.output.spec import MapSpec, map_levels
from gigafcn.output.tile_pyramid import shards_across_tiles
from gigafcn.progress import Progress, ProgressCallback
from gigafcn.schedule.inbox import Inbox
from gigafcn.schedule.run_folder import level_piece
from gigafcn.schedule.worker import PROGRESS_TOPIC, pyramid_task, tile_task

if TYPE_CHECKING:
    from distributed import Client, Future

    from gigafcn.engine.tile import TileReceipt
    from gigafcn.geometry import Box

IN_FLIGHT_PER_WORKER = 2
POLL_S = 0.2
WORKERS_EVERY_S = 2.0
"""Between two looks at who is there: workers of a cluster come and go."""

REPORT_EVERY_S = 0.25


@dataclass(slots=True)
class Outcome:
    """What became of all tiles."""

    receipts: list[TileReceipt] = field(default_factory=list)
    failures: list[tuple[Box, BaseException]] = field(default_factory=list)


@dataclass(slots=True)
class Meter:
    """Turns what is known of a stage's tasks into reports for the caller."""

    stage: str
    tiles: int
    pixels: int
    callback: ProgressCallback | None
    tiles_done: int = 0
    pixels_done: int = 0
    workers: int = 1
    failed: int = 0
    retried: int = 0
    started: float = field(default_factory=time.monotonic)
    reported: float = 0.0

    def advance(self, pixels: int) -> None:
        """Count pixels of a tile that is being computed in this thread."""
        self.pixels_done += pixels
        if time.monotonic() - self.reported >= REPORT_EVERY_S:
            self.report()

    def report(self) -> None:
        """Tell the caller how far the stage is."""
        self.reported = time.monotonic()
        if self.callback is not None:
            seconds = time.monotonic() - self.started
            done = min(self.pixels_done, self.pixels)
            self.callback(
                Progress(
                    self.stage, self.tiles_done, self.tiles, done, self.pixels, seconds,
                    self.workers, self.failed, self.retried,
                )
            )  # fmt: skip


def run_tiles(
    client: Client,
    run: str,
    tiles: list[Box],
    progress: ProgressCallback | None,
    inbox: Inbox | None = None,
) -> Outcome:
    """Compute all tiles; one that fails does not keep the others from being computed.

    Parameters
    ----------
    inbox
        Where tasks of this process hand their tiles back to this thread.

    Raises
    ------
    StorageError
        At once, since no other tile could be stored either.
    """
    outcome = Outcome()
    meter = Meter("compute", len(tiles), sum(t.area for t in tiles), progress)

    def moved(event: tuple[float, dict[str, Any]]) -> None:
        if event[1].get("run") == run:
            meter.pixels_done += event[1]["pixels"]

    inbox = inbox or Inbox()
    inbox.on_pixels = meter.advance
    client.subscribe_topic(PROGRESS_TOPIC, moved)
    try:
        meter.report()
        calls = ((tile, tile_task, (run, tuple(tile))) for tile in tiles)
        for tile, future in _windowed(client, calls, meter, inbox):
            error = future.exception()
            if error is None:
                outcome.receipts.append(future.result())
            elif isinstance(error, Exception) and not isinstance(error, StorageError):
                outcome.failures.append((tile, error))
                meter.failed += 1
            else:
                raise error
            meter.tiles_done += 1
            meter.report()
    finally:
        client.unsubscribe_topic(PROGRESS_TOPIC)
    return outcome


def run_pyramid(
    client: Client,
    run: str,
    spec: MapSpec,
    tile: tuple[int, int],
    progress: ProgressCallback | None,
    done: Collection[str] = (),
) -> None:
    """Build what tiles of the given size (y, x) left of the coarser levels, a level at a time.

    One task per destination shard; those whose receipts are named in ``done`` are left alone.
    """
    levels = range(1, len(map_levels(spec)))
    shards = {
        level: [
            index
            for index in shards_across_tiles(spec, level, tile)
            if level_piece(level, index) not in done
        ]
        for level in levels
    }
    areas = {
        (level, index): map_levels(spec)[level].shard_box(index).area
        for level in levels
        for index in shards[level]
    }
    if not areas:
        return
    meter = Meter("pyramid", len(areas), sum(areas.values()), progress)
    for level in levels:
        calls = ((i, pyramid_task, (run, level, i)) for i in shards[level])
        for index, future in _windowed(client, calls, meter, Inbox()):
            error = future.exception()
            if error is not None:
                raise error
            meter.tiles_done += 1
            meter.pixels_done += areas[level, index]
            meter.report()


Call = tuple[Any, Callable[..., Any], tuple[Any, ...]]


def _windowed(
    client: Client, calls: Iterable[Call], meter: Meter, inbox: Inbox
) -> Iterator[tuple[Any, Future[Any]]]:
    """Submit calls a few per worker at a time; give back (key, finished future)."""
    waiting = deque(calls)
    keys: dict[Future[Any], Any] = {}
    looked = float("-inf")
    while waiting or keys:
        if time.monotonic() - looked >= WORKERS_EVERY_S:
            looked, meter.workers = time.monotonic(), _count_workers(client)
        while waiting and len(keys) < IN_FLIGHT_PER_WORKER * max(1, meter.workers):
            key, function, arguments = waiting.popleft()
            future = client.submit(function, *arguments, pure=False)
            keys[future] = key
            future.add_done_callback(inbox.finish)
        finished = inbox.next(POLL_S)
        if finished is None:
            meter.report()
        else:
            yield keys.pop(finished), finished


def _count_workers(client: Client) -> int:
    return len(client.scheduler_info(n_workers=-1)["workers"])
