"""Run the command line as a user does: real processes, real files, real signals.

Starting Python and loading torch takes seconds, so :func:`gigafcn` forks commands off a server
process that has loaded them once.  :func:`started` starts the program from nothing.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import resource
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gigafcn.cli import main

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

PATIENCE_S = 120
"""After this long a command is taken to hang."""

_AT_WORK = re.compile(r'"pixels_done": [1-9]')

_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(["gigafcn.cli.app", "gigafcn.run", "tests.exported_once"])


@dataclass(frozen=True)
class Ended:
    """What a finished command left: exit code, and what it wrote."""

    code: int
    out: str
    err: str

    @property
    def events(self) -> list[dict[str, Any]]:
        """What it wrote with --json."""
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def error(self) -> str:
        """The one line of the error, without its prefix; whatever else stderr holds is notes."""
        lines = self.err.splitlines()
        assert all(line.startswith("gigafcn: ") for line in lines), self.err
        errors = [line for line in lines if line.startswith("gigafcn: error: ")]
        assert len(errors) == 1, self.err
        return errors[0].removeprefix("gigafcn: error: ")


def _become(
    words: tuple[str, ...],
    folder: str,
    streams: list[str],
    most: int | None,
    environment: dict[str, str],
) -> None:
    """Be the command ``gigafcn words...`` in a folder, for the rest of this process."""
    os.environ.update(environment)
    os.setsid()  # a process group of its own, as a shell gives it
    if most is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    os.chdir(folder)
    os.environ.pop("GIGAFCN_MODEL", None)
    for number, path in enumerate(streams, start=1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_APPEND), number)
    sys.stdout, sys.stderr = (os.fdopen(number, "w", buffering=1) for number in (1, 2))
    sys.exit(main(words))


class Running:
    """A command that was forked off; its streams go to files beside its working directory."""

    def __init__(
        self,
        words: tuple[str, ...],
        cwd: Path,
        file_bytes: int | None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._streams = [cwd.parent / f"{cwd.name}.{name}" for name in ("out", "err")]
        for stream in self._streams:
            stream.write_text("")
        streams, given = [str(stream) for stream in self._streams], dict(environment or {})
        arguments = (words, str(cwd), streams, file_bytes, given)
        self._process = _SERVER.Process(target=_become, args=arguments)
        self._process.start()

    @property
    def pid(self) -> int:
        """Process, and process group, of the command."""
        assert self._process.pid is not None
        return self._process.pid

    @property
    def ended(self) -> bool:
        """Whether the command has ended."""
        return not self._process.is_alive()

    def wait(self) -> None:
        """Wait for the command to end, however it does."""
        self._process.join(PATIENCE_S)

    def wait_for_work(self) -> None:
        """Wait until a line of --json says that pixels were computed."""
        deadline = time.monotonic() + PATIENCE_S
        while not _AT_WORK.search(self._streams[0].read_text()):
            assert self._process.is_alive(), self._streams[1].read_text()
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def end(self) -> Ended:
        """Wait for the command to end."""
        self._process.join(PATIENCE_S)
        if self._process.exitcode is None:
            self._process.kill()
            raise AssertionError(f"the command hangs: {self._streams[1].read_text()}")
        return Ended(self._process.exitcode, *(stream.read_text() for stream in self._streams))


def begun(*words: str, cwd: Path, environment: Mapping[str, str] | None = None) -> Running:
    """Fork off ``gigafcn words...`` in ``cwd``, with variables beside the server's own."""
    return Running(words, cwd, None, environment)


def gigafcn(*words: str, cwd: Path, file_bytes: int | None = None) -> Ended:
    """Run ``gigafcn words...`` in ``cwd`` to its end.

    With ``file_bytes`` the system refuses to make any file longer than that.
    """
    return Running(words, cwd, file_bytes).end()


def started(*words: str, cwd: Path) -> subprocess.Popen[str]:
    """Start the program from nothing, in a process group of its own, as a shell does."""
    # Not what makes a developer's Python write at once: the program itself must.
    left_out = ("GIGAFCN_MODEL", "PYTHONUNBUFFERED")
    environment = {name: value for name, value in os.environ.items() if name not in left_out}
    return subprocess.Popen(
        [sys.executable, "-m", "gigafcn", *words],
        cwd=cwd,
        env=environment | {"PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def ended(process: subprocess.Popen[str]) -> Ended:
    """Wait for a started program."""
    try:
        out, err = process.communicate(timeout=PATIENCE_S)
    finally:
        if process.poll() is None:
            process.kill()
    return Ended(process.returncode, out, err)
