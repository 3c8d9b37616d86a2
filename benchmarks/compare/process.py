"""A peer's process as the comparison sees it: it is asked, and answers in time or not at all."""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmarks.compare.peers.task import Task

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 300
"""For importing libraries."""

KEPT_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(32 << 20), "MALLOC_TRIM_THRESHOLD_": str(1 << 30)}
"""Lets glibc keep what is freed, which gigafcn does by itself.  The bare module of a small net
takes up to twice as long where every large result is fetched from the system anew."""


class PeerFailure(Exception):
    """A peer raised, died or took too long."""


class Peer:
    """A process that maps images on request.

    Parameters
    ----------
    python
        Interpreter of its environment.
    module
        In ``benchmarks.compare.peers``.
    threads
        That torch and every library in it may use.
    log
        File for what it prints.
    """

    def __init__(self, python: Path, module: str, *, threads: int, log: Path) -> None:
        limits = dict.fromkeys(
            ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"),
            str(threads),
        )
        self.log = log
        with log.open("ab") as told:
            self._process = subprocess.Popen(
                [str(python), "-m", f"benchmarks.compare.peers.{module}"],
                cwd=ROOT,
                env=os.environ | limits | KEPT_MEMORY | {"PYTHONPATH": str(ROOT)},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=told,
            )
        self._read = b""
        self.versions: dict[str, str] = self._answer(START_SECONDS)["ready"]

    def ask(self, task: Task, limit: float) -> dict[str, Any]:
        """Have an image mapped.

        Raises
        ------
        PeerFailure
            If it fails or takes more than ``limit`` seconds; the process is then ended.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(asdict(task)).encode() + b"\n")
            self._process.stdin.flush()
        except OSError:
            raise self._dead() from None
        answer = self._answer(limit)
        if "error" in answer:
            raise PeerFailure(answer["error"])
        return answer

    def stop(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()

    def _answer(self, limit: float) -> dict[str, Any]:
        """The next line."""
        stream = self._process.stdout
        assert stream is not None
        end = time.monotonic() + limit
        with selectors.DefaultSelector() as ready:
            ready.register(stream, selectors.EVENT_READ)
            while b"\n" not in self._read:
                left = end - time.monotonic()
                if left <= 0:
                    self.stop()
                    raise PeerFailure(f"took more than {limit:.0f} s")
                if ready.select(left):
                    read = os.read(stream.fileno(), 1 << 16)
                    if not read:
                        raise self._dead()
                    self._read += read
        line, _, self._read = self._read.partition(b"\n")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _dead(self) -> PeerFailure:
        self.stop()
        said = self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-1:]
        code = self._process.returncode
        why = "killed (out of memory?)" if code == -9 else f"ended with code {code}"
        return PeerFailure(f"{why}; the last line of {self.log.name}: {' '.join(said)[:200]}")
