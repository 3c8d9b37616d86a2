"""Tasks are handed out a few at a time, and one that fails is told from a disk that is full."""

from __future__ import annotations

import pickle
import time

from gigafcn.errors import StorageError
from gigafcn.schedule.cluster import Equipment, local_client
from gigafcn.schedule.driver import IN_FLIGHT_PER_WORKER, Meter, _windowed
from gigafcn.schedule.inbox import Inbox


def brief(number: int) -> int:
    """A task."""
    time.sleep(0.01)
    return number * number


def test_only_a_few_tasks_are_in_flight_and_all_are_done() -> None:
    found, most = {}, 0
    with local_client(None, Equipment()) as client:
        calls = ((number, brief, (number,)) for number in range(12))
        for key, future in _windowed(client, calls, Meter("compute", 12, 12, None), Inbox()):
            most = max(most, len(client.futures))
            found[key] = future.result()
    assert found == {number: number * number for number in range(12)}
    # Those in flight, the one just finished, and the one before, which this loop still holds.
    assert most <= IN_FLIGHT_PER_WORKER + 2


def test_a_full_disk_is_known_as_such_across_processes() -> None:
    error = pickle.loads(pickle.dumps(StorageError("no room")))
    assert isinstance(error, StorageError)
    assert str(error) == "no room"
