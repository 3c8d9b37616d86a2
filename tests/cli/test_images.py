"""Several images in one file from the command line: asked for, chosen, or mapped one by one."""

from __future__ import annotations

import csv
import shlex
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile

from gigafcn.output import open_map
from tests.cli.refusals import MODEL
from tests.commands import gigafcn

if TYPE_CHECKING:
    from pathlib import Path

SHAPES = {"liver": (60, 90), "kidney": (80, 50)}
FIRST, SECOND = SHAPES.values()


@pytest.fixture
def scans(folder: Path) -> Path:
    """``scans.ome.tif`` with a label, then two scans, in a working folder."""
    random = np.random.default_rng(0)
    with tifffile.TiffWriter(folder / "scans.ome.tif") as tif:
        for name, shape in {"label image": (100, 100), **SHAPES}.items():
            pixels = random.integers(0, 256, (*shape, 3), np.uint8)
            metadata: dict[str, Any] = {"axes": "YXS", "Name": name, "PhysicalSizeX": 0.5}
            metadata["PhysicalSizeY"] = 0.5
            tif.write(pixels, photometric="rgb", metadata=metadata)
    return folder


def answers(err: str) -> list[list[str]]:
    lines = [line.partition("gigafcn:   gigafcn ")[2] for line in err.splitlines()]
    return [shlex.split(line, comments=True) for line in lines if line]


def test_several_images_are_asked_for_and_every_answer_works(scans: Path) -> None:
    ended = gigafcn("infer", "scans.ome.tif", *MODEL, "-o", "maps", cwd=scans)
    assert ended.code == 2
    assert "holds 2 images" in ended.err
    assert not (scans / "maps").exists()
    typed = answers(ended.err)
    assert [one[-2:] for one in typed] == [["--image", "1"], ["--image", "2"], ["--image", "all"]]
    for words, shape in zip(typed[:2], (FIRST, SECOND), strict=True):
        assert gigafcn(*words, "--overwrite", cwd=scans).code == 0
        assert open_map(scans / "maps" / "scans.zarr").spec.shape == shape
    ended = gigafcn(*typed[2], "--export", "geojson,png", cwd=scans)
    assert ended.code == 0, ended.err
    for number, shape in ((1, FIRST), (2, SECOND)):
        stored = open_map(scans / "maps" / f"scans-image{number}.zarr")
        assert stored.spec.shape == shape
        assert stored.provenance["slide"]["image"] == number
    with (scans / "maps" / "summary.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["slide"], row["status"]) for row in rows] == [
        ("scans.ome.tif image 1", "mapped"), ("scans.ome.tif image 2", "mapped"),
    ]  # fmt: skip


def test_plan_and_verify_ask_as_well(scans: Path) -> None:
    ended = gigafcn("plan", "scans.ome.tif", *MODEL, cwd=scans)
    assert ended.code == 2
    for words in answers(ended.err):
        planned = gigafcn(*words, cwd=scans)
        assert planned.code == 0, planned.err
    assert "60 x 90 px" in planned.out
    assert "80 x 50 px" in planned.out
    model, *trust = MODEL[1:]
    ended = gigafcn("verify", model, "scans.ome.tif", *trust, cwd=scans)
    assert ended.code == 2
    typed = answers(ended.err)
    assert [one[-1] for one in typed] == ["1", "2"]
    assert gigafcn(*typed[0], cwd=scans).code == 0


def test_names_of_images_are_not_said_of_slides_that_are_not_named(scans: Path) -> None:
    words = ["infer", "scans.ome.tif", *MODEL, "-o", "maps", "--deidentify"]
    ended = gigafcn(*words, cwd=scans)
    assert ended.code == 2
    assert "--image 1 (60 x 90 px (y, x)" in ended.err
    for name in ("liver", "kidney", "label image", "scans.ome"):
        assert name not in ended.err
    ended = gigafcn(*words, "--image", "all", cwd=scans)
    assert ended.code == 0, ended.err
    made = sorted(path.name for path in (scans / "maps").glob("*.zarr"))
    assert [name.partition("-image")[2] for name in made] == ["1.zarr", "2.zarr"]
    assert all(name.startswith("slide-") for name in made)


def test_all_of_a_file_with_one_image_is_that_one_under_its_own_name(folder: Path) -> None:
    ended = gigafcn("infer", "slide.tif", *MODEL, "--image", "all", "-o", "maps", cwd=folder)
    assert ended.code == 0, ended.err
    assert (folder / "maps" / "slide.zarr").exists()


def test_workers_read_the_image_that_was_chosen(scans: Path) -> None:
    for number, name in ((1, "a"), (2, "b")):
        words = ["infer", "scans.ome.tif", *MODEL, "--image", str(number), "--dtype", "float32"]
        for more in (["-o", f"{name}.zarr"], ["-o", f"{name}-2.zarr", "--workers", "1"]):
            assert gigafcn(*words, *more, cwd=scans).code == 0
        one, other = (open_map(scans / f"{name}{end}.zarr").scores[0][...] for end in ("", "-2"))
        np.testing.assert_array_equal(one, other)
