"""Tiny, damaged and oddly named images: a map of what there is, or one line that says why not."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
import zarr
from PIL import Image

import gigafcn as library
from gigafcn.output.store import ChunkStatus
from tests.cli.refusals import MODEL, refused
from tests.commands import gigafcn

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("shape", [(1, 1), (1, 90), (50, 7)])
@pytest.mark.parametrize("model", ["nets.py:wide", "nets.py:valid"])
def test_an_image_smaller_than_the_halo_is_mapped_whole(
    shape: tuple[int, int], model: str, folder: Path
) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    Image.fromarray(pixels).save(folder / "a.png")
    ended = gigafcn("infer", "a.png", "-m", model, "--trust", "-o", "m/", cwd=folder)
    assert ended.code == 0, ended.err
    assert library.open_map(folder / "m/a.zarr").spec.shape == shape


def no_width(path: Path) -> None:
    tifffile.imwrite(path, np.zeros((1, 1, 3), np.uint8), photometric="rgb")
    with tifffile.TiffFile(path) as tif:
        place = tif.pages.first.tags["ImageWidth"].valueoffset
    data = bytearray(path.read_bytes())
    data[place : place + 4] = struct.pack("<I", 0)
    path.write_bytes(data)


def test_an_image_without_pixels_is_refused(folder: Path) -> None:
    no_width(folder / "a.tif")
    assert "page 0 declares 1 x 0 px" in refused(3, "infer", "a.tif", *MODEL, cwd=folder)
    zarr.create_array(str(folder / "b.zarr"), shape=(0, 5, 3), chunks=(1, 5, 3), dtype="u1")
    message = refused(3, "infer", "b.zarr", *MODEL, "-o", "maps", cwd=folder)
    assert message == "b.zarr holds no pixel: its shape is (0, 5, 3); write it again"


def test_a_text_named_tiff_is_refused(folder: Path) -> None:
    (folder / "a.tiff").write_text("Dear colleague")
    message = refused(3, "infer", "a.tiff", *MODEL, cwd=folder)
    assert message.startswith("a.tiff is not an image that gigafcn knows")


def test_paths_may_have_spaces_and_letters_of_any_script(folder: Path) -> None:
    place = folder / "Fälle und Ärzte" / "日本 語"
    place.mkdir(parents=True)
    slide = place / "Präparat №7 (a).tiff"
    (folder / "slide.tif").rename(slide)
    ended = gigafcn("infer", str(slide.relative_to(folder)), *MODEL, "-o", "die Karten", cwd=folder)
    assert ended.code == 0, ended.err
    assert "die Karten/Präparat №7 (a).zarr" in ended.out
    assert (folder / "die Karten" / "Präparat №7 (a).png").is_file()


def test_a_level_that_the_slide_has_not_is_refused_with_those_it_has(folder: Path) -> None:
    message = refused(2, "infer", "slide.tif", *MODEL, "--level", "1", cwd=folder)
    assert message == "slide has levels 0 to 0, not 1"


@pytest.mark.parametrize("region", ["400,0,21,300", "0,300,10,1", "0,0,421,300"])
def test_a_region_beyond_the_slide_is_refused_with_its_size(region: str, folder: Path) -> None:
    message = refused(2, "infer", "slide.tif", *MODEL, "--region", region, cwd=folder)
    assert "is not inside the image of 300 x 420 px (y, x)" in message


def with_a_bad_tile(path: Path, page: int = 0, tile: int = 0) -> None:
    """Overwrite one stored tile."""
    with tifffile.TiffFile(path) as tif:
        found: Any = tif.pages[page]
        offset, count = found.dataoffsets[tile], found.databytecounts[tile]
    data = bytearray(path.read_bytes())
    data[offset : offset + count] = bytes(count)
    path.write_bytes(data)


def test_one_bad_jpeg_tile_costs_its_chunk_and_is_named(folder: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (700, 900, 3), np.uint8)
    tifffile.imwrite(
        folder / "bad.tif", pixels, tile=(128, 128), photometric="rgb", compression="jpeg"
    )
    (folder / "good.tif").write_bytes((folder / "bad.tif").read_bytes())
    with_a_bad_tile(folder / "bad.tif", tile=2 * 8 + 4)
    ended = gigafcn("infer", "bad.tif", *MODEL, cwd=folder)
    assert ended.code == 5
    assert "1 region: (256, 512, 384, 640) (y0, x0, y1, x1)" in ended.err
    assert gigafcn("infer", "good.tif", *MODEL, cwd=folder).code == 0
    bad, good = (library.open_map(folder / f"{name}.zarr") for name in ("bad", "good"))
    expected = np.full((3, 4), ChunkStatus.COMPUTED)
    expected[1, 2] = ChunkStatus.FAILED
    np.testing.assert_array_equal(bad.status, expected)
    same = np.asarray(bad.scores[0]) == np.asarray(good.scores[0])
    # Beside the bad tile the model sees the background colour, 1 px far.
    assert same[:, :255].all()
    assert same[:, :, :511].all()
    assert same[:, :, 768:].all()
    assert not np.asarray(bad.scores[0])[:, 256:512, 512:768].any()
    assert not same[:, 256:512, 512:768].all()
    message = refused(5, "infer", "bad.tif", *MODEL, "--strict", "-o", "strict", cwd=folder)
    assert "cannot read bad.tif, level 0, box" in message


@pytest.mark.slide
def test_a_bad_tile_of_the_real_slide_is_read_around(real_slide: Path, folder: Path) -> None:
    (folder / "bad.svs").write_bytes(real_slide.read_bytes())
    with_a_bad_tile(folder / "bad.svs", tile=3 * -(-2220 // 240) + 2)
    ended = gigafcn("infer", "bad.svs", *MODEL, "--region", "0,0,1024,1024", cwd=folder)
    assert ended.code == 5
    assert "1 region: (720, 480, 960, 720) (y0, x0, y1, x1)" in ended.err
    stored = library.open_map(folder / "bad.zarr")
    expected = np.full((4, 4), ChunkStatus.COMPUTED)
    expected[2:4, 1:3] = ChunkStatus.FAILED
    np.testing.assert_array_equal(stored.status, expected)
    assert stored.provenance["reading"]["failed_px"] == 240 * 240


def test_a_strict_run_stops_at_the_first_bad_tile(folder: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (1400, 1400, 3), np.uint8)
    tifffile.imwrite(
        folder / "bad.tif", pixels, tile=(128, 128), photometric="rgb", compression="zlib"
    )
    with_a_bad_tile(folder / "bad.tif")
    words = ("--strict", "--tile", "256", "--json")
    ended = gigafcn("infer", "bad.tif", *MODEL, *words, cwd=folder)
    assert ended.code == 5
    assert "the file is damaged there; without --strict the rest is mapped" in ended.err
    done = [event["tiles_done"] for event in ended.events if event["event"] == "progress"]
    assert max(done, default=0) < 6 * 6
