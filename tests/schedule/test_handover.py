"""What other processes are told: legible with a key only, and gone when the run ends."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gigafcn.errors import RunError
from gigafcn.schedule.cluster import Equipment, local_client
from gigafcn.schedule.handover import Handover, JobFiles, lent_folder, write_handover
from gigafcn.schedule.reach import check_reach

if TYPE_CHECKING:
    from pathlib import Path

PLAN = {"spec": {"name": "patient-7"}}


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Path of a map whose run folder is there."""
    (tmp_path / "patient-7.zarr.run").mkdir()
    return tmp_path / "patient-7.zarr"


def files_of(out: Path) -> JobFiles:
    return JobFiles(str(out), "/slides/patient-7.svs", "demonstration", trust=False)


def test_what_was_written_is_read_with_the_key_and_names_no_slide_without(out: Path) -> None:
    with lent_folder(out, "0123") as folder:
        handover = write_handover(folder, files_of(out), PLAN)
        assert handover.read() == (files_of(out), PLAN)
        written = b"".join(f.read_bytes() for f in folder.iterdir())
        assert b"patient" not in written
        assert "patient" not in repr(handover)
    assert not folder.exists()


def test_what_a_killed_run_lent_is_swept_by_the_next(out: Path, tmp_path: Path) -> None:
    killed = lent_folder(out, "dead")
    killed.__enter__()
    assert (tmp_path / ".gigafcn-dead").is_dir()
    with lent_folder(out, "0123"):
        assert not (tmp_path / ".gigafcn-dead").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["patient-7.zarr.run"]


def test_a_folder_of_another_run_is_not_believed(out: Path) -> None:
    with lent_folder(out, "0123") as folder:
        handover = write_handover(folder, files_of(out), PLAN)
        write_handover(folder, files_of(out), {})
        with pytest.raises(RunError, match="not what the run wrote"):
            handover.read()


def test_workers_that_do_not_share_the_disk_are_told_before_the_first_tile(
    out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gigafcn.schedule.reach.PATIENCE_S", 0.3)
    elsewhere = Handover(str(tmp_path / "not-mounted/.gigafcn-0123"), b"", "")
    with local_client(None, Equipment()) as client, lent_folder(out, "0123") as folder:
        with pytest.raises(RunError, match=r"1 of 1 workers cannot work.*not-mounted.*share"):
            check_reach(client, elsewhere)
        handover = write_handover(folder, files_of(out), PLAN)
        with pytest.raises(RunError, match="does not see the slide"):
            check_reach(client, handover)
