"""The right backend is chosen, and everything else is refused with the reason."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
import zarr

from gigafcn.errors import SlideError
from gigafcn.slide import Slide, open_slide
from gigafcn.slide.fingerprint import hash_file
from gigafcn.slide.openslide import OpenSlideSlide
from gigafcn.slide.tiff import TiffSlide
from gigafcn.slide.zarr import ZarrSlide

if TYPE_CHECKING:
    from pathlib import Path


def test_a_missing_file_suggests_the_nearest_name(tmp_path: Path) -> None:
    (tmp_path / "case_12.tiff").touch()
    with pytest.raises(SlideError, match=r"no such file; did you mean .*case_12\.tiff\?"):
        open_slide(tmp_path / "case_12.tif")


def test_a_missing_file_without_a_near_name_says_where(tmp_path: Path) -> None:
    with pytest.raises(SlideError, match="no such file in"):
        open_slide(tmp_path / "a.svs")


def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(SlideError, match="no such directory"):
        open_slide(str(tmp_path / "nowhere" / "a.svs"))


@pytest.mark.parametrize("content", [b"hello, I am text\n" * 99, b"%PDF-1.7", b"\0" * 500])
def test_a_file_that_is_no_image_lists_what_is_read(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.tiff").write_bytes(content)
    with pytest.raises(SlideError, match=r"not an image that gigafcn knows; it reads SVS, .*Zarr"):
        open_slide(tmp_path / "a.tiff")


def test_an_empty_file_is_called_empty(tmp_path: Path) -> None:
    (tmp_path / "a.tiff").touch()
    with pytest.raises(SlideError, match="is empty"):
        open_slide(tmp_path / "a.tiff")


def test_a_directory_that_is_no_image_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(SlideError, match="holds neither"):
        open_slide(tmp_path)


def test_a_damaged_zarr_is_refused(tmp_path: Path) -> None:
    (tmp_path / "zarr.json").write_text("{ not json")
    with pytest.raises(SlideError, match="cannot be opened as Zarr"):
        open_slide(tmp_path)


def test_what_is_no_source_is_refused() -> None:
    with pytest.raises(SlideError, match="cannot open a list as a slide"):
        open_slide([1, 2, 3])  # type: ignore[arg-type]  # the point of the test


def test_an_open_slide_passes_through() -> None:
    slide = open_slide(np.zeros((4, 5), np.uint8))
    assert open_slide(slide) is slide


def test_generic_pyramids_go_to_tifffile(tmp_path: Path, make_pixels: Any) -> None:
    tifffile.imwrite(tmp_path / "a.tif", make_pixels(99, 99, 3), tile=(32, 32), photometric="rgb")
    assert isinstance(open_slide(tmp_path / "a.tif"), TiffSlide)


@pytest.mark.slide
def test_scanner_formats_go_to_openslide(real_slide: Path) -> None:
    assert isinstance(open_slide(real_slide), OpenSlideSlide)


def test_every_backend_is_a_slide_that_can_be_opened_again(
    tmp_path: Path, make_pixels: Any
) -> None:
    pixels = make_pixels(64, 64, 3)
    tifffile.imwrite(tmp_path / "a.ome.tif", pixels, photometric="rgb")
    zarr.create_array(tmp_path / "a.zarr", data=pixels)
    for path in (tmp_path / "a.ome.tif", tmp_path / "a.zarr"):
        slide = open_slide(path)
        assert isinstance(slide, Slide)
        assert slide.name == "a"
        assert slide.source == str(path)
        assert open_slide(slide.source).fingerprint() == slide.fingerprint()


def test_urls_go_to_zarr(make_pixels: Any) -> None:
    pixels = make_pixels(20, 30)
    zarr.create_array("memory://slides/a.zarr", data=pixels)
    slide = open_slide("memory://slides/a.zarr")
    assert isinstance(slide, ZarrSlide)
    assert slide.name == "a"


def test_large_files_are_hashed_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").write_bytes(bytes(3 << 20))
    (tmp_path / "b").write_bytes(bytes((3 << 20) - 1) + b"x")
    monkeypatch.setattr("gigafcn.slide.fingerprint.WHOLE_BYTES", 1 << 20)
    assert hash_file(tmp_path / "a") == hash_file(tmp_path / "a")
    assert hash_file(tmp_path / "a") != hash_file(tmp_path / "b")
