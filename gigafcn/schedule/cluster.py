"""A cluster on this machine: inside this process by default, in local processes with ``workers=N``.

Worker processes get their environment from us: threads for arithmetic, which Dask would set to 1;
a memory limit, which Dask would derive from threads; and, where there are several GPUs, one of
them each.
"""

from __future__ import annotations

import logging
import os
import signal
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from multiprocessing import resource_tracker
from typing import TYPE_CHECKING, Any

import dask
from distributed import Client, Nanny, Scheduler, SpecCluster, Worker

from gigafcn.errors import RunError, UsageError
from gigafcn.schedule.deaths import DEATHS
from gigafcn.schedule.quiet import quiet
from gigafcn.schedule.resources import waiting_policy

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from collections.abc import Iterator, Mapping

log = logging.getLogger(__name__)

LOOPBACK = "127.0.0.1"
DASHBOARD_PORT = 8787
"""Another one if it is taken."""

START_S = 60
STOPPING = (signal.SIGINT, signal.SIGTERM)


@dataclass(frozen=True, slots=True)
class Equipment:
    """What each worker process is given."""

    threads: int = 1
    """Of its own arithmetic."""

    memory: int = 0
    """Bytes at which it is ended before the system ends something else; 0 is no limit."""

    gpus: tuple[str, ...] = ()
    """Of all of them, as in CUDA_VISIBLE_DEVICES; dealt out in turn.  Empty: none, or no choice."""

    def environment(self, worker: int) -> dict[str, str]:
        """Variables of one worker's process."""
        gpus = {"CUDA_VISIBLE_DEVICES": self.gpus[worker % len(self.gpus)]} if self.gpus else {}
        return waiting_policy(os.environ) | gpus


def visible_gpus(count: int, environment: Mapping[str, str]) -> tuple[str, ...]:
    """Names of the first ``count`` GPUs that a process with these variables sees.

    Examples
    --------
    >>> visible_gpus(2, {}), visible_gpus(2, {"CUDA_VISIBLE_DEVICES": "3, GPU-8f2a"})
    (('0', '1'), ('3', 'GPU-8f2a'))
    """
    listed = environment.get("CUDA_VISIBLE_DEVICES")
    names = [str(i) for i in range(count)] if listed is None else listed.split(",")
    return tuple(name.strip() for name in names[:count])


@contextmanager
def local_client(
    workers: int | None, equipment: Equipment, *, dashboard: bool = False
) -> Iterator[Client]:
    """A Dask client of a cluster on this machine; nothing listens beyond loopback.

    Parameters
    ----------
    workers
        Processes to start; None computes in this process, without server or port.
    dashboard
        Serve Dask's dashboard, on loopback, and say where.

    Raises
    ------
    RunError
        If the processes do not start.
    UsageError
        If what draws the dashboard is not installed.
    """
    if dashboard and find_spec("bokeh") is None:
        raise UsageError("--dashboard needs bokeh, which is not installed: pip install bokeh")
    with (
        dask.config.set(_configuration(equipment.threads)),
        quiet(),
        _local_cluster(workers, equipment, dashboard) as cluster,
        Client(cluster, timeout=START_S, set_as_default=False) as client,
    ):
        if dashboard:
            port = client.scheduler_info()["services"]["dashboard"]
            log.info("dashboard: http://%s:%d/status", LOOPBACK, port)
        yield client


def _configuration(threads: int) -> dict[str, Any]:
    pools = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    environment = dict.fromkeys(pools, str(threads)) | {"PYTHONWARNINGS": "ignore"}
    # Workers hold nothing that Dask could write to disk, and a paused one would never go on.
    unused = ("target", "spill", "pause")
    return {
        "distributed.nanny.pre-spawn-environ": environment,
        # Python 3.11 may hang for good where it looks at the stacks of all threads (crew.py).
        "distributed.worker.profile.enabled": False,
        # Else a worker that is not back by then is dropped, and on a busy machine none is.
        "distributed.deploy.lost-worker-timeout": "1 day",
        **{f"distributed.worker.memory.{name}": False for name in unused},
    }


@contextmanager
def _local_cluster(
    workers: int | None, equipment: Equipment, dashboard: bool
) -> Iterator[SpecCluster]:
    """A cluster whose threads and processes never see SIGINT or SIGTERM.

    Ctrl-C in a terminal, or a batch system, signals all processes of a run; the driver alone acts,
    and ends its workers.  Threads and processes inherit which signals are held back.
    """
    resource_tracker.ensure_running()  # would let signals through when it starts later
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
    try:
        cluster = SpecCluster(
            scheduler=_scheduler_spec(workers, dashboard),
            workers={i: _worker_spec(workers, equipment, i) for i in range(workers or 1)},
            silence_logs=logging.CRITICAL,
        )
    except BaseException as error:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        if isinstance(error, OSError | TimeoutError):
            raise RunError(f"cannot start {workers} worker processes: {error}") from error
        raise
    with cluster:
        # A signal that came meanwhile arrives here, where the cluster is closed in good order.
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        loop: Any = cluster.loop  # tornado's, around the one of asyncio
        loop.asyncio_loop.set_exception_handler(_quiet_about_timeouts)
        yield cluster


class _Scheduler(Scheduler):
    """A scheduler without the HTTP server that distributed opens, dashboard or not."""

    def start_http_server(self, *arguments: Any, **options: Any) -> None:
        """Open no port."""


class _Worker(Worker):
    """A worker without an HTTP server."""

    def start_http_server(self, *arguments: Any, **options: Any) -> None:
        """Open no port."""


def _scheduler_spec(workers: int | None, dashboard: bool) -> dict[str, Any]:
    options: dict[str, Any] = {"allowed_failures": DEATHS - 1, **_address(workers)}
    if not dashboard:
        return {"cls": _Scheduler, "options": {"dashboard": False, **options}}
    options |= {"dashboard": True, "dashboard_address": f"{LOOPBACK}:{DASHBOARD_PORT}"}
    return {"cls": Scheduler, "options": options}


def _worker_spec(workers: int | None, equipment: Equipment, number: int) -> dict[str, Any]:
    options = {
        "nthreads": 1,
        "memory_limit": equipment.memory,
        "dashboard": False,
        "silence_logs": logging.CRITICAL,
        **_address(workers),
    }
    if workers is None:
        return {"cls": _Worker, "options": {**options, "memory_limit": 0}}
    own = {"worker_class": _Worker, "env": equipment.environment(number)}
    return {"cls": Nanny, "options": {**options, **own}}


def _address(workers: int | None) -> dict[str, Any]:
    """No port at all within this process; loopback between processes."""
    if workers is None:
        return {"protocol": "inproc://"}
    return {"protocol": "tcp://", "host": LOOPBACK, "port": 0}


def _quiet_about_timeouts(loop: AbstractEventLoop, context: dict[str, Any]) -> None:
    """Drop what distributed's batched connections leave behind when their loop stops.

    A connection that waits for its next batch as the loop ends has a timeout that nobody asks for
    any more; asyncio would print it whenever it is collected.
    """
    if not isinstance(context.get("exception"), TimeoutError):
        loop.default_exception_handler(context)
