"""A run that fails on the way ends with code 5, says where, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import subprocess
from typing import TYPE_CHECKING

import numpy as np
import pytest
import tifffile

from tests.cli.refusals import MODEL, refused
from tests.commands import gigafcn

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LOGITS = ("--activation", "none", "--dtype", "float32")


@pytest.mark.parametrize(("name", "kind"), [("undefined", "NaN"), ("infinite", "infinite")])
def test_an_output_that_is_no_number_is_refused_with_its_place(
    name: str, kind: str, folder: Path
) -> None:
    message = refused(
        5, "infer", "slide.tif", "-m", f"nets.py:{name}", "--trust", *LOGITS, cwd=folder
    )
    # Black from (0, 0) to (30, 40): 1200 px.
    assert kind in message
    assert "1200 px of tile (0, 0, 300, 420) (y0, x0, y1, x1), first at map px y=0, x=0" in message


def test_a_failing_tile_does_not_keep_the_others_from_being_computed(folder: Path) -> None:
    words = ("-m", "nets.py:undefined", "--trust", *LOGITS, "--tile", "256", "--json", "-o", "a/b")
    ended = gigafcn("infer", "slide.tif", *words, cwd=folder)
    events = [json.loads(line) for line in ended.out.splitlines()]
    assert ended.code == events[-1]["exit_code"] == 5
    assert [(e["tiles_done"], e["tiles"]) for e in events if e["event"] == "progress"][-1] == (4, 4)
    assert ended.error.startswith(
        "1 of 4 tiles failed: (0, 0, 256, 256) (y0, x0, y1, x1 in map px)"
    )
    assert not (folder / "a/b/slide.zarr/zarr.json").exists()
    assert len(list((folder / "a/b/slide.zarr.run/receipts").iterdir())) == 3


def test_pixels_that_cannot_be_decoded_fail_with_their_place(folder: Path) -> None:
    pixels = np.zeros((128, 192, 3), np.uint8)
    tifffile.imwrite(
        folder / "hole.tif", pixels, tile=(64, 64), photometric="rgb", compression="zlib"
    )
    with tifffile.TiffFile(folder / "hole.tif") as file:
        page = file.pages.first
        offset, count = page.dataoffsets[-1], page.databytecounts[-1]
    with (folder / "hole.tif").open("r+b") as raw:
        raw.seek(offset)
        raw.write(b"\xff" * count)
    message = refused(5, "infer", "hole.tif", *MODEL, "--strict", cwd=folder)
    assert message.startswith("cannot read hole.tif, level 0, box (0, 0, 128, 192)")
    assert "the file is damaged there" in message


def test_a_device_that_is_not_there_is_refused(folder: Path) -> None:
    message = refused(5, "infer", "slide.tif", *MODEL, "--device", "cuda:99", cwd=folder)
    assert message.startswith("device cuda:99: ")
    assert "CUDA GPU" in message


@pytest.fixture(params=["no layout", "no shards"])
def full_disk(request: pytest.FixtureRequest, folder: Path) -> Iterator[tuple[Path, int | None]]:
    """A place without room for a map, or for its layout, and the limit on a file, if that is why.

    A file system in memory where this process may mount one, else the system's limit on files.
    """
    sizes = {"no layout": 16 << 10, "no shards": 200 << 10}
    size = sizes[request.param]
    disk = folder / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(disk)]
    if os.geteuid() or subprocess.run(mount, check=False, capture_output=True).returncode:
        # What the command writes to stderr must fit, too.
        yield disk, 800 if request.param == "no layout" else 10 << 10
        return
    try:
        yield disk, None
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_full_disk_is_told_with_what_the_map_needs(
    full_disk: tuple[Path, int | None], folder: Path
) -> None:
    disk, limit = full_disk
    words = ("infer", "slide.tif", *MODEL, "-o", str(disk / "m.zarr"), "--dtype", "float32")
    message = refused(5, *words, cwd=folder, file_bytes=limit)
    assert message.startswith("no room to write ")
    assert "The whole map needs at most" in message
    assert "free some space or write to another disk" in message


def test_a_full_disk_stops_the_run_at_once(folder: Path) -> None:
    words = ("infer", "slide.tif", *MODEL, "--tile", "256", "--dtype", "float32", "--json")
    ended = gigafcn(*words, cwd=folder, file_bytes=10 << 10)
    assert ended.code == 5
    progress = [json.loads(line) for line in ended.out.splitlines()]
    assert all(event.get("tiles_done", 0) < 4 for event in progress)
