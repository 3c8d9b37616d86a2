"""What do SIGTERM and Ctrl-C do to a command?

While a slide is mapped they ask the run to stop: it begins no more tiles, and has some seconds for
those under way.  A second one, or one at another time, ends the command at once.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

from gigafcn.errors import Preempted

if TYPE_CHECKING:
    from gigafcn.schedule.stopping import StopRequest

Handler = Callable[[int, FrameType | None], object]


def preempted() -> Preempted:
    """What ends a command on SIGTERM."""
    return Preempted("SIGTERM arrived; the same command goes on from here")


@contextmanager
def on_signals(handlers: Mapping[signal.Signals, Handler]) -> Iterator[None]:
    """Handle signals in the main thread; in any other, do nothing."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def stoppable(grace_s: float) -> Iterator[StopRequest]:
    """A request to stop that SIGTERM and Ctrl-C make, with so many seconds for tiles under way."""
    from gigafcn.schedule.stopping import StopRequest  # its package loads Dask

    stop = StopRequest(grace_s)
    handlers: dict[signal.Signals, Handler] = {
        signal.SIGTERM: lambda *_: stop.ask(preempted()),
        signal.SIGINT: lambda *_: stop.ask(KeyboardInterrupt()),
    }
    with on_signals(handlers):
        yield stop
