"""One function per row of the fault table; each returns figures."""

from __future__ import annotations

import random
import signal
import statistics
import subprocess
import time
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import gigafcn
from benchmarks.faults.setting import (
    Setting,
    begun_only,
    damaged,
    digest,
    kill,
    stored,
    until,
    worker_processes,
)
from gigafcn.schedule.run_folder import RunFolder
from tests.storage.bucket_server import Faults, failing, pointed_at, s3_server

if TYPE_CHECKING:
    from pathlib import Path

Figures = dict[str, Any]
PREEMPTED, FAILED = 75, 5


def undisturbed(at: Setting) -> str:
    """Hash of a map that was made in one go."""
    ended = at.map("undisturbed.zarr")
    assert ended.code == 0, ended.err
    return digest(at.folder / "undisturbed.zarr")


def workers_killed(at: Setting, whole: str, *, workers: int, tiles_between: int) -> Figures:
    """SIGKILL a random worker process whenever some more tiles are stored."""
    output, chance = at.folder / "workers.zarr", random.Random(0)
    running = at.start(output.name, "--workers", str(workers))
    kills: list[float] = []
    aim = tiles_between
    while until(output, min(aim, at.tiles), running) and aim < at.tiles:
        alive = sorted(worker_processes(running.pid), key=lambda process: process.pid)
        if alive:
            kill(chance.choice(alive).pid)
            kills.append(time.monotonic())
        aim = len(stored(output)) + tiles_between
    ended = running.end()
    pauses = [b - a for a, b in pairwise(kills)]
    return {
        "tiles": at.tiles,
        "workers": workers,
        "kills": len(kills),
        "seconds_between_kills": round(statistics.median(pauses), 1) if pauses else None,
        "exit_code": ended.code,
        **_outcome(at, output, whole),
    }


def drivers_killed(at: Setting, whole: str, *, kills: int, with_workers: int) -> Figures:
    """SIGKILL the command itself and repeat it; some runs have two worker processes."""
    output = at.folder / "drivers.zarr"
    again = most = done = 0
    for number in range(kills):
        words = ("--workers", "2") if number < with_workers else ()
        running = at.start(output.name, *words)
        if not until(output, len(stored(output)) + max(1, at.tiles // (kills + 1)), running):
            break
        kill(running.pid)
        running.wait()
        done += 1
        lost = begun_only(output)
        again, most = again + lost, most + (4 if words else 2)
    before = _times(output)
    ended = at.map(output.name)
    return {
        "tiles": at.tiles,
        "kills": done,
        "exit_code": ended.code,
        "begun_and_computed_again": again,
        "allowed": most,
        "stored_and_computed_again": _rewritten(output, before),
        **_outcome(at, output, whole),
    }


def terminated(at: Setting, whole: str, *, times: int) -> Figures:
    """SIGTERM the command and repeat it."""
    output = at.folder / "terminated.zarr"
    codes, seconds, again = [], [], 0
    for _ in range(times):
        running = at.start(output.name)
        if not until(output, len(stored(output)) + max(1, at.tiles // (times + 1)), running):
            break
        start = time.monotonic()
        kill(running.pid, signal.SIGTERM)
        codes.append(running.end().code)
        seconds.append(time.monotonic() - start)
        again += begun_only(output)
    ended = at.map(output.name)
    return {
        "tiles": at.tiles,
        "signals": len(codes),
        "ended_with_75": codes.count(PREEMPTED),
        "seconds_to_end": round(statistics.median(seconds), 2),
        "exit_code": ended.code,
        "begun_and_computed_again": again,
        **_outcome(at, output, whole),
    }


def disk_full(at: Setting, whole: str, *, points: int) -> Figures:
    """Map onto a file system in memory that is too small, enlarge it, repeat the command."""
    size = sum(f.stat().st_size for f in (at.folder / "undisturbed.zarr").rglob("*"))
    told = torn = same = 0
    for point in range(points):
        disk = at.folder / f"disk{point}"
        disk.mkdir()
        small = int(size * (0.1 + 0.8 * point / max(1, points - 1)))
        _mount(disk, f"size={small}")
        try:
            ended = at.map(f"{disk}/m.zarr")
            told += ended.code == FAILED and "no room to write" in ended.error
            torn += damaged(disk / "m.zarr")
            _mount(disk, f"remount,size={4 * size}")
            again = at.map(f"{disk}/m.zarr")
            same += again.code == 0 and digest(disk / "m.zarr") == whole
        finally:
            subprocess.run(["umount", str(disk)], check=True)
    return {
        "tiles": at.tiles,
        "points": points,
        "told_what_is_needed": told,
        "torn_objects": torn,
        "finished_byte_identical": same,
    }


def shards_damaged(at: Setting, whole: str, *, count: int) -> Figures:
    """Truncate or flip a bit of random objects; check, then repair."""
    output, chance = at.folder / "undisturbed.zarr", random.Random(0)
    keys = sorted(k for r in RunFolder(output).receipts().values() for k in r.objects)
    chosen = chance.sample(keys, count)
    for number, key in enumerate(chosen):
        content = bytearray((output / key).read_bytes())
        if number % 2:
            content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        else:
            del content[chance.randrange(len(content)) :]
        (output / key).write_bytes(content)
    before = {key: (output / key).stat().st_mtime_ns for key in keys}
    found = gigafcn.check(output)
    slide = str(at.folder / "slide.tif")
    model = f"{at.folder / 'net.py'}:net"
    gigafcn.check(output, repair=True, source=slide, model=model, trust=True, device="cpu")
    pieces = {k: r.piece for r in RunFolder(output).receipts().values() for k in r.objects}
    hit = {pieces[key] for key in chosen}
    written = {key for key in keys if (output / key).stat().st_mtime_ns != before[key]}
    return {
        "objects": len(keys),
        "damaged": count,
        "found": len(set(found.differing) & set(chosen)),
        "found_wrongly": len(set(found.differing + found.missing) - set(chosen)),
        "tiles_of_the_damage": len(hit),
        "written_outside_of_them": sum(pieces[key] not in hit for key in written),
        "byte_identical_after_repair": digest(output) == whole,
    }


def store_fails(at: Setting, whole: str, *, share: float) -> Figures:
    """Map into a bucket behind a proxy that answers 500, 503 or breaks the connection."""
    faults = Faults(share)
    output = "s3://bucket/faulty.zarr"
    with s3_server() as server, failing(server, faults) as url:
        with pointed_at(url):
            ended = at.map(output)
        with pointed_at(server):
            sound = gigafcn.check(output).is_sound
            same = digest(output) == whole
    return {
        "tiles": at.tiles,
        "requests": faults.served,
        "failed_requests": faults.injected,
        "exit_code": ended.code,
        "lost": 0 if sound else None,
        "byte_identical": same,
    }


def _outcome(at: Setting, output: Path, whole: str) -> Figures:
    receipts = RunFolder(output).receipts()
    tiles = sum(piece.startswith("tile-") for piece in receipts)
    return {
        "lost": at.tiles - tiles,
        "failed": len(gigafcn.open_map(output).provenance["tiles"]["failed"]),
        "byte_identical": digest(output) == whole,
    }


def _times(output: Path) -> dict[str, int]:
    """When each tile that has a receipt was stored."""
    return {piece: _shard(output, piece).stat().st_mtime_ns for piece in stored(output)}


def _rewritten(output: Path, before: dict[str, int]) -> int:
    return sum(_shard(output, piece).stat().st_mtime_ns != time for piece, time in before.items())


def _shard(output: Path, piece: str) -> Path:
    _, y, x = piece.split("-")
    return output / "0" / "c" / "0" / str(int(y) // 256) / str(int(x) // 256)


def _mount(disk: Path, options: str) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(disk)], check=True)
