"""What does scheduling cost, and what do more workers gain?

``python -m benchmarks.scheduling`` writes ``benchmarks/results/scheduling.json`` in some five
minutes.  Everything runs in real processes on loopback: ``dask scheduler``, ``dask worker``, and
this process as the driver.

1. 10 000 tiles of 1 ms each go through the driver's own window.  Processor time and memory of the
   scheduler and of the driver are read from the system.  How many workers one scheduler feeds
   follows: it is busy for so many ms per tile, and a tile takes a worker so many seconds.
2. The same map is made by one worker with one thread on one core, by two such workers on two
   cores, and by one worker with two threads.  Times are those of the tiles, without start-up, and
   taken in turn.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
import torch
from distributed import Client
from torch import nn

import gigafcn
from benchmarks.machine import machine
from gigafcn.schedule.driver import Meter, _windowed
from gigafcn.schedule.inbox import Inbox

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gigafcn import Progress

RESULT = Path(__file__).parent / "results" / "scheduling.json"
TILES, TILE_S = 10_000, 0.001
BUSY_SHARE = 0.5
"""Part of its time that scheduler or driver may be busy before workers are said to wait."""

SIDE_PX, TILE_PX, ROUNDS = 5120, 512, 3
LEAST_GAIN, LEAST_SHARE = 1.8, 0.95

Cores = tuple[int, ...]

UNPROFILED = {"DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED": "False"}
"""As in the clusters that gigafcn starts; Python 3.11 may hang in Dask's profiler."""


@contextmanager
def process(words: list[str], folder: str, cores: Cores | None = None) -> Iterator[int]:
    """A process on some cores; yields its number."""
    pinned = None if cores is None else partial(os.sched_setaffinity, 0, cores)
    started = subprocess.Popen(
        [sys.executable, "-m", "dask", *words],
        cwd=folder,
        env=os.environ | UNPROFILED,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=pinned,
    )
    try:
        yield started.pid
    finally:
        started.terminate()
        started.wait()


@contextmanager
def cluster(workers: list[Cores | None]) -> Iterator[tuple[Client, int]]:
    """A scheduler and workers; yields a client and the scheduler's process number."""
    with ExitStack() as stack:
        folder = stack.enter_context(TemporaryDirectory())
        file = f"{folder}/scheduler.json"
        here = ["--scheduler-file", file, "--host", "127.0.0.1", "--no-dashboard"]
        scheduler = stack.enter_context(process(["scheduler", "--port", "0", *here], folder))
        for cores in workers:
            own = ["--nthreads", "1", "--no-nanny", "--memory-limit", "0"]
            stack.enter_context(process(["worker", *here, *own], folder, cores))
        client = stack.enter_context(Client(scheduler_file=file, set_as_default=False))
        client.wait_for_workers(len(workers), timeout=60)
        yield client, scheduler


def task(run: str, tile: tuple[int, int, int, int]) -> int:
    """A tile that takes a millisecond; its arguments are those of a real one."""
    time.sleep(TILE_S)
    return sum(tile)


def cost_of_scheduling() -> dict[str, Any]:
    """Figures of many short tiles on two workers."""
    with cluster([None, None]) as (client, pid):
        watched = {"scheduler": psutil.Process(pid), "driver": psutil.Process()}
        client.submit(task, "warm", (0, 0, 0, 0)).result()
        before = {name: (cpu_s(p), p.memory_info().rss) for name, p in watched.items()}
        start, peak, done = time.perf_counter(), 0, 0
        calls = ((i, task, ("0123456789ab", (i, 0, i + 1, 1))) for i in range(TILES))
        for _, future in _windowed(client, calls, Meter("compute", TILES, TILES, None), Inbox()):
            done += future.result() > 0
            if done % 500 == 0:
                peak = max(peak, watched["scheduler"].memory_info().rss)
        wall = time.perf_counter() - start
        used = {name: 1000 * (cpu_s(p) - before[name][0]) / TILES for name, p in watched.items()}
        held = before["scheduler"][1]
    busiest = max(used.values())
    return {
        "tiles": TILES,
        "tile_ms": 1000 * TILE_S,
        "workers": 2,
        "seconds": round(wall, 1),
        "tiles_per_s": round(TILES / wall),
        "overhead_ms_per_tile": round(1000 * (2 * wall / TILES - TILE_S), 2),
        "scheduler_cpu_ms_per_tile": round(used["scheduler"], 2),
        "driver_cpu_ms_per_tile": round(used["driver"], 2),
        "scheduler_mib_before": round(held / 2**20),
        "scheduler_mib_most": round(peak / 2**20),
        "scheduler_bytes_per_tile": round(max(0, peak - held) / TILES),
        "workers_fed": {
            f"tiles of {seconds} s": int(BUSY_SHARE * 1000 * seconds / busiest)
            for seconds in (1, 5, 20)
        },
    }


def cpu_s(watched: psutil.Process) -> float:
    """Processor seconds of a process so far."""
    times = watched.cpu_times()
    return float(times.user + times.system)


def net() -> nn.Module:
    """A plain net of small footprint, bound by arithmetic."""
    torch.manual_seed(0)
    layers: list[nn.Module] = [nn.Conv2d(3, 32, 3, padding=1), nn.ReLU()]
    for _ in range(6):
        layers += [nn.Conv2d(32, 32, 3, padding=1), nn.ReLU()]
    return nn.Sequential(*layers, nn.Conv2d(32, 3, 1)).eval()


def seconds_of(client: Client, side: int) -> float:
    """Seconds in which a cluster computes all tiles of an image."""
    last: list[Progress] = []

    def heard(report: Progress) -> None:
        if report.stage == "compute":
            last[:] = [report]

    image = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
    with TemporaryDirectory() as folder:
        gigafcn.infer(
            image, net(), f"{folder}/m.zarr", tile=TILE_PX, strip=64, device="cpu", verify=False,
            save="probabilities", client=client, progress=heard,
        )  # fmt: skip
    return last[0].seconds


def gain_of_workers() -> dict[str, Any]:
    """Times of the three ways to use one or two cores."""
    first, second = sorted(os.sched_getaffinity(0))[:2]
    ways: dict[str, list[Cores | None]] = {
        "one worker, one thread": [(first,)],
        "two workers, one thread each": [(first,), (second,)],
        "one worker, two threads": [(first, second)],
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    with ExitStack() as stack:
        clients = {n: stack.enter_context(cluster(workers))[0] for n, workers in ways.items()}
        for client in clients.values():
            seconds_of(client, 2 * TILE_PX)
        for _ in range(ROUNDS):
            for name, client in clients.items():
                times[name].append(seconds_of(client, SIDE_PX))
                print(f"{name}: {times[name][-1]:.1f} s", flush=True)
    one, two, threads = (statistics.median(found) for found in times.values())
    return {
        "image_px": [SIDE_PX, SIDE_PX],
        "tile_px": TILE_PX,
        "seconds": {name: [round(s, 2) for s in found] for name, found in times.items()},
        "two_workers_against_one": round(one / two, 2),
        "two_workers_against_two_threads": round(threads / two, 2),
        "wanted": {"against_one": LEAST_GAIN, "against_two_threads": LEAST_SHARE},
    }


def main() -> None:
    """Measure both, print and write."""
    found: dict[str, Any] = {"machine": machine(), "load_before": round(os.getloadavg()[0], 2)}
    found["scheduling"] = cost_of_scheduling()
    print(json.dumps(found, indent=1), flush=True)
    found["workers"] = gain_of_workers()
    RESULT.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(found["workers"], indent=1))


if __name__ == "__main__":
    main()
