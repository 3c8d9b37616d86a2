"""Small pictures as slides, and the guard against large ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import imagecodecs
import numpy as np
import pytest
from PIL import Image

from gigafcn.errors import SlideError
from gigafcn.geometry import Box
from gigafcn.slide import open_slide, picture

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("extension", ["png", "bmp", "webp"])
def test_lossless_pictures_equal_the_array(
    extension: str, tmp_path: Path, make_pixels: Any, reads_like: Any
) -> None:
    pixels = make_pixels(61, 83, 3)
    Image.fromarray(pixels).save(tmp_path / f"a.{extension}", lossless=True)
    reads_like(open_slide(tmp_path / f"a.{extension}"), pixels)


def test_sixteen_bit_grey_is_kept(tmp_path: Path, make_pixels: Any, reads_like: Any) -> None:
    pixels = make_pixels(61, 83, dtype="uint16")
    (tmp_path / "a.png").write_bytes(imagecodecs.png_encode(pixels))
    reads_like(open_slide(tmp_path / "a.png"), pixels[..., np.newaxis])


def test_sixteen_bit_colour_is_refused(tmp_path: Path, make_pixels: Any) -> None:
    (tmp_path / "a.png").write_bytes(imagecodecs.png_encode(make_pixels(6, 8, 3, dtype="uint16")))
    with pytest.raises(SlideError, match="16-bit colour picture"):
        open_slide(tmp_path / "a.png")


def test_transparency_becomes_white(tmp_path: Path) -> None:
    pixels = np.zeros((4, 6, 4), np.uint8)
    pixels[:, 3:, 3] = 255
    Image.fromarray(pixels).save(tmp_path / "a.png")
    read = open_slide(tmp_path / "a.png").read(Box(0, 0, 4, 6))
    assert (read[:, :3] == 255).all()
    assert (read[:, 3:] == 0).all()


@pytest.mark.parametrize("mode", ["P", "1", "CMYK"])
def test_other_modes_become_grey_or_rgb(mode: str, tmp_path: Path, make_pixels: Any) -> None:
    path = tmp_path / ("a.jpg" if mode == "CMYK" else "a.png")
    image = Image.fromarray(make_pixels(20, 30, 3)).convert(mode)
    image.save(path)
    expected = np.asarray(Image.open(path).convert("L" if mode == "1" else "RGB"))
    np.testing.assert_array_equal(
        open_slide(path).read(Box(0, 0, 20, 30)).squeeze(), expected.squeeze()
    )


def test_a_large_picture_is_refused_before_decoding(
    tmp_path: Path, make_pixels: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(picture, "MOST_PX", 100)
    Image.fromarray(make_pixels(20, 30, 3)).save(tmp_path / "a.png")
    with pytest.raises(SlideError, match=r"20 x 30 px .* above the limit of 100 px"):
        open_slide(tmp_path / "a.png")


def patched_png(path: Path, side: int) -> Path:
    """A PNG that claims to be ``side`` px high and wide."""
    data = bytearray(imagecodecs.png_encode(np.zeros((4, 4, 3), np.uint8)))
    header = data.index(b"IHDR")
    data[header + 4 : header + 12] = side.to_bytes(4, "big") * 2
    checksum = imagecodecs.zlib_crc32(bytes(data[header : header + 17]))
    data[header + 17 : header + 21] = int(checksum).to_bytes(4, "big")
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("side", "reason"), [(8_000, "10000:1"), (10_000, "above the limit"), (60_000, "60000|exceeds")]
)
def test_a_declared_size_beyond_the_file_is_refused(side: int, reason: str, tmp_path: Path) -> None:
    with pytest.raises(SlideError, match=reason):
        open_slide(patched_png(tmp_path / "a.png", side))


def test_a_truncated_picture_is_refused(tmp_path: Path, make_pixels: Any) -> None:
    Image.fromarray(make_pixels(90, 90, 3)).save(tmp_path / "a.png")
    (tmp_path / "a.png").write_bytes((tmp_path / "a.png").read_bytes()[:5000])
    with pytest.raises(SlideError, match="cannot be read as a picture"):
        open_slide(tmp_path / "a.png")
