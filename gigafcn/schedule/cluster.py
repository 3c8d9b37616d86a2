"""Where tasks run: inside this process by default, in local processes with ``workers=N``."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import dask
from distributed import Client, LocalCluster

from gigafcn.errors import RunError

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from collections.abc import Iterator

START_S = 60


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
    environment = {
        f"distributed.nanny.pre-spawn-environ.{name}": str(threads)
        for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    }
    with dask.config.set(environment), _quiet():
        try:
            cluster = LocalCluster(
                n_workers=workers or 1,
                threads_per_worker=1,
                processes=workers is not None,
                dashboard_address=None,
                memory_limit=0,
                silence_logs=logging.ERROR,
            )
        except (OSError, TimeoutError) as error:
            raise RunError(f"cannot start {workers} worker processes: {error}") from error
        cluster.loop.asyncio_loop.set_exception_handler(_quiet_about_timeouts)
        with cluster, Client(cluster, timeout=START_S, set_as_default=False) as client:
            yield client


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
