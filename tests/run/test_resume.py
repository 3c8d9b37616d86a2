"""The same command does what is left to do, whatever ended the one before."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
import tifffile

import gigafcn
from gigafcn.errors import UsageError
from gigafcn.schedule.run_folder import RunFolder
from tests.run.small_nets import Skip, random_numbers
from tests.run.whole import small_image

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from gigafcn import Progress

TILE = (256, 256)
TILES = 9


class Killed(BaseException):
    """Ends a run as a signal would."""


def mapped(path: Path, **options: Any) -> gigafcn.Result:
    """Map the same image with the same net in nine tiles."""
    image, net = small_image(517, 613, top=256), random_numbers(Skip())
    return gigafcn.infer(image, net, path, **({"tile": TILE} | options))


def after(tiles: int, do: Callable[[], None]) -> Callable[[Progress], None]:
    """A progress callback that does something once some tiles are done."""

    def watch(report: Progress) -> None:
        if report.stage == "compute" and report.tiles_done >= tiles:
            do()

    return watch


def killed() -> None:
    """End the run at once."""
    raise Killed


def unfinished(path: Path, tiles: int = 4) -> None:
    """Leave a map of which some tiles are done."""
    with pytest.raises(Killed):
        mapped(path, progress=after(tiles, killed))
    assert not (path / "zarr.json").exists()


def objects(path: Path) -> dict[str, bytes]:
    """Every stored object but the root document, which holds times."""
    files = (f for f in path.rglob("*") if f.is_file() and f != path / "zarr.json")
    return {str(f.relative_to(path)): f.read_bytes() for f in files}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Objects of a map that was made in one go."""
    path = tmp_path_factory.mktemp("whole") / "m.zarr"
    mapped(path)
    return objects(path)


def test_a_run_that_was_stopped_is_gone_on_with(
    undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    path = tmp_path / "m.zarr"
    unfinished(path)
    result = mapped(path)
    assert 4 <= result.summary["tiles_found"] < TILES
    assert objects(path) == undisturbed


def test_a_finished_map_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "m.zarr"
    mapped(path)
    before = {f: f.stat().st_mtime_ns for f in tmp_path.rglob("*")}
    result = mapped(path)
    assert result.summary["finished_before"]
    assert {f: f.stat().st_mtime_ns for f in before if f.is_file()} == {
        f: t for f, t in before.items() if f.is_file()
    }


@pytest.mark.parametrize("done", [False, True])
def test_another_run_on_the_same_output_is_refused_by_what_differs(
    done: bool, tmp_path: Path
) -> None:
    path = tmp_path / "m.zarr"
    mapped(path) if done else unfinished(path)
    with pytest.raises(UsageError, match="activation was None, now 'sigmoid'"):
        mapped(path, activation="sigmoid")
    mapped(path, activation="sigmoid", overwrite=True)


def test_a_damaged_tile_alone_is_computed_again(
    undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    path = tmp_path / "m.zarr"
    unfinished(path, tiles=6)
    stored = len(RunFolder(path).receipts())
    shard = path / "0/c/0/0/0"
    shard.write_bytes(shard.read_bytes()[:-1])
    assert mapped(path).summary["tiles_found"] == stored - 1
    assert objects(path) == undisturbed


def test_leftovers_of_a_killed_writer_are_swept(tmp_path: Path) -> None:
    path = tmp_path / "m.zarr"
    unfinished(path)
    (path / "0/c/0/0/0.123abc.partial").write_bytes(b"half")
    mapped(path)
    assert not list(path.rglob("*.partial"))


def test_resume_forbids_a_fresh_start_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "m.zarr"
    with pytest.raises(UsageError, match="no run to resume"):
        mapped(path, resume=True)
    assert list(tmp_path.iterdir()) == []
    unfinished(path)
    assert mapped(path, resume=True).summary["tiles_found"] >= 4


def test_a_run_that_did_nothing_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(Killed):
        mapped(tmp_path / "maps/m.zarr", progress=after(0, killed))
    assert list(tmp_path.iterdir()) == []


DRIVER = """
import sys
from pathlib import Path
from tests.run.test_resume import mapped
mapped(Path(sys.argv[1]), progress=lambda report: print(report.tiles_done, flush=True))
"""


@pytest.mark.dask
def test_a_killed_driver_loses_no_tile_that_was_stored(
    undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    path, found = tmp_path / "m.zarr", 0
    words = [sys.executable, "-c", DRIVER, str(path)]
    for tiles in (2, 5):
        with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            for line in process.stdout:
                if int(line) >= tiles - found:
                    break
            process.kill()
        assert len(RunFolder(path).receipts()) >= tiles
        found = len(RunFolder(path).receipts())
    assert mapped(path).summary["tiles_found"] >= found
    assert objects(path) == undisturbed


def test_a_full_hash_is_noted_and_compared_when_both_runs_have_one(tmp_path: Path) -> None:
    slide, path = tmp_path / "slide.tif", tmp_path / "m.zarr"
    tifffile.imwrite(slide, small_image(300, 310, top=256), photometric="rgb")
    net = random_numbers(Skip())

    def mapped_again(**options: Any) -> gigafcn.Result:
        return gigafcn.infer(slide, net, path, verify=False, **options)

    mapped_again(full_hash=True)
    said = gigafcn.open_map(path).provenance["fingerprint"]["slide_sha256"]
    assert said == hashlib.sha256(slide.read_bytes()).hexdigest()
    assert mapped_again().summary["finished_before"]
    assert mapped_again(full_hash=True).summary["finished_before"]
    with slide.open("ab") as file:
        file.write(b"\0")
    with pytest.raises(UsageError, match=r"slide(_sha256)? was"):
        mapped_again(full_hash=True)
