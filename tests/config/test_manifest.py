"""A list of slides says which, and what of each."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gigafcn.config.manifest import is_manifest, read_manifest
from gigafcn.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path


def written(folder: Path, name: str, text: str) -> str:
    (folder / name).write_text(text, encoding="utf-8")
    return str(folder / name)


def test_a_text_file_has_one_path_per_line(tmp_path: Path) -> None:
    text = "# my slides\na b.svs\n\n  /x/größe.tif  \ns3://bucket/c.zarr\n"
    entries = read_manifest(written(tmp_path, "list.txt", text))
    assert [entry.slide for entry in entries] == [
        str(tmp_path / "a b.svs"), "/x/größe.tif", "s3://bucket/c.zarr",
    ]  # fmt: skip
    assert entries[1].where.endswith("list.txt line 4")


def test_columns_say_mpp_mask_and_name(tmp_path: Path) -> None:
    text = '\ufeffSlide,Case,MPP,Mask,Name\na.svs,7,0.25,m/a.png,first\nb.svs,,"0,5;0,25",,\n\n'
    first, second = read_manifest(written(tmp_path, "list.csv", text))
    assert (first.mpp, first.name) == ((0.25, 0.25), "first")
    assert first.mask == str(tmp_path / "m/a.png")
    assert (second.mpp, second.mask, second.name) == ((0.5, 0.25), None, None)


def test_tabs_separate_in_tsv(tmp_path: Path) -> None:
    (entry,) = read_manifest(written(tmp_path, "l.tsv", "path\tmpp\na, b.svs\t0.5\n"))
    assert entry.slide == str(tmp_path / "a, b.svs")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("l.csv", "a.svs\nb.svs\n", r"l\.csv has no column 'slide'; its first line is a\.svs"),
        ("l.csv", "slide,mpp\na.svs,big\n", r"l\.csv line 2: mpp 'big' is no size in µm/px"),
        ("l.csv", "slide,mpp\na.svs,-1\n", "no size in µm/px"),
        ("l.csv", "slide,mpp\n,0.5\n", r"l\.csv line 2 names no slide"),
        ("l.csv", "slide,name\na.svs,../up\n", "must be a name without a folder"),
        ("l.csv", "", "its first line is empty"),
    ],
)
def test_a_list_that_cannot_be_meant_is_refused(
    name: str, text: str, message: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=message):
        read_manifest(written(tmp_path, name, text))


def test_a_list_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "l.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="it is not UTF-8 text"):
        read_manifest(str(tmp_path / "l.txt"))


def test_only_lists_that_are_there_are_lists(tmp_path: Path) -> None:
    assert is_manifest(written(tmp_path, "l.csv", "slide\n"))
    assert not is_manifest(str(tmp_path / "nosuch.csv"))
    assert not is_manifest(str(tmp_path))
