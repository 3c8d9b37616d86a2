"""A map is named after its slide and never takes another's place."""

from __future__ import annotations

from pathlib import Path

import pytest

from gigafcn.cli.naming import map_paths, stem_of
from gigafcn.errors import UsageError


@pytest.mark.parametrize(
    ("slide", "stem"),
    [
        ("case.svs", "case"),
        ("/archive/2026/case.1.ndpi", "case.1"),
        ("case.ome.tif", "case"),
        ("case", "case"),
        (".ome", ".ome"),
        ("maps/case.zarr/", "case"),
        ("s3://bucket/case.zarr", "case"),
    ],
)
def test_a_stem_has_neither_folder_nor_suffix(slide: str, stem: str) -> None:
    assert stem_of(slide) == stem


def test_without_output_the_map_goes_to_the_working_directory() -> None:
    assert map_paths(["/archive/case.svs"], None) == [Path("case.zarr")]


def test_an_output_ending_in_zarr_names_the_map() -> None:
    assert map_paths(["case.svs"], Path("out/x.zarr")) == [Path("out/x.zarr")]


def test_any_other_output_is_a_directory() -> None:
    paths = map_paths(["a.svs", "b.svs"], Path("out.d"))
    assert paths == [Path("out.d/a.zarr"), Path("out.d/b.zarr")]


def test_one_map_for_two_slides_is_refused() -> None:
    with pytest.raises(UsageError, match="names one map but 2 slides were given"):
        map_paths(["a.svs", "b.svs"], Path("x.zarr"))


def test_two_slides_of_one_name_are_refused() -> None:
    with pytest.raises(UsageError, match=r"1/a\.svs and 2/a\.svs would both be mapped to a\.zarr"):
        map_paths(["1/a.svs", "2/a.svs"], None)


def test_a_map_in_the_place_of_its_slide_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=r"the slide's own place; give -o"):
        map_paths(["./a.zarr"], Path("a.zarr"))


def test_the_map_of_a_zarr_slide_has_a_name_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert map_paths(["./a.zarr", "in/b.zarr"], None) == [Path("a-map.zarr"), Path("b.zarr")]
