"""A command that is stopped half-way ends at once, says so, and leaves nothing half-written."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest
import tifffile

from tests.commands import begun

if TYPE_CHECKING:
    from pathlib import Path

IN_SMALL_STEPS = ("--tile", "256", "--strip", "16", "--device", "cpu")
SLOWLY = ("-m", "nets.py:slow", "--trust", "--json", *IN_SMALL_STEPS)


def all_gone(group: int) -> bool:
    """Whether no process of a group is left; a helper of Python's own may take a moment."""
    for _ in range(100):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


@pytest.fixture
def large(folder: Path) -> Path:
    """The folder with a slide that takes some seconds to map."""
    pixels = np.zeros((3000, 3000, 3), np.uint8)
    pixels[::100] = 1  # an image of one value would be refused
    tifffile.imwrite(
        folder / "large.tif", pixels, tile=(256, 256), photometric="rgb", compression="zlib"
    )
    return folder


def nothing_looks_finished(folder: Path) -> None:
    """An unfinished map may be left to go on with: no root document, picture, lock or lent file."""
    assert not (folder / "large.zarr/zarr.json").exists()
    assert not (folder / "large.png").exists()
    left = {p.name for p in (folder / "large.zarr.run").iterdir()}
    assert left <= {"run.json", "receipts"}


@pytest.mark.parametrize(
    ("number", "code", "what"),
    [
        (signal.SIGINT, 130, "interrupted; the same command goes on from here"),
        (signal.SIGTERM, 75, "SIGTERM arrived; the same command goes on from here"),
    ],
)
def test_a_signal_ends_a_run_in_good_order(
    number: signal.Signals, code: int, what: str, large: Path
) -> None:
    running = begun("infer", "large.tif", *SLOWLY, cwd=large)
    running.wait_for_work()
    os.kill(running.pid, number)
    stopped = running.end()
    assert stopped.code == code
    assert stopped.error == what
    nothing_looks_finished(large)


def test_an_interrupted_overwrite_leaves_neither_the_old_map_nor_half_a_new_one(
    large: Path,
) -> None:
    small = ("-m", "nets.py:tiny", "--trust", "--region", "0,0,99,99")
    assert begun("infer", "large.tif", *small, cwd=large).end().code == 0
    running = begun("infer", "large.tif", *SLOWLY, "--overwrite", cwd=large)
    running.wait_for_work()
    os.kill(running.pid, signal.SIGINT)
    assert running.end().code == 130
    nothing_looks_finished(large)


@pytest.mark.dask
def test_ctrl_c_in_a_terminal_ends_worker_processes_too(large: Path) -> None:
    running = begun("infer", "large.tif", *SLOWLY, "--workers", "1", cwd=large)
    running.wait_for_work()
    # A terminal sends it to the whole group: to this process and to its workers.
    os.killpg(running.pid, signal.SIGINT)
    stopped = running.end()
    assert stopped.code == 130
    assert stopped.error == "interrupted; the same command goes on from here"
    nothing_looks_finished(large)
    assert all_gone(running.pid)
