"""A worker process that is killed while it starts is replaced all the same."""

from __future__ import annotations

import os
import signal
import threading
import time
from contextlib import suppress

import psutil
import pytest
from distributed.core import Status

from gigafcn.errors import RunError
from gigafcn.schedule import reviving
from gigafcn.schedule.cluster import Equipment, local_client
from gigafcn.schedule.driver import Meter, _windowed
from gigafcn.schedule.inbox import Inbox


def processes() -> list[int]:
    """Worker processes, up or not."""
    found = []
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):  # it has just ended
            if "spawn_main" in " ".join(child.cmdline()):
                found.append(child.pid)
    return found


def kill_each_as_it_starts(times: int) -> None:
    """Kill a worker process, and those that Dask starts instead before they are up."""
    for _ in range(times):
        while not (found := processes()):
            time.sleep(0.01)
        os.kill(found[0], signal.SIGKILL)
        while found[0] in processes():
            time.sleep(0.01)


@pytest.mark.dask
def test_a_worker_killed_while_it_starts_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gigafcn.schedule.driver.WORKERS_EVERY_S", 0.1)
    monkeypatch.setattr(reviving, "BARE_S", 2.0)
    with local_client(1, Equipment()) as client:
        killer = threading.Thread(target=kill_each_as_it_starts, args=(3,))
        killer.start()
        killer.join()
        meter = Meter("compute", 1, 1, None)
        [(key, future)] = _windowed(client, [("it", os.getpid, ())], meter, Inbox())
        assert key == "it"
        assert future.result() != os.getpid()


def test_workers_that_never_start_end_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reviving, "FRUITLESS", 0)
    with local_client(None, Equipment()) as client:
        reviver = reviving.Reviver(client)
        reviver.look(0)  # none is gone
        monkeypatch.setattr(reviving, "GIVEN_UP", (Status.running,))
        with pytest.raises(RunError, match="ended 0 times while they started"):
            reviver.look(0)
