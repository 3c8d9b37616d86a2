"""What is done is known from receipts, whatever ended the run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gigafcn.errors import UsageError
from gigafcn.output.disk import checksum
from gigafcn.schedule.run_folder import Receipt, RunFolder, refuse_another

if TYPE_CHECKING:
    from pathlib import Path


def a_run(tmp_path: Path) -> tuple[RunFolder, Receipt]:
    """A map with two objects, and the receipt of the piece that wrote them."""
    folder = RunFolder(tmp_path / "m.zarr")
    (folder.map_path / "0").mkdir(parents=True)
    (folder.map_path / "0/a").write_bytes(b"some bytes")
    (folder.map_path / "0/b").write_bytes(b"")
    folder.begin({"slide": "s"}, {"tile": [1, 2]})
    receipt = Receipt("tile-0-0", {"0/a": "f6cd5543", "0/b": "00000000"}, {"nan": 0})
    folder.write(receipt)
    return folder, receipt


def test_a_checksum_is_the_published_one(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"123456789")
    assert checksum(tmp_path / "x") == "e3069283"  # the check value of CRC-32C


def test_receipts_are_read_back_before_and_after_folding(tmp_path: Path) -> None:
    folder, receipt = a_run(tmp_path)
    assert folder.receipts() == {"tile-0-0": receipt}
    folder.fold()
    assert folder.receipts() == {"tile-0-0": receipt}
    assert {f.name for f in folder.path.iterdir()} == {"run.json", "receipts.json"}


def test_what_was_begun_is_known(tmp_path: Path) -> None:
    folder, _ = a_run(tmp_path)
    begun = folder.begun()
    assert begun is not None
    assert (begun["fingerprint"], begun["plan"]) == ({"slide": "s"}, {"tile": [1, 2]})
    assert RunFolder(tmp_path / "other.zarr").begun() is None


def test_beginning_anew_forgets_earlier_receipts(tmp_path: Path) -> None:
    folder, _ = a_run(tmp_path)
    folder.fold()
    folder.begin({}, {})
    assert folder.receipts() == {}


@pytest.mark.parametrize("damage", ["missing", "truncated", "flipped"])
def test_a_damaged_object_is_found(damage: str, tmp_path: Path) -> None:
    folder, receipt = a_run(tmp_path)
    assert folder.is_intact(receipt)
    path = folder.map_path / "0/a"
    match damage:
        case "missing":
            path.unlink()
        case "truncated":
            path.write_bytes(b"some byte")
        case "flipped":
            path.write_bytes(b"some bytec")
    assert list(folder.damaged(receipt)) == ["0/a"]
    assert not folder.is_intact(receipt)


def test_a_receipt_cut_short_does_not_count(tmp_path: Path) -> None:
    folder, _ = a_run(tmp_path)
    (folder.path / "receipts/tile-0-9.json").write_bytes(b'{"piece": "tile')
    assert set(folder.receipts()) == {"tile-0-0"}


def test_another_run_is_refused_by_what_differs(tmp_path: Path) -> None:
    folder, _ = a_run(tmp_path)
    begun = folder.begun()
    assert begun is not None
    refuse_another(begun, {"slide": "s"}, folder.map_path)
    with pytest.raises(UsageError, match="slide was 's', now 't'"):
        refuse_another(begun, {"slide": "t"}, folder.map_path)
