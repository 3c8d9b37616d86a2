"""A slide that cannot be opened ends with code 3 and one line that says what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import tifffile

from gigafcn import open_map as gigafcn_map
from gigafcn.output.store import ChunkStatus
from tests.cli.refusals import MODEL, refused
from tests.commands import gigafcn

if TYPE_CHECKING:
    from pathlib import Path


def refused_slide(name: str, folder: Path, *more: str) -> str:
    """The line with which a slide is refused."""
    return refused(3, "infer", name, *MODEL, *more, cwd=folder)


def test_a_missing_slide_is_refused_with_the_nearest_name(folder: Path) -> None:
    assert refused_slide("slide.tiff", folder) == (
        "slide.tiff: no such file; did you mean slide.tif?"
    )


def test_a_slide_in_a_missing_folder_is_refused(folder: Path) -> None:
    assert "no such directory archive" in refused_slide("archive/slide.tif", folder)


@pytest.mark.parametrize(
    ("content", "what"),
    [(b"Dear colleague,\n", "is not an image that gigafcn knows"), (b"", "is empty")],
)
def test_a_file_that_is_no_image_is_refused(content: bytes, what: str, folder: Path) -> None:
    (folder / "letter.svs").write_bytes(content)
    message = refused_slide("letter.svs", folder)
    assert message.startswith(f"letter.svs {what}; it reads SVS, NDPI")


def test_a_folder_without_an_image_is_refused(folder: Path) -> None:
    (folder / "scans").mkdir()
    ended = gigafcn("infer", "scans", *MODEL, cwd=folder)
    assert ended.code == 3
    assert "no slide found in scans; folders are searched for SVS, TIFF, NDPI, MRXS" in ended.error


@pytest.mark.parametrize("share", [0.0004, 0.02])
def test_a_tiff_truncated_before_its_pixels_is_refused(share: float, folder: Path) -> None:
    whole = (folder / "slide.tif").read_bytes()
    (folder / "cut.tif").write_bytes(whole[: int(share * len(whole))])
    message = refused_slide("cut.tif", folder)
    assert "cut.tif" in message
    assert "truncated" in message


def test_the_readable_part_of_a_truncated_tiff_is_mapped(folder: Path) -> None:
    pixels = np.random.default_rng(0).integers(1, 256, (1100, 900, 3), np.uint8)
    tifffile.imwrite(folder / "whole.tif", pixels, tile=(64, 64), photometric="rgb")
    whole = (folder / "whole.tif").read_bytes()
    (folder / "cut.tif").write_bytes(whole[: int(0.6 * len(whole))])
    ended = gigafcn("infer", "cut.tif", *MODEL, cwd=folder)
    assert ended.code == 5
    assert "warning: cut.tif is truncated" in ended.err
    assert "has status failed in the map, 2 regions: (640, " in ended.err
    assert "cut.zarr" in ended.out
    assert gigafcn("infer", "whole.tif", *MODEL, cwd=folder).code == 0
    cut, good = (gigafcn_map(folder / f"{name}.zarr") for name in ("cut", "whole"))
    done = cut.status == ChunkStatus.COMPUTED
    assert (cut.status[~done] == ChunkStatus.FAILED).all()
    rows = int(done.all(axis=1).sum()) * cut.spec.chunk
    assert 0 < rows < 1100
    # The last row looks one px down, where nothing could be read.
    np.testing.assert_array_equal(cut.scores[0][:, : rows - 1], good.scores[0][:, : rows - 1])
    again = gigafcn("infer", "cut.tif", *MODEL, cwd=folder)
    assert (again.code, "has status failed" in again.err) == (5, True)
    assert "--strict" in gigafcn("infer", "cut.tif", *MODEL, "--strict", cwd=folder).err


@pytest.mark.slide
def test_a_truncated_svs_is_refused(real_slide: Path, folder: Path) -> None:
    whole = real_slide.read_bytes()
    (folder / "cut.svs").write_bytes(whole[: len(whole) // 2])
    message = refused_slide("cut.svs", folder)
    assert "cut.svs" in message
    assert "truncated" in message


def test_a_page_far_larger_than_its_file_is_refused_before_allocating(folder: Path) -> None:
    with tifffile.TiffFile(folder / "slide.tif", mode="r+") as file:
        for tag in ("ImageWidth", "ImageLength"):
            file.pages.first.tags[tag].overwrite(4_000_000)
    message = refused_slide("slide.tif", folder)
    assert "4000000 x 4000000 px" in message


def test_other_channels_than_the_model_takes_are_refused_and_can_be_chosen(folder: Path) -> None:
    pixels = np.full((40, 40, 4), 90, np.uint8)
    pixels[7] = 91
    tifffile.imwrite(folder / "four.tif", pixels, photometric="rgb", extrasamples=["unspecified"])
    message = refused_slide("four.tif", folder)
    assert message == ("four gives 4 channels, model tiny takes 3; choose them with --channels")
    assert gigafcn("infer", "four.tif", *MODEL, "--channels", "0,1,2", cwd=folder).code == 0
    # Declared alpha is no channel to choose.
    tifffile.imwrite(folder / "alpha.tif", pixels, photometric="rgb", extrasamples=["unassalpha"])
    assert gigafcn("infer", "alpha.tif", *MODEL, cwd=folder).code == 0


def test_an_image_without_a_valid_map_is_refused(folder: Path) -> None:
    tifffile.imwrite(folder / "thin.tif", np.zeros((40, 8, 3), np.uint8), photometric="rgb")
    words = ("infer", "thin.tif", "-m", "nets.py:valid", "--trust", "--border", "valid")
    message = refused(3, *words, cwd=folder)
    assert "8 px along x, the model loses 8 px there" in message


def test_a_map_that_never_finished_is_no_slide(folder: Path) -> None:
    (folder / "case.zarr" / "0").mkdir(parents=True)
    assert "case.zarr" in refused_slide("case.zarr", folder)


def test_a_slide_that_fails_does_not_keep_the_next_from_being_mapped(folder: Path) -> None:
    ended = gigafcn("infer", "nosuch.tif", "slide.tif", *MODEL, "-o", "maps", cwd=folder)
    assert ended.code == 5
    assert ended.err.splitlines()[-1] == "gigafcn: error: 1 of 2 slides failed"
    assert "maps/slide.zarr" in ended.out
    names = ["slide.png", "slide.zarr", "slide.zarr.run", "summary.csv"]
    assert sorted(p.name for p in (folder / "maps").iterdir()) == names


def test_other_commands_refuse_a_slide_in_the_same_words(folder: Path) -> None:
    assert "no such file" in refused(3, "plan", "nosuch.tif", *MODEL, cwd=folder)
