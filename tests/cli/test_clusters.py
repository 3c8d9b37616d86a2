"""The same command with the workers of a Dask cluster that somebody else started."""

from __future__ import annotations

import os
import pickle
import signal
from typing import TYPE_CHECKING, Any

import pytest
from distributed import Client

import gigafcn
from tests.commands import gigafcn as command
from tests.dask_processes import cluster, running, worker_words

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.dask

ASKED = ("-m", "nets.py:tiny", "--trust", "--tile", "256", "--device", "cpu")
COUNTING = """
import os
import torch

def net():
    with open(os.environ.get("LOADED", "loaded.txt"), "a") as file:
        file.write(f"{os.getpid()}\\n")
    torch.manual_seed(0)
    return torch.nn.Conv2d(3, 3, 3, padding=1)
"""


@pytest.fixture(scope="module")
def scheduler(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """File of a scheduler with two workers."""
    with cluster(tmp_path_factory.mktemp("cluster"), 2) as file:
        yield file


def pixels(path: Path) -> dict[str, bytes]:
    """Every stored object of a map but the root document, which tells how long it took."""
    files = {str(p.relative_to(path)): p for p in path.rglob("*") if p.is_file()}
    return {name: p.read_bytes() for name, p in files.items() if name != "zarr.json"}


def test_the_map_is_that_of_one_process_byte_for_byte(folder: Path, scheduler: Path) -> None:
    alone = command("infer", "slide.tif", *ASKED, "-o", "alone.zarr", cwd=folder)
    assert alone.code == 0, alone.err
    words = ("-o", "shared.zarr", "--scheduler-file", str(scheduler), "--json")
    shared = command("infer", "slide.tif", *ASKED, *words, cwd=folder)
    assert shared.code == 0, shared.err
    assert pixels(folder / "alone.zarr") == pixels(folder / "shared.zarr")
    assert "gigafcn: 2 workers on 1 host, each with " in shared.err
    assert max(e["workers"] for e in shared.events if e["event"] == "progress") == 2
    assert not list(folder.glob(".gigafcn-*"))


def test_a_process_loads_a_model_once_for_several_slides(folder: Path, scheduler: Path) -> None:
    (folder / "counting.py").write_text(COUNTING)
    (folder / "other.tif").write_bytes((folder / "slide.tif").read_bytes())
    workers = noted_from_now_on(scheduler, folder / "loaded.txt")
    words = ("--trust", "--tile", "256", "--scheduler-file", str(scheduler))
    done = command("infer", "slide.tif", "other.tif", "-m", "counting.py:net", *words, cwd=folder)
    assert done.code == 0, done.err
    loaded = [int(line) for line in (folder / "loaded.txt").read_text().split()]
    assert {pid: loaded.count(pid) for pid in workers} == dict.fromkeys(workers, 1)


def noted_from_now_on(scheduler: Path, path: Path) -> list[int]:
    """Tell all workers where models note that they were loaded; their process numbers."""

    def note(path: str) -> int:
        os.environ["LOADED"] = path
        return os.getpid()

    with Client(scheduler_file=str(scheduler), set_as_default=False) as client:
        return list(client.run(note, str(path)).values())


def held_by(dask_scheduler: Any) -> bytes:
    """All that a scheduler keeps: tasks with their results, plugins, events, log."""
    tasks = [(t.key, t.run_spec, t.annotations, t.erred_on) for t in dask_scheduler.tasks.values()]
    events = {topic: list(e.events) for topic, e in dask_scheduler._broker._topics.items()}
    log = dask_scheduler.get_logs()
    return pickle.dumps((tasks, dask_scheduler.worker_plugins, events, log))


def test_a_scheduler_holds_neither_pixels_nor_names_of_slides(
    folder: Path, scheduler: Path
) -> None:
    slide = (folder / "slide.tif").rename(folder / "canary-7.tif")
    held = []
    with Client(scheduler_file=str(scheduler), set_as_default=False) as client:

        def look(report: gigafcn.Progress) -> None:
            held.append(client.run_on_scheduler(held_by))

        gigafcn.infer(
            slide, "demonstration", folder / "canary-7.zarr", tile=64, client=client, progress=look
        )
    busiest = max(held, key=len)
    assert b"tile_task" in busiest
    assert not any(b"canary" in found for found in held)
    assert len(busiest) < 100_000


def job_is_open() -> bool:
    """Whether this process has opened a run."""
    from gigafcn.schedule.worker import _JOBS

    return bool(_JOBS)


def test_a_worker_that_joins_late_opens_the_run_too(folder: Path, tmp_path: Path) -> None:
    opened: list[int] = []
    with cluster(tmp_path, 1) as file, Client(scheduler_file=str(file)) as client:
        late = running(worker_words(file), tmp_path, "late")

        def join(report: gigafcn.Progress) -> None:
            if report.tiles_done and not opened:
                late.__enter__()
                client.wait_for_workers(2, timeout=60)
                opened.append(sum(client.run(job_is_open).values()))

        try:
            gigafcn.infer(
                folder / "slide.tif",
                "demonstration",
                folder / "m.zarr",
                tile=64,
                client=client,
                progress=join,
            )
        finally:
            late.__exit__(None, None, None)
    assert opened == [2]


def test_a_scheduler_that_is_killed_is_told_and_its_tiles_are_kept(
    folder: Path, tmp_path: Path
) -> None:
    with cluster(tmp_path, 1) as file, Client(scheduler_file=str(file)) as client:
        scheduler = client.run_on_scheduler(os.getpid)

        def kill(report: gigafcn.Progress) -> None:
            if report.tiles_done:
                os.kill(scheduler, signal.SIGKILL)

        slide, out = folder / "slide.tif", folder / "m.zarr"
        with pytest.raises(gigafcn.RunError, match=r"is gone; start it again"):
            gigafcn.infer(slide, "demonstration", out, tile=64, client=client, progress=kill)
    assert list((folder / "m.zarr.run/receipts").iterdir())
    resumed = gigafcn.infer(slide, "demonstration", out, tile=64)
    assert resumed.summary["tiles_found"] >= 1
