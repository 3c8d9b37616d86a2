"""A Dask cluster as somebody else would start it: ``dask scheduler`` and ``dask worker``."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from distributed import Client

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[1]
DASK = (sys.executable, "-m", "dask")
QUIETLY = ("--no-dashboard",)


def environment() -> dict[str, str]:
    """Of a process that shall find this checkout's gigafcn, and not hang in Dask's profiler."""
    unprofiled = {"DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED": "False"}
    return os.environ | {"PYTHONPATH": str(ROOT)} | unprofiled


@contextmanager
def running(words: tuple[str, ...], folder: Path, name: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process of a command whose output goes to ``folder/name.log``; ended afterwards."""
    with (folder / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(
            words, cwd=folder, env=environment(), stdout=log, stderr=subprocess.STDOUT
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def scheduler_words(file: Path) -> tuple[str, ...]:
    """Start a scheduler on loopback that writes its address to a file."""
    where = ("--host", "127.0.0.1", "--port", "0", "--scheduler-file", str(file))
    return (*DASK, "scheduler", *where, *QUIETLY)


def worker_words(file: Path) -> tuple[str, ...]:
    """Start a worker of one thread; without a nanny, to start sooner."""
    where = ("--scheduler-file", str(file), "--host", "127.0.0.1")
    return (*DASK, "worker", *where, "--nthreads", "1", "--no-nanny", *QUIETLY)


@contextmanager
def cluster(folder: Path, workers: int) -> Iterator[Path]:
    """A scheduler and workers; yields the scheduler's file once all of them have joined."""
    file = folder / "scheduler.json"
    with ExitStack() as processes:
        processes.enter_context(running(scheduler_words(file), folder, "scheduler"))
        for number in range(workers):
            processes.enter_context(running(worker_words(file), folder, f"worker-{number}"))
        with Client(scheduler_file=str(file), set_as_default=False) as client:
            client.wait_for_workers(workers, timeout=60)
        yield file
