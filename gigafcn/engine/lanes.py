"""Columns of a tile computed side by side, each by a thread with threads of arithmetic of its own.

Two threads that share every convolution wait for each other after each, and for the thread that
stores or reads whenever it takes a processor; two that compute columns of their own do not.  The
price is the halo between two columns, which both compute.  On a GPU that one sweep does not fill,
each column has a stream of its own.
"""

from __future__ import annotations

import contextvars
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from functools import cache
from itertools import repeat
from typing import TYPE_CHECKING, Self

import torch

from gigafcn.engine.transfer import stream_of
from gigafcn.plan.projection import LEAD

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

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
        self._streams = [_stream(device, place) for place in range(count if count > 1 else 0)]
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
            self._pool.shutdown(cancel_futures=True)

    def abreast(self, columns: Sequence[Iterator[None]]) -> Iterator[None]:
        """Advance columns that have as many steps as each other, side by side.

        Yields whenever all have gone on by a step.  None is further ahead of another than
        :data:`gigafcn.plan.projection.LEAD`, since what it takes and makes is held till then.  A
        single column is advanced in the caller's thread, with all its threads of arithmetic.  The
        same place in ``columns`` has the same stream each time.
        """
        if self._pool is None or len(columns) == 1:
            for _ in zip(*columns, strict=True):
                yield
            return
        steps, under_way = [0] * len(columns), dict[Future[bool], int]()
        going_on = set(range(len(columns)))
        while going_on:
            done = min(steps)
            for place in going_on - set(under_way.values()):
                if steps[place] < done + LEAD:
                    under_way[self._advance(columns, place)] = place
            assert under_way, "a column has more steps than another"
            for future in wait(under_way, return_when=FIRST_COMPLETED).done:
                place = under_way.pop(future)
                if _advanced(future, under_way):
                    steps[place] += 1
                else:
                    going_on.remove(place)
            yield from repeat(None, min(steps) - done)

    def _advance(self, columns: Sequence[Iterator[None]], place: int) -> Future[bool]:
        assert self._pool is not None
        stream = self._streams[place % len(self._streams)]
        # A context, such as the pseudonym of a slide, is a thread's own; so is inference mode.
        context = contextvars.copy_context()
        return self._pool.submit(context.run, _inferring, columns[place], stream)


@cache
def _stream(device: torch.device, place: int) -> torch.cuda.Stream | None:
    """The same for all tiles: torch keeps freed memory for the stream that it was made for."""
    return stream_of(device)


def _advanced(future: Future[bool], others: Iterable[Future[bool]]) -> bool:
    """Whether a column went on by a step; raises what it raised, once the others have ended."""
    if future.exception() is not None:
        wait(others)
    return future.result()


def _inferring(column: Iterator[None], stream: torch.cuda.Stream | None) -> bool:
    with torch.inference_mode(), torch.cuda.stream(stream):
        return next(column, _ENDED) is not _ENDED


_ENDED = object()
