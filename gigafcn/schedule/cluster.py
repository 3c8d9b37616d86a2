"""Where tasks run: inside this process by default, in local processes with ``workers=N``."""

from __future__ import annotations

import logging
import signal
from contextlib import contextmanager
from multiprocessing import resource_tracker
from typing import TYPE_CHECKING, Any

import dask
from distributed import Client, Nanny, Scheduler, SpecCluster, Worker

from gigafcn.errors import RunError

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from collections.abc import Iterator

START_S = 60
STOPPING = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def local_client(workers: int | None, threads: int) -> Iterator[Client]:
    """A Dask client of a cluster on this machine; nothing listens beyond loopback.

    Parameters
    ----------
    workers
        Processes to start; None computes in this process, without server or port.
    threads
        Threads of each worker's own arithmetic, which Dask would set to 1.
    """
    with (
        dask.config.set({"distributed.nanny.pre-spawn-environ": _environment(threads)}),
        _quiet(),
        _local_cluster(workers) as cluster,
        Client(cluster, timeout=START_S, set_as_default=False) as client,
    ):
        yield client


@contextmanager
def _local_cluster(workers: int | None) -> Iterator[SpecCluster]:
    """A cluster whose threads and processes never see SIGINT or SIGTERM.

    Ctrl-C in a terminal, or a batch system, signals all processes of a run; the driver alone acts,
    and ends its workers.  Threads and processes inherit which signals are held back.
    """
    resource_tracker.ensure_running()  # would let signals through when it starts later
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
    try:
        cluster = SpecCluster(
            scheduler=_scheduler_spec(workers),
            workers=dict.fromkeys(range(workers or 1), _worker_spec(workers)),
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


def _environment(threads: int) -> dict[str, str]:
    """Variables of a worker process; those that the user set win."""
    pools = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    return dict.fromkeys(pools, str(threads)) | {"PYTHONWARNINGS": "ignore"}


class _Scheduler(Scheduler):
    """A scheduler without the HTTP server that distributed opens, dashboard or not."""

    def start_http_server(self, *arguments: Any, **options: Any) -> None:
        """Open no port."""


class _Worker(Worker):
    """A worker without an HTTP server."""

    def start_http_server(self, *arguments: Any, **options: Any) -> None:
        """Open no port."""


def _scheduler_spec(workers: int | None) -> dict[str, Any]:
    return {"cls": _Scheduler, "options": {"dashboard": False, **_address(workers)}}


def _worker_spec(workers: int | None) -> dict[str, Any]:
    options = {
        "nthreads": 1,
        "memory_limit": 0,
        "dashboard": False,
        "silence_logs": logging.CRITICAL,
        **_address(workers),
    }
    if workers is None:
        return {"cls": _Worker, "options": options}
    return {"cls": Nanny, "options": {"worker_class": _Worker, **options}}


def _address(workers: int | None) -> dict[str, Any]:
    """No port at all within this process; loopback between processes."""
    if workers is None:
        return {"protocol": "inproc://"}
    return {"protocol": "tcp://", "host": "127.0.0.1", "port": 0}


def _quiet_about_timeouts(loop: AbstractEventLoop, context: dict[str, Any]) -> None:
    """Drop what distributed's batched connections leave behind when their loop stops.

    A connection that waits for its next batch as the loop ends has a timeout that nobody asks for
    any more; asyncio would print it whenever it is collected.
    """
    if not isinstance(context.get("exception"), TimeoutError):
        loop.default_exception_handler(context)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep distributed's own log lines from the user; errors reach them as ours."""
    logger = logging.getLogger("distributed")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)
