"""What foreign workers have, and what of it is told or refused."""

from __future__ import annotations

import asyncio
import logging
import platform
import re
import subprocess
import sys
from dataclasses import replace
from importlib import metadata

import dask
import pytest
from distributed.protocol.pickle import dumps

from gigafcn.errors import RunError
from gigafcn.schedule.crew import PACKAGES, Report, asked_of_workers, foreign_crew

GIB = 2**30
HERE: dict[str, str | None] = {name: metadata.version(name) for name in PACKAGES}
HERE["python"] = platform.python_version()
GOOD = Report("tcp://a:1", "a", HERE, cpus=(0, 1, 2, 3), free=8 * GIB, limit=8 * GIB)


def test_workers_that_share_processors_share_them_evenly() -> None:
    apart = replace(GOOD, cpus=(4, 5, 6, 7))
    assert foreign_crew([GOOD]).threads == 4
    assert foreign_crew([GOOD, GOOD]).threads == 2
    assert foreign_crew([GOOD, apart]).threads == 4
    assert foreign_crew([GOOD, replace(GOOD, host="b")]).threads == 4


def test_memory_is_half_of_what_the_worst_off_may_take() -> None:
    assert foreign_crew([GOOD]).memory == 4 * GIB
    assert foreign_crew([GOOD, GOOD]).memory == 2 * GIB  # on one machine
    assert foreign_crew([GOOD, replace(GOOD, host="b", limit=6 * GIB)]).memory == 3 * GIB
    assert foreign_crew([replace(GOOD, limit=0)]).memory == 4 * GIB


@pytest.mark.parametrize(
    ("change", "warning"),
    [
        ({"versions": HERE | {"torch": "2.11.0"}}, "torch is .* here, 2.11.0 on worker tcp://a:1"),
        ({"dask_threads": 16}, "16 Dask threads in .*--nthreads 1"),
        ({"may_hang": True}, "stop Python 3.11 for good on worker tcp://a:1 .*ENABLED=False"),
        ({"limit": GIB}, "ends worker .* at 1.0 GiB although 8.0 GiB are free.*--memory-limit"),
    ],
)
def test_what_is_odd_is_told_in_one_line(
    change: dict[str, object], warning: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        foreign_crew([replace(GOOD, **change)])  # type: ignore[arg-type]  # fields by name
    (record,) = caplog.records
    assert re.search(warning, record.getMessage())
    assert "\n" not in record.getMessage()


@pytest.mark.parametrize("profiled", [True, False])
def test_a_worker_says_whether_it_may_hang(profiled: bool) -> None:
    with dask.config.set({"distributed.worker.profile.enabled": profiled}):
        told = asyncio.run(asked_of_workers(PACKAGES, gpus=False)())
    assert told["may_hang"] == (profiled and sys.version_info[:2] == (3, 11))


def test_more_memory_than_dask_allows_is_told(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        foreign_crew([GOOD], 9 * GIB)
    assert "9.0 GiB is more than Dask lets a worker take, 8.0 GiB" in caplog.text


def test_a_worker_without_gigafcn_or_with_another_version_is_refused() -> None:
    with pytest.raises(RunError, match=r"no gigafcn on worker tcp://a:1 \(a\): install"):
        foreign_crew([GOOD, replace(GOOD, versions=HERE | {"gigafcn": None})])
    with pytest.raises(RunError, match=r"gigafcn 0\.0\.1 on worker"):
        foreign_crew([replace(GOOD, versions=HERE | {"gigafcn": "0.0.1"})])


def test_a_worker_that_lacks_gigafcn_can_still_say_so() -> None:
    question = dumps(asked_of_workers((*PACKAGES, "nothing-like-it"), gpus=False))
    program = (
        "import asyncio, pickle, sys; sys.modules['gigafcn'] = None;"
        "print(asyncio.run(pickle.load(sys.stdin.buffer)()))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", program], input=question, capture_output=True, check=True
    )
    assert b"'nothing-like-it': None" in answer.stdout
