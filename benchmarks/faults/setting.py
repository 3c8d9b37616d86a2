"""A slide of small tiles, a small net, the command that maps them, and what it left."""

from __future__ import annotations

import hashlib
import os
import signal
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import psutil
import tifffile

from gigafcn.output.disk import checksum
from gigafcn.schedule.run_folder import RunFolder
from gigafcn.storage.url_path import place_of
from tests import commands
from tests.commands import Ended, Running, begun

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TILE_PX = 256
NET = """
import torch
from torch import nn

def net():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(),
        nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(),
        nn.Conv2d(8, 3, 1),
    )
"""
WORDS = ("-m", "net.py:net", "--trust", "--no-verify", "--json", "--device", "cpu")


@dataclass(frozen=True)
class Setting:
    """A folder with a slide of ``down`` x ``across`` tiles and a net."""

    folder: Path
    down: int
    across: int

    @property
    def tiles(self) -> int:
        """Tiles of the slide."""
        return self.down * self.across

    def start(self, output: str, *words: str) -> Running:
        """Begin to map the slide; one thread per process, so that bytes do not depend on them."""
        given = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
        tile = ("--tile", str(TILE_PX), "--strip", "64")
        words = ("infer", "slide.tif", *WORDS, *tile, "-o", output, *words)
        return begun(*words, cwd=self.folder, environment={**given, "OMP_NUM_THREADS": "1"})

    def map(self, output: str, *words: str) -> Ended:
        """Map the slide to the end."""
        return self.start(output, *words).end()


def setting(folder: Path, down: int, across: int) -> Setting:
    """Draw the slide, the same each time."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "net.py").write_text(NET, encoding="utf-8")
    shape = (down * TILE_PX - 9, across * TILE_PX - 9, 3)  # the last tiles are smaller
    coarse = np.random.default_rng(0).integers(0, 256, (-(-shape[0] // 4), -(-shape[1] // 4), 3))
    pixels = coarse.astype(np.uint8).repeat(4, 0).repeat(4, 1)[: shape[0], : shape[1]]
    tifffile.imwrite(
        folder / "slide.tif", pixels, tile=(256, 256), photometric="rgb", compression="zlib"
    )
    return Setting(folder, down, across)


def digest(output: str | Path) -> str:
    """One hash of every object of a map but its root document, which holds times."""
    root = place_of(output)
    found = hashlib.sha256()
    files = {str(f).removeprefix(f"{root}/"): f for f in root.rglob("*") if f.is_file()}
    for key, file in sorted(files.items()):
        if key != "zarr.json":
            found.update(key.encode() + b"\0" + file.read_bytes())
    return found.hexdigest()


def stored(output: Path) -> set[str]:
    """Tiles that have a receipt."""
    return {path.stem for path in (RunFolder(output).path / "receipts").glob("tile-*.json")}


def begun_only(output: Path) -> int:
    """Tiles of which objects are stored without a receipt: what has to be computed again."""
    there = set()
    for shard in (output / "0" / "c" / "0").rglob("*"):
        if shard.is_file() and not shard.name.endswith(".partial"):
            there.add(f"tile-{int(shard.parent.name) * TILE_PX}-{int(shard.name) * TILE_PX}")
    return len(there - stored(output))


def damaged(output: Path) -> int:
    """Objects that receipts know and that are not what they say."""
    folder = RunFolder(output)
    return sum(
        checksum(output / key) != crc
        for receipt in folder.receipts().values()
        for key, crc in receipt.objects.items()
    )


def until(output: Path, tiles: int, running: Running) -> bool:
    """Wait until so many tiles are stored; False if the run ended before."""
    deadline = time.monotonic() + commands.PATIENCE_S
    while len(stored(output)) < tiles:
        if not psutil.pid_exists(running.pid) or running.ended or time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def worker_processes(driver: int) -> Iterator[psutil.Process]:
    """Dask's worker processes below a driver."""
    try:
        for child in psutil.Process(driver).children(recursive=True):
            if "spawn_main" in " ".join(child.cmdline()):
                yield child
    except psutil.Error:
        return


def kill(process: int, number: signal.Signals = signal.SIGKILL) -> None:
    """Send a signal to a process that may have ended meanwhile."""
    try:
        os.kill(process, number)
    except ProcessLookupError:
        return
