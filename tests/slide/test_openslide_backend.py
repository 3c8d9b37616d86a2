"""OpenSlide reads exactly the box asked, the same in every box, and survives bad tiles."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile

from gigafcn.errors import RunError, SlideError
from gigafcn.geometry import Box
from gigafcn.slide import open_slide
from gigafcn.slide import openslide as backend
from gigafcn.slide.marks import Mark
from gigafcn.slide.openslide import OpenSlideSlide

if TYPE_CHECKING:
    from pathlib import Path


def write_pyramid(path: Path, levels: list[Any]) -> OpenSlideSlide:
    with tifffile.TiffWriter(path) as tif:
        for number, level in enumerate(levels):
            tif.write(
                level, tile=(64, 64), photometric="rgb", subfiletype=int(number > 0), metadata=None
            )
    return OpenSlideSlide(path)


@pytest.mark.slide
def test_the_real_slide_equals_the_decoding_of_tifffile(real_slide: Path, reads_like: Any) -> None:
    slide = open_slide(real_slide)
    assert isinstance(slide, OpenSlideSlide)
    assert slide.mpp == (0.499, 0.499)
    reads_like(slide, tifffile.imread(real_slide), boxes=10)


def test_levels_of_whole_downsamples_are_exact(
    tmp_path: Path, make_pixels: Any, reads_like: Any
) -> None:
    levels = [make_pixels(512 // f, 768 // f, 3, seed=f) for f in (1, 2, 8)]
    slide = write_pyramid(tmp_path / "a.tif", levels)
    for number, pixels in enumerate(levels):
        reads_like(slide, pixels, level=number)


def test_levels_of_other_downsamples_read_the_same_in_every_box(
    tmp_path: Path, make_pixels: Any, reads_like: Any
) -> None:
    levels = [make_pixels(2961 // f, 1303 // f, 3, seed=f) for f in (1, 2, 4)]
    slide = write_pyramid(tmp_path / "a.tif", levels)
    assert [level.downsample for level in slide.levels] == [(1, 1), (2, 2), (4, 4)]
    for number in (1, 2):
        whole = slide.read(Box.whole(slide.levels[number].shape), number)
        reads_like(slide, whole, level=number)


def test_transparent_pixels_become_white_and_are_marked_as_gaps(
    tmp_path: Path, make_pixels: Any
) -> None:
    pixels = make_pixels(64, 192, 3)

    def tiles() -> Any:
        yield pixels[:, :64]
        yield None
        yield pixels[:, 128:]

    tifffile.imwrite(
        tmp_path / "a.tif", tiles(), shape=pixels.shape, dtype="uint8", tile=(64, 64),
        photometric="rgb", compression="zlib",
    )  # fmt: skip
    found = OpenSlideSlide(tmp_path / "a.tif").look(Box(0, 0, 64, 192))
    np.testing.assert_array_equal(found.pixels[:, 64:128], 255)
    np.testing.assert_array_equal(found.pixels[:, 128:], pixels[:, 128:])
    assert found.marks is not None
    assert (found.marks[:, 64:128] == Mark.GAP).all()
    assert found.marks.sum() == 64 * 64 * Mark.GAP


@pytest.fixture
def damaged(real_slide: Path, tmp_path: Path) -> Path:
    """The real slide with the tile at (240, 240) overwritten."""
    path = tmp_path / "bad.svs"
    data = bytearray(real_slide.read_bytes())
    with tifffile.TiffFile(real_slide) as tif:
        page = tif.pages.first
        index = -(-2220 // 240) + 1
        offset, count = page.dataoffsets[index], page.databytecounts[index]
    data[offset : offset + count] = bytes(count)
    path.write_bytes(data)
    return path


@pytest.mark.slide
def test_after_a_bad_tile_the_others_are_still_read(damaged: Path, real_slide: Path) -> None:
    slide, good = open_slide(damaged), open_slide(real_slide)
    for _ in range(2):
        with pytest.raises(RunError, match=r"bad\.svs, level 0, box \(250, 250, 300, 300\)"):
            slide.read(Box(250, 250, 300, 300))
        np.testing.assert_array_equal(
            slide.read(Box(0, 0, 240, 900)), good.read(Box(0, 0, 240, 900))
        )


@pytest.mark.slide
def test_what_cannot_be_read_is_the_bad_tile_and_nothing_else(
    damaged: Path, real_slide: Path
) -> None:
    slide, expected = open_slide(damaged), tifffile.imread(real_slide)
    bad = Box(240, 240, 480, 480)
    for box in (Box(0, 0, 700, 900), Box(400, 400, 500, 500), Box(239, 239, 241, 241)):
        found = slide.look(box)
        assert found.failed == (bad,)
        assert found.marks is not None
        wrong = np.zeros(box.shape, bool)
        wrong[bad.intersect(box).relative_to(box)] = True
        np.testing.assert_array_equal(found.marks == Mark.FAILED, wrong)
        there = expected[box.y0 : box.y1, box.x0 : box.x1]
        np.testing.assert_array_equal(found.pixels[~wrong], there[~wrong])
        assert (found.pixels[wrong] == 255).all()
    assert slide.look(Box(480, 0, 600, 900)).failed == ()


@pytest.mark.slide
def test_where_tiles_lie_anywhere_the_bad_region_is_found_in_halves(
    damaged: Path, real_slide: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backend, "_FRACTIONAL_VENDORS", {"aperio"})
    found = open_slide(damaged).look(Box(0, 0, 1000, 1000))
    assert found.marks is not None
    wrong = found.marks == Mark.FAILED
    assert wrong[240:480, 240:480].all()
    # Pieces of 32 px that the bad tile touches.
    assert wrong.sum() == (480 - 224) ** 2
    expected = tifffile.imread(real_slide)[:1000, :1000]
    np.testing.assert_array_equal(found.pixels[~wrong], expected[~wrong])


@pytest.mark.slide
def test_one_threads_bad_tile_does_not_fail_another(damaged: Path, real_slide: Path) -> None:
    slide, expected = open_slide(damaged), tifffile.imread(real_slide)

    def check(seed: int) -> bool:
        y = int(np.random.default_rng(seed).integers(480, 2800))
        if seed % 3 == 0:
            with pytest.raises(RunError):
                slide.read(Box(240, 240, 280, 280))
            return True
        return np.array_equal(slide.read(Box(y, 0, y + 100, 500)), expected[y : y + 100, :500])

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(check, range(60)))


@pytest.mark.slide
def test_the_fingerprint_is_the_quick_hash(real_slide: Path) -> None:
    assert open_slide(real_slide).fingerprint().startswith("openslide:6335ea0e6cc5")


@pytest.mark.slide
def test_a_closed_slide_is_not_read(real_slide: Path) -> None:
    slide = open_slide(real_slide)
    slide.close()
    slide.close()
    with pytest.raises(RunError, match="is closed"):
        slide.read(Box(0, 0, 1, 1))


def test_an_old_library_is_refused(
    tmp_path: Path, make_pixels: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backend, "OLDEST_LIBRARY", (99, 0, 0))
    with pytest.raises(SlideError, match="older than 99"):
        write_pyramid(tmp_path / "a.tif", [make_pixels(64, 64, 3)])


def test_giant_tiles_are_refused() -> None:
    properties = {f"openslide.level[0].tile-{side}": "100000" for side in ("width", "height")}
    with pytest.raises(SlideError, match="tiles of 100000 x 100000 px"):
        backend._check_tiles("a.ndpi", properties, 1)
