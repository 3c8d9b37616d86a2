"""What does a thread do just now?  Said where it is done, noted where somebody watches.

Code that reads files or compresses chunks knows nothing of runs and their profiles; a run that
wants to know listens in the threads it starts.  Where nobody listens, saying so costs nothing.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from contextvars import ContextVar
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Doing(StrEnum):
    """What a thread does."""

    READING = "read and decode"
    """All that brings a strip of pixels; where the format lets one tell, both parts are in it."""

    READING_BYTES = "read"
    DECODING = "decode"
    WAITING_FOR_PIXELS = "wait for pixels"
    TO_DEVICE = "pixels to the device"
    COMPUTING = "compute"
    TO_HOST = "scores to the host"
    WAITING_FOR_ROOM = "wait for room"
    STORING = "compress and store"
    """All that becomes of a row of shards; what is neither of its parts halves pixels."""

    COMPRESSING = "compress"
    WRITING_BYTES = "write"


_listener: ContextVar[Callable[[Doing, float], None] | None] = ContextVar("listener", default=None)


@contextmanager
def listening(note: Callable[[Doing, float], None]) -> Iterator[None]:
    """Note all that this thread does within, and its begin on the performance counter."""
    token = _listener.set(note)
    try:
        yield
    finally:
        _listener.reset(token)


@contextmanager
def during(doing: Doing) -> Iterator[None]:
    """Tell whoever listens what this thread does within."""
    note = _listener.get()
    begin = time.perf_counter()
    try:
        yield
    finally:
        if note is not None:
            note(doing, begin)
