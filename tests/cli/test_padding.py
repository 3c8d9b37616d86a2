"""``--pad``, and what commands say of the image that the model sees; a slide of 300 x 420 px."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import zarr

from tests.commands import gigafcn

if TYPE_CHECKING:
    from pathlib import Path

FLAGS = ("--trust", "--tile", "128")


def made(folder: Path, model: str, *flags: str) -> tuple[str, dict[str, Any]]:
    """The closing line of a run and what its map says of padding."""
    ended = gigafcn("infer", "slide.tif", "-m", f"nets.py:{model}", *FLAGS, *flags, cwd=folder)
    assert ended.code == 0, ended.err
    attributes: Any = zarr.open_group(folder / "slide.zarr", mode="r").attrs["gigafcn"]
    return ended.out, attributes["padding"]


def test_the_closing_line_and_the_map_say_that_the_image_was_padded(folder: Path) -> None:
    line, told = made(folder, "halved")
    assert ", padded to 304 x 424 px, " in line
    assert told == {"definition": "period", "input": [304, 424], "no_period": None}


def test_with_pad_none_they_say_that_it_was_not(folder: Path) -> None:
    line, told = made(folder, "halved", "--pad", "none")
    assert ", image itself, not padded, " in line
    assert told == {"definition": "none", "input": [300, 420], "no_period": None}


def test_without_a_period_they_say_so_and_why(folder: Path) -> None:
    line, told = made(folder, "resized")
    assert ", image itself, not padded, " in line
    assert (told["definition"], told["input"]) == ("none", [300, 420])
    assert "which is another ratio" in told["no_period"]


@pytest.mark.parametrize("command", ["infer", "plan"])
def test_what_is_not_possible_is_refused_in_one_line(command: str, folder: Path) -> None:
    ended = gigafcn(
        command, "slide.tif", "-m", "nets.py:resized", *FLAGS, "--pad", "period", cwd=folder
    )
    assert (ended.code, ended.out) == (2, "")
    assert ended.error.startswith("pad period: the model has no period")
    ended = gigafcn(
        command, "slide.tif", "-m", "nets.py:valid", "--trust", "--mode", "blend", "--window",
        "64", "--pad", "none", cwd=folder,
    )  # fmt: skip
    assert (ended.code, ended.out) == (2, "")
    assert ended.error == "pad none is for mode exact, not for mode blend"


def test_plan_says_what_padding_changes_at_the_far_edge(folder: Path) -> None:
    ended = gigafcn("plan", "slide.tif", "-m", "nets.py:halved", "--trust", cwd=folder)
    assert ended.code == 0, ended.err
    text = " ".join(ended.out.split())
    assert "input padded to 304 x 424 px" in text
    # 300 - 256 and 420 - 256 px, cut to multiples of 32.
    assert "scores of the last 268 x 260 px of the image differ by at most" in text


def test_verify_says_it_too(folder: Path) -> None:
    ended = gigafcn("verify", "nets.py:halved", "slide.tif", "--trust", cwd=folder)
    assert ended.code == 0, ended.err
    text = " ".join(ended.out.split())
    assert "far edge: padded to the period or not, scores of the last 268 x 260 px of" in text


def test_inspect_says_why_there_is_no_period(folder: Path) -> None:
    ended = gigafcn("inspect", "nets.py:resized", "--trust", cwd=folder)
    assert ended.code == 0, ended.err
    text = " ".join(ended.out.split())
    assert "period: y, x none images are not padded, since there is no period: model: aten." in text
