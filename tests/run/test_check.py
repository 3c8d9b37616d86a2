"""A finished map is compared with its receipts; what is damaged is computed again, alone."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

import gigafcn
from gigafcn.errors import SlideError, UsageError
from gigafcn.schedule.run_folder import RunFolder
from tests.run.small_nets import Skip, random_numbers
from tests.run.test_resume import mapped, objects
from tests.run.whole import small_image

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A finished map of nine tiles."""
    mapped(tmp_path / "m.zarr")
    return tmp_path / "m.zarr"


def repaired(path: Path) -> gigafcn.Checked:
    """Check with repair; slide and model exist only in memory."""
    image, net = small_image(517, 613, top=256), random_numbers(Skip())
    return gigafcn.check(path, repair=True, source=image, model=net)


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-7])


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 4
    file.write_bytes(content)


def test_an_untouched_map_is_sound(path: Path) -> None:
    found = gigafcn.check(path)
    assert found.is_sound
    # Scores and labels of nine shards, and of four of the coarser level.
    assert found.objects == 2 * (9 + 4)


def test_damage_of_every_kind_is_found_and_repaired_alone(path: Path) -> None:
    before = objects(path)
    untouched = {key: (path / key).stat().st_mtime_ns for key in before}
    truncate(path / "0/c/0/0/0")
    flip(path / "labels/classes/0/c/2/1")
    (path / "0/c/0/1/2").unlink()
    flip(path / "1/c/0/0/0")
    found = gigafcn.check(path)
    assert found.differing == ("0/c/0/0/0", "1/c/0/0/0", "labels/classes/0/c/2/1")
    assert found.missing == ("0/c/0/1/2",)
    assert not found.is_sound
    after = repaired(path)
    assert after.repaired
    assert objects(path) == before
    assert gigafcn.check(path).is_sound
    written = {key for key in before if (path / key).stat().st_mtime_ns != untouched[key]}
    places = ("0/0", "2/1", "1/2")
    tiles = {f"{array}/{p}" for array in ("0/c/0", "labels/classes/0/c") for p in places}
    coarser = {"1/c/0/0/0", "labels/classes/1/c/0/0"}
    groups = {"labels/zarr.json", "labels/classes/zarr.json"}
    assert written <= tiles | coarser | groups | {"status/c/0/0"}
    assert tiles <= written


def test_a_coarser_shard_is_left_alone_when_its_tiles_get_their_old_bytes(path: Path) -> None:
    coarser = path / "1/c/0/0/0"
    before = coarser.stat().st_mtime_ns
    flip(path / "0/c/0/0/0")
    repaired(path)
    assert coarser.stat().st_mtime_ns == before


def test_a_repair_with_another_slide_is_refused_and_the_map_left_as_it_is(path: Path) -> None:
    flip(path / "0/c/0/0/0")
    root = (path / "zarr.json").read_bytes()
    with pytest.raises(UsageError, match="belongs to another run: slide was"):
        gigafcn.check(path, repair=True, source=small_image(517, 613), model=random_numbers(Skip()))
    assert (path / "zarr.json").read_bytes() == root


def test_a_repair_asks_for_what_existed_only_in_memory(path: Path) -> None:
    flip(path / "0/c/0/0/0")
    with pytest.raises(UsageError, match="does not say where its slide is; give it with --slide"):
        gigafcn.check(path, repair=True)


def test_what_cannot_be_checked_says_why(path: Path) -> None:
    with pytest.raises(SlideError, match="not a map that gigafcn wrote"):
        gigafcn.check(path.parent)
    document = (path / "zarr.json").read_bytes()
    (path / "zarr.json").unlink()
    with pytest.raises(SlideError, match="its run did not finish"):
        gigafcn.check(path)
    (path / "zarr.json").write_bytes(document)
    RunFolder(path).forget()
    with pytest.raises(UsageError, match="there are no receipts at"):
        gigafcn.check(path)


def test_a_piece_without_a_receipt_is_named(path: Path) -> None:
    file = path.with_name("m.zarr.run") / "receipts.json"
    document = json.loads(file.read_text())
    document["receipts"] = [r for r in document["receipts"] if r["piece"] != "tile-256-0"]
    file.write_text(json.dumps(document))
    assert gigafcn.check(path).unknown == ("tile-256-0",)
    repaired(path)
    assert gigafcn.check(path).is_sound
