"""One run at a time on one output, also across hosts that share a file system.

The lock is a file that names its owner and is touched every few seconds.  An owner that died does
not hold it for ever: on the same host its process is looked up, on another host a lock that is
not touched for several beats is taken over.  Clocks of different hosts are never compared: the
waiting run watches whether the file's time changes.  In a bucket the lock is an object: it is
written only if there is none, and written anew at every beat.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
import uuid
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import psutil

from gigafcn.errors import UsageError
from gigafcn.storage.url_path import UrlPath

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

BEAT_S = 5.0
"""Between two touches."""

DEAD_AFTER_BEATS = 4
"""Beats of silence after which an owner on another host counts as dead."""


@dataclass(frozen=True, slots=True)
class Owner:
    """Who holds a lock."""

    host: str
    pid: int
    started: float
    """When the process began, in seconds of its host's clock: process numbers are used again."""

    token: str
    """Unlike any other lock's."""

    @classmethod
    def myself(cls) -> Owner:
        """This process, with a fresh token."""
        pid = os.getpid()
        started = psutil.Process(pid).create_time()
        return cls(socket.gethostname(), pid, started, uuid.uuid4().hex)

    @property
    def is_gone(self) -> bool:
        """Whether the process is known to have ended; on another host nothing is known."""
        if self.host != socket.gethostname():
            return False
        try:
            # Rounded by some systems to a hundredth of a second.
            return bool(abs(psutil.Process(self.pid).create_time() - self.started) > 1)
        except psutil.Error:
            return True


@contextmanager
def locked(path: Path, *, beat_s: float = BEAT_S) -> Iterator[Callable[[], bool]]:
    """Hold the lock file at ``path``; yields a function that says whether it is still held.

    Raises
    ------
    UsageError
        If a living run holds it, naming host and process.
    """
    mine = Owner.myself()
    _acquire(path, mine, beat_s)
    stopped = threading.Event()
    thread = threading.Thread(
        target=_keep_touching, args=(path, mine, stopped, beat_s), name="gigafcn-lock", daemon=True
    )
    thread.start()
    try:
        yield lambda: _owner(path) == mine
    finally:
        stopped.set()
        thread.join()
        if _owner(path) == mine:
            path.unlink(missing_ok=True)


def _acquire(path: Path, mine: Owner, beat_s: float) -> None:
    while not _created(path, mine):
        other = _owner(path)
        # A lock that cannot be read may be one that is being written this very moment.
        if (other is None or not other.is_gone) and _beats(path, beat_s):
            who = "another run" if other is None else f"process {other.pid} on {other.host}"
            raise UsageError(f"{path.parent} is in use by {who}; wait for that run or stop it")
        _take_away(path, other, mine)


def _created(path: Path, mine: Owner) -> bool:
    if isinstance(path, UrlPath):
        return path.create(_note(mine))
    try:
        handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
    except FileExistsError:
        return False
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(_note(mine).decode())
    except OSError:
        path.unlink(missing_ok=True)
        raise
    return True


def _note(owner: Owner, beat: int = 0) -> bytes:
    return json.dumps(asdict(owner) | {"beat": beat}).encode()


def _owner(path: Path) -> Owner | None:
    """Owner named in the file; None if there is no file or it was not written to its end."""
    try:
        said = json.loads(path.read_bytes())
        del said["beat"]
        return Owner(**said)
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _beats(path: Path, beat_s: float) -> bool:
    """Whether somebody touches the file; takes some beats to say no."""
    before = _touched(path)
    deadline = time.monotonic() + DEAD_AFTER_BEATS * beat_s
    while time.monotonic() < deadline:
        time.sleep(min(0.2, beat_s / 4))
        if _touched(path) != before:
            return True
    return False


def _touched(path: Path) -> int | str | None:
    try:
        if isinstance(path, UrlPath):
            return path.tag()
        return path.stat().st_mtime_ns
    except OSError:
        return None


def _take_away(path: Path, dead: Owner | None, mine: Owner) -> None:
    """Move a dead owner's lock aside; of several runs that try, one succeeds."""
    if isinstance(path, UrlPath):
        # Of several runs, one creates it afterwards; nothing can be moved aside.
        if _owner(path) == dead:
            path.unlink(missing_ok=True)
        return
    aside = path.with_name(f"{path.name}.{mine.token}")
    try:
        path.rename(aside)
    except FileNotFoundError:
        return
    if _owner(aside) != dead:
        # Another run was faster, and this is its fresh lock.
        with suppress(OSError):
            os.link(aside, path)
    aside.unlink()


def _keep_touching(path: Path, mine: Owner, stopped: threading.Event, beat_s: float) -> None:
    beat = 0
    while not stopped.wait(beat_s):
        with suppress(OSError):
            if not isinstance(path, UrlPath):
                os.utime(path)
            elif _owner(path) == mine:
                beat += 1
                path.write_bytes(_note(mine, beat))
