"""The driver's side: hand out tasks a few at a time, collect receipts, report progress.

Only about two tasks per worker are in flight.  A worker's death casts suspicion on every task
assigned to it, so submitting everything at once would fail tiles that never ran.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from distributed import KilledWorker

from gigafcn.errors import RunError, StorageError, UnreadableError
from gigafcn.output.spec import MapSpec, map_levels, shard_keys, source_shards
from gigafcn.output.tile_pyramid import shards_across_tiles
from gigafcn.progress import Progress, ProgressCallback
from gigafcn.schedule.deaths import refuse_hopeless, tried_alone
from gigafcn.schedule.inbox import Inbox, Stopped
from gigafcn.schedule.reviving import Reviver
from gigafcn.schedule.run_folder import level_piece
from gigafcn.schedule.stopping import StopRequest
from gigafcn.schedule.worker import PROGRESS_TOPIC, close_run, pyramid_task, tile_task

if TYPE_CHECKING:
    from distributed import Client, Future

    from gigafcn.engine.tile import TileReceipt
    from gigafcn.geometry import Box
    from gigafcn.schedule.run_folder import Receipt

log = logging.getLogger(__name__)

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

    def take(self, tile: Box, future: Future[Any]) -> bool:
        """Note what became of a tile; returns whether it failed."""
        error = future.exception()
        if error is None:
            self.receipts.append(future.result())
            return False
        if isinstance(error, Stopped):
            return False
        if not isinstance(error, Exception) or isinstance(error, StorageError | UnreadableError):
            raise error
        self.failures.append((tile, error))
        return True


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
    stop: StopRequest | None = None,
) -> Outcome:
    """Compute all tiles; one that fails does not keep the others from being computed.

    Parameters
    ----------
    inbox
        Where tasks of this process hand their tiles back to this thread.
    stop
        Looked at all the time; what it raises ends the run.

    Raises
    ------
    StorageError
        At once, since no other tile could be stored either.
    UnreadableError
        At once, since a run that is strict ends there.
    """
    meter = Meter("compute", len(tiles), sum(t.area for t in tiles), progress)
    crew = _Crew(client, run, meter, inbox or Inbox(), stop or StopRequest())

    def moved(event: tuple[float, dict[str, Any]]) -> None:
        if event[1].get("run") == run:
            meter.pixels_done += event[1]["pixels"]

    client.subscribe_topic(PROGRESS_TOPIC, moved)
    try:
        with crew.stop.heeded():
            meter.report()
            return crew.compute(tiles)
    finally:
        client.unsubscribe_topic(PROGRESS_TOPIC)


@dataclass(slots=True)
class _Crew:
    """The workers, as the driver deals with them while tiles are computed."""

    client: Client
    run: str
    meter: Meter
    inbox: Inbox
    stop: StopRequest
    outcome: Outcome = field(default_factory=Outcome)
    _closed: bool = False

    def compute(self, tiles: list[Box]) -> Outcome:
        """Compute all tiles, then, one by one, those that were involved in deaths of workers."""
        self.inbox.on_pixels = self._moved
        suspects = []
        calls = ((tile, tile_task, (self.run, tuple(tile))) for tile in tiles)
        for tile, future in self._windowed(calls):
            if isinstance(future.exception(), KilledWorker):
                suspects.append(tile)
                self.meter.retried += 1
                refuse_hopeless(len(suspects), len(self.outcome.receipts))
            else:
                self._take(tile, future)
        for tile in suspects:
            error = tried_alone(tile, partial(self._alone, tile))
            if error is not None:
                self.outcome.failures.append((tile, error))
                self._done(failed=True)
        return self.outcome

    def _alone(self, tile: Box, rung: int) -> BaseException | None:
        """Compute one tile while nothing else is; returns what says that workers died of it."""
        for _, future in self._windowed([(tile, tile_task, (self.run, tuple(tile), rung))]):
            error: BaseException | None = future.exception()
            if isinstance(error, KilledWorker):
                return error
            self._take(tile, future)
        return None

    def _take(self, tile: Box, future: Future[Any]) -> None:
        self._done(failed=self.outcome.take(tile, future))

    def _done(self, *, failed: bool) -> None:
        self.meter.failed += failed
        self.meter.tiles_done += 1
        self.meter.report()

    def _windowed(self, calls: Iterable[Call]) -> Iterator[tuple[Any, Future[Any]]]:
        return _windowed(self.client, calls, self.meter, self.inbox, self._stopping)

    def _moved(self, pixels: int) -> None:
        """Take note that a tile, computed in this very thread, has come further."""
        self.meter.advance(pixels)
        self._stopping(idle=False)

    def _stopping(self, *, idle: bool) -> bool:
        """Whether to begin no more tasks; raises once those under way are done or overdue."""
        if not self.stop.asked:
            return False
        if idle:
            self.stop.stop()
        self.stop.stop_if_overdue()
        if not self._closed:
            self._closed = True
            log.info(
                "begins no more tiles; those under way have %g s, a second signal ends them",
                self.stop.grace_s,
            )
            close_run(self.run)
            with suppress(Exception):  # whoever cannot be told is gone or ends with the cluster
                self.client.run(close_run, self.run, on_error="ignore")
        return True


def run_pyramid(
    client: Client,
    run: str,
    spec: MapSpec,
    tile: tuple[int, int],
    progress: ProgressCallback | None,
    receipts: Mapping[str, Receipt],
) -> None:
    """Build what tiles of the given size (y, x) left of the coarser levels, a level at a time.

    One task per destination shard; those that stand and were made of what stands now are left
    alone.

    Parameters
    ----------
    receipts
        Of every piece that stands.

    Raises
    ------
    RunError
        If a task fails, or workers die of it.
    """
    shards = [
        (level, index)
        for level in range(1, len(map_levels(spec)))
        for index in shards_across_tiles(spec, level, tile)
    ]
    if not shards:
        return
    areas = {(level, i): map_levels(spec)[level].shard_box(i).area for level, i in shards}
    known = {key: crc for receipt in receipts.values() for key, crc in receipt.objects.items()}
    meter = Meter("pyramid", len(areas), sum(areas.values()), progress)

    def done(level: int, index: tuple[int, int]) -> None:
        meter.tiles_done += 1
        meter.pixels_done += areas[level, index]
        meter.report()

    for level in dict.fromkeys(level for level, _ in shards):
        calls = []
        for index in (i for k, i in shards if k == level):
            sources = _sources(spec, level, index, known)
            receipt = receipts.get(level_piece(level, index))
            if receipt is not None and receipt.sources == sources:
                done(level, index)
            else:
                calls.append((index, pyramid_task, (run, level, index, sources)))
        for index, future in _windowed(client, calls, meter, Inbox()):
            error = future.exception()
            if isinstance(error, KilledWorker):
                raise RunError(
                    f"worker processes died while they built shard {index} of level {level}; the "
                    f"same command goes on from here"
                ) from error
            if error is not None:
                raise error
            known.update(future.result())
            done(level, index)


def _sources(
    spec: MapSpec, level: int, index: tuple[int, int], known: Mapping[str, str]
) -> dict[str, str]:
    """CRC32C by key of what a shard of a coarser level is made of."""
    below = [
        key
        for source in source_shards(spec, level, index)
        for key in shard_keys(spec, level - 1, source)
    ]
    return {key: known[key] for key in below if key in known}


Call = tuple[Any, Callable[..., Any], tuple[Any, ...]]


def _windowed(
    client: Client,
    calls: Iterable[Call],
    meter: Meter,
    inbox: Inbox,
    stopping: Callable[..., bool] = lambda *, idle: False,
) -> Iterator[tuple[Any, Future[Any]]]:
    """Submit calls a few per worker at a time; give back (key, finished future).

    ``stopping`` is asked whether to begin no more, ``idle`` when no task is under way.
    """
    waiting = deque(calls)
    keys: dict[Future[Any], Any] = {}
    looked, reviver = float("-inf"), Reviver(client)
    while waiting or keys:
        if stopping(idle=not keys):
            waiting.clear()
        if time.monotonic() - looked >= WORKERS_EVERY_S:
            looked, meter.workers = time.monotonic(), _count_workers(client)
            reviver.look(meter.tiles_done)
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
    stopping(idle=True)


def _count_workers(client: Client) -> int:
    return len(client.scheduler_info(n_workers=-1)["workers"])
