"""The worker's side: jobs by run id, the task functions, and reports of progress.

Tasks carry a run id and a tile.  What the tile needs is in this process already: put there by the
driver when it runs in the same process, else opened once from what a :class:`JobPlugin` told.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING, Any

from distributed import WorkerPlugin, get_worker

from gigafcn.geometry import Box
from gigafcn.schedule.job import Job, JobFiles, open_job

if TYPE_CHECKING:
    from gigafcn.engine.tile import TileReceipt

PROGRESS_TOPIC = "gigafcn-progress"
REPORT_EVERY_S = 0.25

_JOBS: dict[str, Job] = {}
_OPENING: dict[str, tuple[JobFiles, dict[str, Any]]] = {}
"""What jobs of this process are opened from, by run."""


def _job(run: str) -> Job:
    """The job of a run; opened by its first task, off the worker's event loop."""
    if run not in _JOBS:
        files, plan = _OPENING[run]
        hold_job(run, open_job(files, plan, threading.Event()))
    return _JOBS[run]


def hold_job(run: str, job: Job) -> None:
    """Make a job known to tasks of this process."""
    _JOBS[run] = job


def drop_job(run: str) -> None:
    """Forget a job and stop its tile at the next block."""
    _OPENING.pop(run, None)
    job = _JOBS.pop(run, None)
    if job is not None:
        job.stop.set()


class JobPlugin(WorkerPlugin):
    """Tells every worker process, also one that joins late, where a run's slide and model are."""

    def __init__(self, run: str, files: JobFiles, plan: dict[str, Any]) -> None:
        self.name = f"gigafcn-{run}"
        self._run, self._files, self._plan = run, files, plan

    def setup(self, worker: Any) -> None:
        """Note what the run's first task here will open."""
        # In a process of its own nobody reads what libraries log: errors travel to the driver.
        logging.getLogger().addHandler(logging.NullHandler())
        _OPENING[self._run] = (self._files, self._plan)

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


def tile_task(run: str, tile: tuple[int, int, int, int]) -> TileReceipt:
    """Compute one tile of a run in this worker, or in the driver's thread if that is near."""
    job, box = _job(run), Box(*tile)
    inbox = job.inbox
    if inbox is not None:
        receipt: TileReceipt = inbox.run(lambda: job.compute(box, inbox.advance), job.stop)
        return receipt
    reporter = _Reporter(run)
    receipt = job.compute(box, reporter.advance)
    reporter.flush()
    return receipt


def pyramid_task(run: str, level: int, index: tuple[int, int]) -> None:
    """Build one shard of a coarser level in this worker."""
    _job(run).coarsen(level, index)
