"""What may be replaced by a new map."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from gigafcn.errors import UsageError
from gigafcn.output import create_map, open_map
from tests.output.maps import a_spec, files_of, some_values, write_map

if TYPE_CHECKING:
    from pathlib import Path

SPEC = a_spec((300, 100))


def test_an_empty_directory_is_used(tmp_path: Path) -> None:
    create_map(tmp_path, SPEC)
    assert (tmp_path / "0" / "zarr.json").is_file()


@pytest.mark.parametrize("finished", [True, False])
def test_an_existing_map_is_not_replaced_unasked(finished: bool, tmp_path: Path) -> None:
    path = tmp_path / "m.zarr"
    (write_map if finished else create_map)(path, SPEC)
    before = files_of(path)
    with pytest.raises(UsageError, match=r"exists.*--overwrite") as caught:
        create_map(path, SPEC)
    assert ("unfinished" in str(caught.value)) is not finished
    assert files_of(path) == before


@pytest.mark.parametrize("finished", [True, False])
def test_an_own_map_is_replaced_completely_when_asked(finished: bool, tmp_path: Path) -> None:
    path = tmp_path / "m.zarr"
    (write_map if finished else create_map)(path, a_spec((1030, 20)))
    create_map(path, SPEC, overwrite=True)
    create_map(tmp_path / "fresh.zarr", SPEC)
    fresh = [p.relative_to(tmp_path / "fresh.zarr") for p in files_of(tmp_path / "fresh.zarr")]
    assert [p.relative_to(path) for p in files_of(path)] == fresh


def test_a_replaced_map_holds_the_new_values(tmp_path: Path) -> None:
    write_map(tmp_path / "m.zarr", SPEC, some_values(SPEC, seed=1))
    create_map(tmp_path / "m.zarr", SPEC, overwrite=True)
    with pytest.raises(Exception, match="did not finish"):
        open_map(tmp_path / "m.zarr")


def test_a_foreign_directory_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("years of work")
    with pytest.raises(UsageError, match="never replaced"):
        create_map(tmp_path / "thesis", SPEC, overwrite=True)
    assert (tmp_path / "thesis" / "chapter.tex").read_text() == "years of work"


def test_a_foreign_zarr_group_is_never_replaced(tmp_path: Path) -> None:
    write_map(tmp_path / "m.zarr", SPEC)
    for document in (tmp_path / "m.zarr" / "zarr.json", tmp_path / "m.zarr/status/zarr.json"):
        document.write_text(document.read_text().replace('"gigafcn"', '"other"'))
    with pytest.raises(UsageError, match="not written by gigafcn"):
        create_map(tmp_path / "m.zarr", SPEC, overwrite=True)


@pytest.mark.parametrize("added", ["notes.txt", "labels/nuclei", "raw"])
def test_a_map_to_which_somebody_added_something_is_not_replaced(
    added: str, tmp_path: Path
) -> None:
    write_map(tmp_path / "m.zarr", SPEC)
    (tmp_path / "m.zarr" / added).mkdir()
    before = files_of(tmp_path)
    with pytest.raises(UsageError, match=f"holds {added}, which gigafcn did not write"):
        create_map(tmp_path / "m.zarr", SPEC, overwrite=True)
    assert files_of(tmp_path) == before


def test_a_symbolic_link_is_refused_and_its_target_kept(tmp_path: Path) -> None:
    write_map(tmp_path / "m.zarr", SPEC)
    (tmp_path / "link.zarr").symlink_to(tmp_path / "m.zarr")
    with pytest.raises(UsageError, match="symbolic link"):
        create_map(tmp_path / "link.zarr", SPEC, overwrite=True)
    assert open_map(tmp_path / "m.zarr").spec == SPEC


def test_a_level_that_was_replaced_by_a_link_is_not_followed(tmp_path: Path) -> None:
    create_map(tmp_path / "m.zarr", SPEC)
    (tmp_path / "m.zarr" / "0").rename(tmp_path / "elsewhere")
    (tmp_path / "m.zarr" / "0").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match="holds 0, which"):
        create_map(tmp_path / "m.zarr", SPEC, overwrite=True)
    assert (tmp_path / "elsewhere" / "zarr.json").is_file()


def test_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "m.zarr").write_text("not a directory")
    with pytest.raises(UsageError, match="not a directory"):
        create_map(tmp_path / "m.zarr", SPEC, overwrite=True)


def test_a_place_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"cannot be created: Not a directory"):
        create_map(tmp_path / "file" / "m.zarr", SPEC)


def test_a_map_with_left_overs_of_a_killed_write_is_replaced(tmp_path: Path) -> None:
    create_map(tmp_path / "m.zarr", SPEC)
    (tmp_path / "m.zarr" / "zarr.0a1b2c.partial").write_bytes(np.zeros(3).tobytes())
    create_map(tmp_path / "m.zarr", SPEC, overwrite=True)
    assert not list((tmp_path / "m.zarr").glob("*.partial"))
