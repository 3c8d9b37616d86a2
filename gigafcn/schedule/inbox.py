"""Where the driver waits: for finished tasks, and for work that tasks hand back to its thread.

A task of an in-process worker hands its tile to the thread that called ``infer``.  OpenMP keeps a
team of threads per calling thread and lets them sleep at every barrier once there are more threads
than processors, and glibc gives memory of other threads back to the system after every block:
sweeping in Dask's own thread took 1.6 times as long.
"""

from __future__ import annotations

import queue
from concurrent.futures import Future as Promise
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gigafcn.errors import Preempted

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from distributed import Future

STOP_POLL_S = 0.2


class Stopped(Exception):
    """The run was asked to stop; the tile is abandoned."""


class CallerFailed(Exception):
    """The caller's own progress callback raised ``error``, which is no tile's fault."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(error)
        self.error = error


@dataclass(slots=True)
class _Errand:
    """Work for the driver's thread, and the promise that its sender waits for."""

    work: Callable[[], Any]
    promise: Promise[Any] = field(default_factory=Promise)

    def carry_out(self) -> None:
        """Do the work; what concerns the whole run, not the tile, is raised here too."""
        try:
            self.promise.set_result(self.work())
        except CallerFailed as failed:
            self.promise.set_exception(Stopped())
            raise failed.error from None
        except BaseException as error:
            if isinstance(error, Exception) and not isinstance(error, Preempted):
                self.promise.set_exception(error)
                return
            self.promise.set_exception(Stopped())
            raise


class Inbox:
    """Finished futures and errands, in order of arrival."""

    def __init__(self) -> None:
        self._items: queue.SimpleQueue[Future[Any] | _Errand] = queue.SimpleQueue()
        self.on_pixels: Callable[[int], None] = lambda _: None

    def finish(self, future: Future[Any]) -> None:
        """Note a finished task."""
        self._items.put(future)

    def run(self, work: Callable[[], Any], stop: threading.Event) -> Any:
        """Have the driver's thread do some work, and wait for it; called by a task."""
        errand = _Errand(work)
        self._items.put(errand)
        while True:
            try:
                return errand.promise.result(timeout=STOP_POLL_S)
            except TimeoutError:
                if stop.is_set() and not errand.promise.done():
                    raise Stopped from None

    def advance(self, pixels: int) -> None:
        """Tell the caller of progress from within an errand."""
        try:
            self.on_pixels(pixels)
        except BaseException as error:
            raise CallerFailed(error) from error

    def next(self, timeout_s: float) -> Future[Any] | None:
        """A finished task, or None after an errand or when nothing came."""
        try:
            item = self._items.get(timeout=timeout_s)
        except queue.Empty:
            return None
        if isinstance(item, _Errand):
            item.carry_out()
            return None
        return item
