"""Many slides from the command line: found, mapped one by one, summed up."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING

import numpy as np
import pytest
import tifffile
import zarr

from gigafcn.output import open_map
from gigafcn.run.known_model import KnownModel
from gigafcn.run.options import Options
from tests.cli.refusals import MODEL, contents, refused
from tests.commands import gigafcn

if TYPE_CHECKING:
    from pathlib import Path


def slide_at(path: Path, seed: int = 1) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(1, 256, (90, 70, 3), np.uint8)
    tifffile.imwrite(path, pixels, tile=(64, 64), photometric="rgb")


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def scans(folder: Path) -> Path:
    """The folder "scans" with slides in several ways, and one that cannot be read."""
    slide_at(folder / "scans" / "case 10.tif", 10)
    slide_at(folder / "scans" / "case 9.tif", 9)
    slide_at(folder / "scans" / "süd" / "größe.tif", 3)
    array = zarr.create_array(
        folder / "scans" / "grid.zarr", shape=(60, 50, 3), dtype="uint8", chunks=(30, 25, 3)
    )
    array[...] = np.random.default_rng(7).integers(1, 256, array.shape, np.uint8)
    (folder / "scans" / "broken.svs").write_bytes(b"II*\0junk")
    return folder / "scans"


def test_a_folder_of_slides_goes_in_and_maps_and_a_summary_come_out(
    folder: Path, scans: Path
) -> None:
    ended = gigafcn("infer", "scans", *MODEL, "-o", "out maps", cwd=folder)
    assert ended.code == 5
    rows = rows_of(folder / "out maps" / "summary.csv")
    assert [(row["slide"], row["status"]) for row in rows] == [
        ("scans/broken.svs", "failed"),
        ("scans/case 9.tif", "mapped"),
        ("scans/case 10.tif", "mapped"),
        ("scans/grid.zarr", "mapped"),
        ("scans/süd/größe.tif", "mapped"),
    ]
    assert "truncated" in rows[0]["message"]
    assert (rows[1]["width_px"], rows[1]["height_px"]) == ("70", "90")
    assert open_map(folder / "out maps" / "größe.zarr").spec.shape == (90, 70)
    assert ended.err.splitlines()[-1] == "gigafcn: error: 1 of 5 slides failed"
    for line in ("summary: out maps/summary.csv", "case 9.tif", "map, or what went wrong"):
        assert line in ended.out


def test_the_same_command_leaves_finished_maps_and_takes_up_the_rest(
    folder: Path, scans: Path
) -> None:
    (scans / "broken.svs").unlink()
    words = ("infer", "scans", *MODEL, "-o", "scans/maps")  # maps among the slides
    (scans / "case 9.tif").rename(folder / "away.tif")
    assert gigafcn(*words, cwd=folder).code == 0
    before = contents(scans / "maps" / "case 10.zarr")
    (folder / "away.tif").rename(scans / "case 9.tif")
    ended = gigafcn(*words, cwd=folder)
    assert ended.code == 0
    assert "finished before, nothing to do: scans/maps/case 10.zarr" in ended.out
    assert contents(scans / "maps" / "case 10.zarr") == before
    found = {row["slide"]: row["status"] for row in rows_of(scans / "maps" / "summary.csv")}
    assert found == {
        "scans/case 9.tif": "mapped",
        "scans/case 10.tif": "finished before",
        "scans/grid.zarr": "finished before",
        "scans/süd/größe.tif": "finished before",
    }


def test_patterns_and_repeats_give_each_slide_once(folder: Path, scans: Path) -> None:
    words = ("scans/case*.tif", "scans/case 9.tif", "./scans/case 9.tif")
    ended = gigafcn("infer", *words, *MODEL, "-o", "maps", "--json", cwd=folder)
    assert ended.code == 0
    mapped = [event["slide"] for event in ended.events if event["event"] == "result"]
    assert mapped == ["scans/case 9.tif", "scans/case 10.tif"]
    assert ended.events[-1] == {
        "event": "summary", "file": "maps/summary.csv", "slides": 2, "failed": 0,
    }  # fmt: skip


def test_a_list_gives_each_slide_its_pixel_size_and_name(folder: Path, scans: Path) -> None:
    text = "slide,mpp,name,case\nscans/case 9.tif,0.25,erster,1\nscans/süd/größe.tif,0.5;0.4,,2\n"
    (folder / "list.csv").write_text(text, encoding="utf-8")
    ended = gigafcn("infer", "list.csv", *MODEL, "-o", "maps", cwd=folder)
    assert ended.code == 0, ended.err
    assert open_map(folder / "maps" / "erster.zarr").spec.mpp == (0.25, 0.25)
    assert open_map(folder / "maps" / "größe.zarr").spec.mpp == (0.5, 0.4)
    assert "list.csv: columns that say nothing to gigafcn: case" in ended.err


def test_a_slide_of_a_list_that_is_missing_is_said_first_and_does_not_stop_the_rest(
    folder: Path, scans: Path
) -> None:
    (folder / "list.txt").write_text("scans/case 9.tif\nscans/case 8.tif\n")
    ended = gigafcn("infer", "list.txt", *MODEL, "-o", "maps", "--json", cwd=folder)
    assert ended.code == 5
    kinds = [event["event"] for event in ended.events if event["event"] != "progress"]
    assert kinds == ["error", "result", "summary"]
    assert "list.txt line 2: " in ended.err
    assert "did you mean" in ended.err
    rows = rows_of(folder / "maps" / "summary.csv")
    assert [row["status"] for row in rows] == ["mapped", "failed"]


def test_two_slides_of_one_name_are_refused_before_anything_is_mapped(folder: Path) -> None:
    for name in ("a/case.tif", "b/case.tif"):
        slide_at(folder / name)
    message = refused(2, "infer", "a", "b", *MODEL, "-o", "maps", cwd=folder)
    assert message.startswith("a/case.tif and b/case.tif would both be mapped to maps/case.zarr")
    assert "columns slide, name" in message


def test_no_slide_found_is_exit_3(folder: Path) -> None:
    (folder / "empty").mkdir()
    ended = gigafcn("infer", "empty", "nothing*.svs", *MODEL, cwd=folder)
    assert ended.code == 3
    assert "gigafcn: error: no slide found in empty, nothing*.svs; folders are sea" in ended.err
    assert "gigafcn: warning: no slide in empty" in ended.err


def test_a_foreign_summary_is_never_replaced(folder: Path, scans: Path) -> None:
    (folder / "summary.csv").write_text("my,own\n")
    message = refused(2, "infer", "scans", *MODEL, cwd=folder)
    assert "summary.csv exists and was not written by gigafcn" in message


def test_a_model_that_cannot_be_loaded_fails_before_any_slide(folder: Path, scans: Path) -> None:
    message = refused(4, "infer", "scans", "-m", "nosuch.pt2", cwd=folder)
    assert "nosuch.pt2" in message


def test_a_list_that_cannot_be_used_is_refused_before_anything_is_mapped(
    folder: Path, scans: Path
) -> None:
    (folder / "list.csv").write_text("slide,mpp\nscans/case 9.tif,big\n")
    message = refused(2, "infer", "list.csv", *MODEL, cwd=folder)
    assert message == "list.csv line 2: mpp 'big' is no size in µm/px; write 0.25, or y;x"


def test_the_model_is_loaded_once_for_all_slides(folder: Path, scans: Path) -> None:
    (folder / "counted.py").write_text(
        "from pathlib import Path\nfrom torch import nn\n\n"
        "def net():\n"
        "    with Path('calls').open('a') as file:\n"
        "        file.write('x')\n"
        "    return nn.Conv2d(3, 2, 3, padding=1)\n"
    )
    words = ("scans/case*.tif", "-m", "counted.py:net", "--trust", "-o", "maps")
    assert gigafcn("infer", *words, cwd=folder).code == 0
    assert (folder / "calls").read_text() == "x"


def test_what_was_found_of_a_model_is_kept() -> None:
    known, options = KnownModel("demonstration"), Options()
    assert known.loaded(options) is known.loaded(options)
    assert KnownModel.of(known) is known
    calls: list[int] = []

    def find() -> object:
        calls.append(1)
        return object()

    first = known.footprint((3, None), find)  # type: ignore[arg-type] # any value is kept
    assert known.footprint((3, None), find) is first  # type: ignore[arg-type] # as before
    assert len(calls) == 1


def test_a_mask_in_a_list_says_where_a_slide_has_tissue(folder: Path) -> None:
    pixels = np.random.default_rng(3).integers(1, 256, (700, 1500, 3), np.uint8)
    tifffile.imwrite(folder / "wide.tif", pixels, tile=(128, 128), photometric="rgb")
    mask = np.zeros((70, 150), np.uint8)
    mask[:, :40] = 255
    tifffile.imwrite(folder / "wide mask.tif", mask)
    (folder / "list.csv").write_text("slide,mask,mpp\nwide.tif,wide mask.tif,0.5\n")
    for out, source in (("masked", "list.csv"), ("whole", "wide.tif")):
        words = ("-o", out, "--save", "labels", "--save-mpp", "1", "--slide-mpp", "0.5")
        ended = gigafcn("infer", source, *MODEL, *words, cwd=folder)
        assert ended.code == 0, ended.err
    masked, whole = (open_map(folder / out / "wide.zarr") for out in ("masked", "whole"))
    assert masked.status.tolist() == [[1, 2, 2], [1, 2, 2]]  # computed, background
    np.testing.assert_array_equal(masked.labels[0][:, :256], whole.labels[0][:, :256])
    assert (np.asarray(masked.labels[0][:, 256:]) == 255).all()  # left out
