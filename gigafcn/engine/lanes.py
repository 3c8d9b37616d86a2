"""Columns of a tile computed side by side, each by a thread with threads of arithmetic of its own.

Two threads that share every convolution wait for each other after each, and for the thread that
stores or reads whenever it takes a processor; two that compute columns of their own do not.  The
price is the halo between two columns, which both compute.  On a GPU that one sweep does not fill,
each column has a stream of its own.
"""

from __future__ import annotations

import contextvars
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Self, TypeVar

import torch

from gigafcn.engine.transfer import stream_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

T = TypeVar("T")

_CPU = torch.device("cpu")


class Lanes:
    """Threads that compute columns, as long as the context lasts.

    Parameters
    ----------
    count
        Columns at a time.
    threads
        Of arithmetic, which they share out evenly.
    device
        That computes.
    """

    def __init__(self, count: int, threads: int, device: torch.device = _CPU) -> None:
        self._pool: ThreadPoolExecutor | None = None
        self._streams = [stream_of(device) for _ in range(count if count > 1 else 0)]
        for stream in self._streams:
            if stream is not None:  # the model's weights may still be on their way
                stream.wait_stream(torch.cuda.current_stream(device))
        if count > 1:
            each = max(1, threads // count)
            self._pool = ThreadPoolExecutor(count, "gigafcn-lane", torch.set_num_threads, (each,))

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(self, *_: object) -> None:
        """Wait for what is under way, and end."""
        if self._pool is not None:
            self._pool.shutdown()

    def together(self, calls: Sequence[Callable[[], T]]) -> list[T]:
        """What each call returns; all have ended by then, also if one raises.

        A single call is made in the caller's thread, with all its threads of arithmetic.  The
        same place in ``calls`` has the same stream each time.
        """
        if self._pool is None or len(calls) == 1:
            return [call() for call in calls]
        # A context, such as the pseudonym of a slide, is a thread's own; so is inference mode.
        futures = [
            self._pool.submit(contextvars.copy_context().run, _inferring, call, self._stream(place))
            for place, call in enumerate(calls)
        ]
        errors = [future.exception() for future in futures]
        for error in errors:
            if error is not None:
                raise error
        return [future.result() for future in futures]

    def _stream(self, place: int) -> torch.cuda.Stream | None:
        return self._streams[place % len(self._streams)]


def _inferring(call: Callable[[], T], stream: torch.cuda.Stream | None) -> T:
    with torch.inference_mode(), torch.cuda.stream(stream):
        return call()
