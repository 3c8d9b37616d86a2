"""A word of the user stands for the slides that are there, each once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import zarr
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, VLWholeSlideMicroscopyImageStorage

from gigafcn.slide.finding import find_slides, one_per_series, series_of

if TYPE_CHECKING:
    from pathlib import Path


def touched(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


def dicom(path: Path, series: str) -> None:
    """A DICOM file that belongs to a series, after a reference to another one."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = VLWholeSlideMicroscopyImageStorage
    meta.MediaStorageSOPInstanceUID = UID("1.2.3")
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    other = FileDataset(str(path), {})
    other.SeriesInstanceUID = "9.9.9"
    data.ReferencedSeriesSequence = [other]
    data.SeriesInstanceUID = UID(series)
    data.save_as(path, enforce_file_format=True)


def found(folder: Path, *place: str) -> list[str]:
    there = folder.joinpath(*place)
    return [path.removeprefix(f"{folder}/") for path in find_slides(str(there))]


def test_a_folder_is_searched_in_natural_order_for_slides_alone(tmp_path: Path) -> None:
    touched(tmp_path, "case 10.svs", "case 9.svs", "sub dir/größe.TIFF", "thumb.png", "a.txt")
    touched(tmp_path, ".hidden.svs", "sub dir/deep/b.ndpi")
    assert found(tmp_path) == [
        "case 9.svs", "case 10.svs", "sub dir/deep/b.ndpi", "sub dir/größe.TIFF",
    ]  # fmt: skip


def test_a_folder_with_zarr_metadata_is_one_image(tmp_path: Path) -> None:
    zarr.create_array(tmp_path / "a.zarr", shape=(8, 8), dtype="uint8", chunks=(4, 4))
    touched(tmp_path, "a.zarr/c/inner.tif")
    assert found(tmp_path) == ["a.zarr"]
    assert found(tmp_path, "a.zarr") == ["a.zarr"]
    assert found(tmp_path, "**", "*.tif") == []


def test_the_data_folder_of_an_mrxs_slide_is_not_searched(tmp_path: Path) -> None:
    touched(tmp_path, "case.mrxs", "case/Slidedat.ini", "case/Data0001.tif", "other/a.tif")
    assert found(tmp_path) == ["case.mrxs", "other/a.tif"]
    assert found(tmp_path, "case") == []  # as a shell's "*" gives it


def test_a_pattern_takes_what_matches_pictures_too(tmp_path: Path) -> None:
    touched(tmp_path, "a.png", "b.svs", "sub/c.png")
    assert found(tmp_path, "*.png") == ["a.png"]
    assert found(tmp_path, "**", "*.png") == ["a.png", "sub/c.png"]
    assert found(tmp_path, "*.ndpi") == []


def test_a_name_that_looks_like_a_pattern_is_a_name(tmp_path: Path) -> None:
    touched(tmp_path, "case[1].svs", "case1.svs")
    assert found(tmp_path, "case[1].svs") == ["case[1].svs"]


def test_what_is_neither_there_nor_a_pattern_is_given_back(tmp_path: Path) -> None:
    assert find_slides("nosuch.svs") == ["nosuch.svs"]
    assert find_slides("s3://bucket/a.zarr") == ["s3://bucket/a.zarr"]


def test_what_is_to_be_skipped_is_no_slide(tmp_path: Path) -> None:
    touched(tmp_path, "a.svs", "b.svs", "maps/c.svs")
    names = find_slides(str(tmp_path), skip=lambda path: path.stem in ("b", "maps"))
    assert names == [str(tmp_path / "a.svs")]


@pytest.mark.parametrize("link", [False, True])
def test_folders_that_contain_themselves_end(tmp_path: Path, link: bool) -> None:
    touched(tmp_path, "a.svs")
    if link:
        (tmp_path / "loop").symlink_to(tmp_path, target_is_directory=True)
    assert found(tmp_path) == ["a.svs"]


def test_dicom_files_of_one_series_count_once(tmp_path: Path) -> None:
    for number, series in enumerate(["1.1", "1.2", "1.1", "1.2"]):
        dicom(tmp_path / f"{number}.dcm", series)
    dicom(tmp_path / "without-suffix", "1.3")
    touched(tmp_path, "README")
    assert series_of(tmp_path / "0.dcm") == "1.1"
    assert series_of(tmp_path / "README") is None
    names = found(tmp_path)
    assert names == ["0.dcm", "1.dcm", "2.dcm", "3.dcm", "without-suffix"]
    once = one_per_series(str(tmp_path / name) for name in names)
    assert [path.rpartition("/")[2] for path in once] == ["0.dcm", "1.dcm", "without-suffix"]


def test_a_slide_that_is_named_twice_counts_once(tmp_path: Path) -> None:
    touched(tmp_path, "a.svs")
    path = str(tmp_path / "a.svs")
    assert one_per_series([path, f"{tmp_path}/./a.svs", path]) == [path]


def test_an_array_in_a_folder_has_values(tmp_path: Path) -> None:
    array = zarr.create_array(tmp_path / "a.zarr", shape=(8, 8), dtype="uint8", chunks=(4, 4))
    array[...] = np.arange(64).reshape(8, 8)
    assert find_slides(f"{tmp_path}/a.zarr/") == [f"{tmp_path}/a.zarr/"]
