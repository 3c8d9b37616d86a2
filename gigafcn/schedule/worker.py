"""The worker's side: jobs by run id, the task functions, and reports of progress.

Tasks carry a run id and a tile.  What the tile needs is in this process already: put there by the
driver when it runs in the same process, else opened as soon as a :class:`JobPlugin` told where it
is, which Dask hands to workers that join later too.
"""

from __future__ import annotations

import logging
import threading
import time
from concurrent.futures import Future as Promise
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from distributed import WorkerPlugin, get_worker

from gigafcn.engine.precision import threads as torch_threads
from gigafcn.geometry import Box
from gigafcn.pseudonym import Disguise
from gigafcn.schedule.inbox import Stopped
from gigafcn.schedule.job import Job, open_job

if TYPE_CHECKING:
    from gigafcn.engine.tile import TileReceipt
    from gigafcn.schedule.handover import Handover

PROGRESS_TOPIC = "gigafcn-progress"
REPORT_EVERY_S = 0.25

_JOBS: dict[str, _Opening] = {}
_TURN = threading.Lock()
"""One tile at a time: the plan's memory and threads are for one, however many Dask would start."""

_CLOSED: set[str] = set()
"""Runs that begin no more tiles."""


class _Opening:
    """A job that is opened by a thread of its own, off the worker's event loop."""

    disguise: Disguise | None = None

    def __init__(self, handover: Handover) -> None:
        self._handover = handover
        self._stop = threading.Event()
        self._job = self._begun()

    def _begun(self) -> Promise[Job]:
        promise: Promise[Job] = Promise()

        def open_it() -> None:
            try:
                files, plan = self._handover.read()
                if files.called is not None:
                    self.disguise = Disguise(files.slide, files.called)
                with self.worn():
                    promise.set_result(open_job(files, plan, self._stop))
            except BaseException as error:
                promise.set_exception(error)

        threading.Thread(target=open_it, name="gigafcn-opening", daemon=True).start()
        return promise

    def job(self) -> Job:
        """The open job; what went wrong is raised, and tried again the next time."""
        try:
            return self._job.result()
        except Exception:
            self._job = self._begun()
            raise

    def worn(self) -> AbstractContextManager[None]:
        """Clean what is logged and raised meanwhile, if the slide shall not be named."""
        return nullcontext() if self.disguise is None else self.disguise.worn()

    def close(self) -> None:
        """Stop its tile at the next block."""
        self._stop.set()


class _Held(_Opening):
    """A job that the driver, in this process, has open."""

    def __init__(self, job: Job) -> None:
        self._stop = job.stop
        self._job = Promise()
        self._job.set_result(job)


def hold_job(run: str, job: Job) -> None:
    """Make a job known to tasks of this process."""
    _JOBS[run] = _Held(job)


def drop_job(run: str) -> None:
    """Forget a job and stop its tile at the next block."""
    _CLOSED.discard(run)
    opening = _JOBS.pop(run, None)
    if opening is not None:
        opening.close()


def close_run(run: str) -> None:
    """Begin no more tiles of a run in this process; the one under way goes on."""
    _CLOSED.add(run)


def _begin(run: str) -> None:
    if run in _CLOSED:
        raise Stopped


class JobPlugin(WorkerPlugin):
    """Opens a run in every worker process, also in one that joins late."""

    def __init__(self, run: str, handover: Handover) -> None:
        self.name = f"gigafcn-{run}"
        self._run, self._handover = run, handover

    def setup(self, worker: Any) -> None:
        """Begin to open the run's slide, model and map."""
        # In a process of its own nobody reads what libraries log: errors travel to the driver.
        logging.getLogger().addHandler(logging.NullHandler())
        _JOBS[self._run] = _Opening(self._handover)

    def teardown(self, worker: Any) -> None:
        """Forget the job."""
        drop_job(self._run)


class _Reporter:
    """Adds up a tile's pixels and tells the driver a few times a second."""

    def __init__(self, run: str) -> None:
        self._run = run
        self._pixels = 0
        self._last = time.monotonic()

    def advance(self, pixels: int) -> None:
        self._pixels += pixels
        now = time.monotonic()
        if now - self._last >= REPORT_EVERY_S:
            self._last = now
            self.flush()

    def flush(self) -> None:
        if self._pixels:
            message = {"run": self._run, "pixels": self._pixels}
            get_worker().log_event(PROGRESS_TOPIC, message)
            self._pixels = 0


def tile_task(run: str, tile: tuple[int, int, int, int], rung: int = 0) -> TileReceipt:
    """Compute one tile of a run in this worker, or in the driver's thread if that is near.

    Parameters
    ----------
    rung
        Of the ladder of ``engine.easing``, on which to begin.
    """
    _begin(run)
    opening, box = _JOBS[run], Box(*tile)
    job = opening.job()
    inbox = job.inbox
    if inbox is not None:
        receipt: TileReceipt = inbox.run(lambda: job.compute(box, inbox.advance, rung), job.stop)
        return receipt
    reporter = _Reporter(run)
    with _TURN, torch_threads(job.plan.threads), opening.worn():
        _begin(run)
        receipt = job.compute(box, reporter.advance, rung)
    reporter.flush()
    return receipt


def pyramid_task(
    run: str, level: int, index: tuple[int, int], sources: dict[str, str]
) -> dict[str, str]:
    """Build one shard of a coarser level in this worker; returns CRC32C by key."""
    opening = _JOBS[run]
    job = opening.job()
    with opening.worn():
        return job.coarsen(level, index, sources)
