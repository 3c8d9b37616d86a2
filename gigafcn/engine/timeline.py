"""What do the threads that compute a tile do, for how long, and when?

Sums are always kept; the single stretches only if somebody asked for them, for
:mod:`gigafcn.run.profile`.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from gigafcn.doing import Doing, listening

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager


class Stretch(NamedTuple):
    """One thing that one thread did."""

    doing: str
    process: str
    thread: str
    begin: float
    """Seconds since 1970."""

    seconds: float


class Watch:
    """Told what happens while a tile is computed.

    Parameters
    ----------
    advance
        Called after each block with its map px; may raise to stop the tile.
    kept
        Whether single stretches are kept.
    """

    def __init__(self, advance: Callable[[int], None], *, kept: bool = False) -> None:
        self._advance = advance
        self._advancing = threading.Lock()
        self._kept = kept
        self._process = f"{socket.gethostname()}:{os.getpid()}"
        self._epoch = time.time() - time.perf_counter()
        self._lock = threading.Lock()
        self.seconds = dict.fromkeys(Doing, 0.0)
        """Sum of each."""

        self.stretches: list[Stretch] = []

    def advance(self, pixels: int) -> None:
        """So many map px more are computed; may raise to stop the tile."""
        with self._advancing:
            self._advance(pixels)

    @contextmanager
    def during(self, doing: Doing) -> Iterator[None]:
        """Note what this thread does within."""
        begin = time.perf_counter()
        try:
            yield
        finally:
            self.note(doing, begin)

    def listening(self) -> AbstractContextManager[None]:
        """Note also what code that knows no watch says this thread does within."""
        return listening(self.note)

    def note(self, doing: Doing, begin: float) -> None:
        """Note what this thread has done since ``begin`` on the performance counter."""
        seconds = time.perf_counter() - begin
        with self._lock:
            self.seconds[doing] += seconds
        if self._kept:
            thread = threading.current_thread().name
            self.stretches.append(
                Stretch(doing, self._process, thread, self._epoch + begin, seconds)
            )
