"""Two runs on one output exclude each other, and a dead one holds nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from gigafcn.errors import UsageError
from gigafcn.schedule.lock import Owner, locked

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BEAT_S = 0.1

HOLD = """
import sys, time
from pathlib import Path
from gigafcn.schedule.lock import locked
with locked(Path(sys.argv[1]), beat_s=0.1):
    print("held", flush=True)
    time.sleep(60)
"""


@contextmanager
def holder(path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process of its own that holds the lock."""
    words = [sys.executable, "-c", HOLD, str(path)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


def foreign(path: Path) -> None:
    """A lock of a process on another host."""
    owner = {"host": "another-host", "pid": 1, "started": 0.0, "token": "abc"}
    path.write_text(json.dumps(owner), encoding="utf-8")


def test_a_lock_is_gone_once_it_is_given_back(tmp_path: Path) -> None:
    for _ in range(2):
        with locked(tmp_path / "lock", beat_s=BEAT_S) as held:
            assert held()
        assert not (tmp_path / "lock").exists()


def test_a_second_process_is_refused_by_name(tmp_path: Path) -> None:
    with (
        holder(tmp_path / "lock") as process,
        pytest.raises(UsageError, match=f"in use by process {process.pid}"),
        locked(tmp_path / "lock", beat_s=BEAT_S),
    ):
        pass


def test_a_killed_process_on_this_host_holds_nothing(tmp_path: Path) -> None:
    with holder(tmp_path / "lock") as process:
        os.kill(process.pid, signal.SIGKILL)
    start = time.monotonic()
    with locked(tmp_path / "lock") as held:
        assert held()
    # It is looked up, not waited for: with the ordinary beat, silence would take 20 s.
    assert time.monotonic() - start < 5


def test_a_silent_lock_of_another_host_is_taken_over(tmp_path: Path) -> None:
    foreign(tmp_path / "lock")
    with locked(tmp_path / "lock", beat_s=BEAT_S) as held:
        assert held()


def test_a_beating_lock_of_another_host_is_respected(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with holder(path):
        found = json.loads(path.read_text(encoding="utf-8"))
        path.write_text(json.dumps(found | {"host": "another-host"}), encoding="utf-8")
        with pytest.raises(UsageError, match="on another-host"), locked(path, beat_s=BEAT_S):
            pass


def test_a_lock_cut_short_by_a_crash_is_taken_over(tmp_path: Path) -> None:
    (tmp_path / "lock").write_bytes(b'{"host": "th')
    with locked(tmp_path / "lock", beat_s=BEAT_S) as held:
        assert held()


def test_a_run_sees_that_its_lock_was_taken_over(tmp_path: Path) -> None:
    with locked(tmp_path / "lock", beat_s=BEAT_S) as held:
        foreign(tmp_path / "lock")
        assert not held()
    assert (tmp_path / "lock").exists()  # not its own to remove


def test_a_process_number_used_again_is_not_the_owner() -> None:
    mine = Owner.myself()
    assert not mine.is_gone
    assert Owner(mine.host, mine.pid, mine.started - 1000, "x").is_gone
