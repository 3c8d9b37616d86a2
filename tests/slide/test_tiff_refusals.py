"""TIFFs that are incomplete, absurd or ambiguous are refused on opening, with the reason."""

from __future__ import annotations

import struct
import tracemalloc
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile

from gigafcn.errors import RunError, SlideError
from gigafcn.geometry import Box
from gigafcn.slide import open_slide
from gigafcn.slide.marks import Mark
from gigafcn.slide.tiff_directory import check_tiff

if TYPE_CHECKING:
    from pathlib import Path


def write_tags(path: Path, tags: dict[int, int], data: bytes = b"") -> Path:
    """Little-endian TIFF of one directory of LONG tags; the data follow the directory."""
    entries = b"".join(struct.pack("<HHII", code, 4, 1, tags[code]) for code in sorted(tags))
    head = b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", len(tags))
    path.write_bytes(head + entries + bytes(4) + data)
    return path


def tiled(**changes: int) -> dict[int, int]:
    """Tags of a 64 x 64 px grey page of one deflate tile stored at byte 200."""
    tags = {"width": 256, "length": 257, "bits": 258, "compression": 259, "photometric": 262}
    tags |= {"samples": 277, "tile_width": 322, "tile_length": 323, "offset": 324, "count": 325}
    values = {"width": 64, "length": 64, "bits": 8, "compression": 8, "photometric": 1}
    values |= {"samples": 1, "tile_width": 64, "tile_length": 64, "offset": 200, "count": 40}
    return {tags[name]: value for name, value in (values | changes).items()}


def test_a_plain_page_passes(tmp_path: Path) -> None:
    check_tiff(write_tags(tmp_path / "a.tif", tiled(), bytes(300)))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"width": 4_000_000_000, "length": 4_000_000_000}, "but lists 1 in a file of"),
        ({"tile_width": 1 << 30, "tile_length": 1 << 30}, "above the limit of 10000:1"),
        ({"samples": 1 << 30}, "above the limit of 10000:1"),
        ({"tile_width": 0}, "is damaged"),
        ({"width": 0}, "is damaged"),
    ],
)
def test_absurd_sizes_are_refused_before_allocating(
    changes: dict[str, int], reason: str, tmp_path: Path
) -> None:
    path = write_tags(tmp_path / "a.tif", tiled(**changes), bytes(300))
    tracemalloc.start()
    try:
        with pytest.raises(SlideError, match=reason):
            open_slide(path)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_a_patched_width_is_refused(tmp_path: Path, make_pixels: Any) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, make_pixels(100, 100, 3), compression="zlib", rowsperstrip=10)
    with tifffile.TiffFile(path, mode="r+") as tif:
        tif.pages.first.tags["ImageWidth"].overwrite(60_000)
        tif.pages.first.tags["ImageLength"].overwrite(60_000)
    with pytest.raises(SlideError, match="60000 x 60000 px"):
        open_slide(path)


def test_a_giant_absent_tile_is_refused(tmp_path: Path) -> None:
    path = write_tags(tmp_path / "a.tif", tiled(tile_width=1 << 20, tile_length=1 << 20, count=0))
    with pytest.raises(SlideError, match="compressed tiles of 1048576 MiB"):
        open_slide(path)


def test_a_sparse_slide_far_beyond_the_ratio_is_accepted(tmp_path: Path) -> None:
    tifffile.imwrite(
        tmp_path / "a.tif", iter([b"x" * 500] + [b""] * 9999), shape=(51_200, 51_200),
        dtype="uint8", tile=(512, 512), compression="zlib",
    )  # fmt: skip
    assert (51_200**2) / (tmp_path / "a.tif").stat().st_size > 10_000
    assert open_slide(tmp_path / "a.tif").levels[0].shape == (51_200, 51_200)


@pytest.mark.parametrize("options", [{}, {"tile": (64, 64), "compression": "zlib"}], ids=str)
@pytest.mark.parametrize("bigtiff", [False, True])
def test_missing_bytes_are_counted_and_the_rest_is_read(
    options: dict[str, Any], bigtiff: bool, tmp_path: Path, make_pixels: Any
) -> None:
    path, pixels = tmp_path / "a.tif", make_pixels(200, 200, 3)
    tifffile.imwrite(path, pixels, bigtiff=bigtiff, **options)
    path.write_bytes(path.read_bytes()[:-777])
    slide = open_slide(path)
    assert slide.traits.missing_bytes == 777
    found = slide.look(Box(0, 0, 200, 200))
    assert found.marks is not None
    bad = found.marks == Mark.FAILED
    assert bad[-1, -1]
    assert bad.mean() < 0.05
    np.testing.assert_array_equal(found.pixels[~bad], pixels[~bad])
    with pytest.raises(RunError, match="the file is damaged there"):
        slide.read(Box(0, 0, 200, 200))


def test_a_file_cut_off_before_its_pixels_is_refused(tmp_path: Path, make_pixels: Any) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, make_pixels(200, 200, 3), tile=(64, 64))
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(SlideError, match=r"truncated: .* and with them all of its pixels"):
        open_slide(path)


@pytest.mark.slide
def test_an_svs_without_its_last_pages_is_read(real_slide: Path, tmp_path: Path) -> None:
    data = real_slide.read_bytes()
    (tmp_path / "a.svs").write_bytes(data[: int(0.9 * len(data))])
    slide, box = open_slide(tmp_path / "a.svs"), Box(500, 600, 900, 1200)
    assert slide.mpp == (0.499, 0.499)
    np.testing.assert_array_equal(slide.read(box), open_slide(real_slide).read(box))


@pytest.mark.parametrize("keep", [0.1, 0.5])
@pytest.mark.slide
def test_an_svs_without_its_first_directory_is_refused(
    keep: float, real_slide: Path, tmp_path: Path
) -> None:
    data = real_slide.read_bytes()
    (tmp_path / "a.svs").write_bytes(data[: int(keep * len(data))])
    with pytest.raises(SlideError, match="truncated"):
        open_slide(tmp_path / "a.svs")


@pytest.mark.parametrize("length", range(4, 60, 5))
def test_a_header_without_its_rest_is_truncated(length: int, tmp_path: Path) -> None:
    path = write_tags(tmp_path / "a.tif", tiled(), bytes(300))
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(SlideError, match="truncated"):
        open_slide(path)


def test_directories_in_a_circle_end(tmp_path: Path) -> None:
    path = write_tags(tmp_path / "a.tif", tiled(), bytes(300))
    data = bytearray(path.read_bytes())
    data[10 + 12 * 10 : 14 + 12 * 10] = struct.pack("<I", 8)
    path.write_bytes(data)
    check_tiff(path)


@pytest.mark.parametrize(
    ("axes", "shape"), [("ZYX", (4, 50, 60)), ("TYX", (4, 50, 60)), ("ZCYX", (2, 3, 50, 60))]
)
def test_a_stack_is_refused_by_the_name_of_its_axis(
    axes: str, shape: tuple[int, ...], tmp_path: Path
) -> None:
    tifffile.imwrite(tmp_path / "a.ome.tif", np.zeros(shape, "uint8"), metadata={"axes": axes})
    with pytest.raises(SlideError, match=f"choose one plane of axis {axes[0]}"):
        open_slide(tmp_path / "a.ome.tif")


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"photometric": "palette", "colormap": np.zeros((3, 256), "uint16")}, "palette"),
        ({"photometric": "minisblack", "bilevel": True}, "bool"),
        ({"photometric": "minisblack", "dtype": "complex64"}, "complex64"),
    ],
)
def test_pixels_that_are_not_intensities_are_refused(
    options: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    pixels = np.zeros((40, 40), bool if options.pop("bilevel", False) else "uint8")
    pixels = pixels.astype(options.pop("dtype", pixels.dtype))
    tifffile.imwrite(tmp_path / "a.tif", pixels, **options)
    with pytest.raises(SlideError, match=reason):
        open_slide(tmp_path / "a.tif")


def test_a_file_of_an_ome_set_of_files_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.ome.tif"
    tifffile.imwrite(path, np.zeros((2, 40, 40), "uint8"), metadata={"axes": "CYX"})
    xml = tifffile.tiffcomment(path)
    assert isinstance(xml, str)
    other = '<UUID FileName="b.ome.tif">urn:uuid:1</UUID>'
    changed = xml.replace('<TiffData IFD="0" PlaneCount="2"/>', f"<TiffData>{other}</TiffData>")
    assert changed != xml
    tifffile.tiffcomment(path, changed)
    with pytest.raises(SlideError, match="choose one plane of axis I"):
        open_slide(path)


def test_mutated_files_raise_nothing_but_slide_errors(tmp_path: Path, make_pixels: Any) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, make_pixels(90, 90, 3), tile=(32, 32), compression="zlib")
    data, random = path.read_bytes(), np.random.default_rng(0)
    for _ in range(150):
        mutated = bytearray(data)
        for at in random.integers(0, 450, 4):
            mutated[at] = int(random.integers(0, 256))
        path.write_bytes(mutated)
        try:
            slide = open_slide(path)
        except SlideError:
            continue
        slide.close()
