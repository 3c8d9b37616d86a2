"""The fault table in short: the same campaigns as ``benchmarks.faults``, with fewer faults."""

from __future__ import annotations

import json
import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from benchmarks.faults import campaigns
from benchmarks.faults.page import PAGE, RESULTS, page
from benchmarks.faults.setting import Setting, setting

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def at(tmp_path_factory: pytest.TempPathFactory) -> Setting:
    """A slide of twelve tiles."""
    return setting(tmp_path_factory.mktemp("faults") / "work", 3, 4)


@pytest.fixture(scope="module")
def whole(at: Setting) -> str:
    """Hash of a map that was made in one go."""
    return campaigns.undisturbed(at)


@pytest.mark.dask
def test_killed_workers_cost_no_tile(at: Setting, whole: str) -> None:
    found = campaigns.workers_killed(at, whole, workers=2, tiles_between=5)
    assert found["kills"] >= 1
    assert (found["exit_code"], found["lost"], found["failed"]) == (0, 0, 0)
    assert found["byte_identical"]


def test_killed_drivers_cost_no_tile(at: Setting, whole: str) -> None:
    found = campaigns.drivers_killed(at, whole, kills=3, with_workers=0)
    assert found["kills"] == 3
    assert (found["exit_code"], found["lost"], found["stored_and_computed_again"]) == (0, 0, 0)
    assert found["begun_and_computed_again"] <= found["allowed"]
    assert found["byte_identical"]


def test_sigterm_ends_with_75_and_costs_no_tile(at: Setting, whole: str) -> None:
    found = campaigns.terminated(at, whole, times=2)
    assert found["ended_with_75"] == found["signals"] == 2
    assert (found["lost"], found["begun_and_computed_again"]) == (0, 0)
    assert found["byte_identical"]


def may_mount(folder: Path) -> bool:
    """Whether this process may mount a file system."""
    command = ["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(folder)]
    if os.geteuid() or subprocess.run(command, check=False, capture_output=True).returncode:
        return False
    subprocess.run(["umount", str(folder)], check=True)
    return True


def test_a_full_disk_tears_nothing_and_the_run_goes_on(
    at: Setting, whole: str, tmp_path: Path
) -> None:
    # Without a file system of its own the limit on files takes its part, in the tests of the
    # command line.
    points = 2 if may_mount(tmp_path) else 0
    found = campaigns.disk_full(at, whole, points=points)
    assert found["told_what_is_needed"] == found["finished_byte_identical"] == points
    assert found["torn_objects"] == 0


def test_a_store_that_fails_costs_no_tile(at: Setting, whole: str) -> None:
    found = campaigns.store_fails(at, whole, share=0.05)
    assert sum(found["failed_requests"].values()) >= 1
    assert (found["exit_code"], found["lost"]) == (0, 0)
    assert found["byte_identical"]


def test_damaged_objects_are_found_and_repaired_alone(at: Setting, whole: str) -> None:
    found = campaigns.shards_damaged(at, whole, count=8)
    assert (found["found"], found["found_wrongly"], found["written_outside_of_them"]) == (8, 0, 0)
    assert found["byte_identical_after_repair"]


def test_the_page_tells_what_was_measured() -> None:
    record = json.loads(RESULTS.read_text(encoding="utf-8"))
    assert PAGE.read_text(encoding="utf-8") == page(record)
