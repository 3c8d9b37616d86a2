"""A profile says what each thread of each process did when."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
import tifffile

import gigafcn
from gigafcn.doing import Doing
from tests.run.small_nets import Skip, random_numbers
from tests.run.whole import small_image

if TYPE_CHECKING:
    from pathlib import Path

PARTS = {
    Doing.READING_BYTES: Doing.READING,
    Doing.DECODING: Doing.READING,
    Doing.COMPRESSING: Doing.STORING,
    Doing.WRITING_BYTES: Doing.STORING,
}
"""What is part of what."""

OF_FILES = {Doing.READING_BYTES, Doing.DECODING}


def profiled(folder: Path, image: Any = None, **options: Any) -> list[dict[str, Any]]:
    """Events of a run of six tiles."""
    result = gigafcn.infer(
        small_image(541, 601) if image is None else image, random_numbers(Skip()),
        folder / "m.zarr", tile=(256, 512), profile=True, **options,
    )  # fmt: skip
    path = folder / "m.zarr.run" / "profile.json"
    assert result.summary["profile"] == path
    events: list[dict[str, Any]] = json.loads(path.read_text())["traceEvents"]
    return events


@pytest.mark.parametrize("mode", [{}, {"mode": "blend", "window": 96}], ids=["exact", "blend"])
def test_every_thread_of_every_tile_is_in_it(tmp_path: Path, mode: dict[str, Any]) -> None:
    events = profiled(tmp_path, **mode)
    work = [event for event in events if event["ph"] == "X"]
    assert {event["name"] for event in work} == set(Doing) - OF_FILES
    assert len({tuple(event["args"]["tile"]) for event in work}) == 6
    rows = {e["args"]["name"] for e in events if e["name"] == "thread_name"}
    assert rows == {"computing", "gigafcn-reader", "gigafcn-writer"}


def test_of_a_file_reading_and_decoding_are_told_apart_and_so_are_compressing_and_writing(
    tmp_path: Path,
) -> None:
    tifffile.imwrite(
        # So large that what is looked at before the run is not all of it, and kept.
        tmp_path / "s.tif", small_image(1541, 1601),
        photometric="rgb", tile=(64, 64), compression="deflate",
    )  # fmt: skip
    work = [e for e in profiled(tmp_path, tmp_path / "s.tif") if e["ph"] == "X"]
    assert {event["name"] for event in work} == set(Doing)
    for part, whole in PARTS.items():
        inside = [e for e in work if e["name"] == part]
        around = [e for e in work if e["name"] == whole]
        assert all(any(_lies_in(event, other) for other in around) for event in inside)


def _lies_in(event: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether one event lies within another of its thread; times are to a tenth of a us."""
    ends = [e["ts"] + e["dur"] for e in (event, other)]
    same = event["tid"] == other["tid"]
    return bool(same and other["ts"] <= event["ts"] + 0.2 and ends[0] <= ends[1] + 0.2)


def test_one_thread_does_one_thing_at_a_time(tmp_path: Path) -> None:
    # Waiting for room is part of handing scores over; everything else follows one another.
    parts = {*PARTS, Doing.WAITING_FOR_ROOM}
    work = [e for e in profiled(tmp_path) if e["ph"] == "X" and e["name"] not in parts]
    for row in {event["tid"] for event in work}:
        spans = sorted((e["ts"], e["ts"] + e["dur"]) for e in work if e["tid"] == row)
        # Times are written to a tenth of a microsecond.
        assert all(first[1] <= second[0] + 0.2 for first, second in pairwise(spans))


def test_without_it_nothing_is_written(tmp_path: Path) -> None:
    result = gigafcn.infer(small_image(60, 50), random_numbers(Skip()), tmp_path / "m.zarr")
    assert "profile" not in result.summary
    assert not (tmp_path / "m.zarr.run" / "profile.json").exists()
