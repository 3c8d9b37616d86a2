"""A heat map has the colours of its class, the proportions of the slide, and a scale."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
import pytest
import tifffile
from PIL import Image

from gigafcn.export import export_map
from tests.export.maps import one_hot, write_scores

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

TOP, LEFT = 84, 36
"""Where the map begins in the picture."""


def halves(tmp_path: Path, **spec: Any) -> Path:
    """128 x 256 px: nuclei for certain on the left, on the right not at all."""
    scores = np.zeros((3, 128, 256), np.uint8)
    scores[2, :, :128] = scores[0, :, 128:] = 255
    return write_scores(tmp_path / "map.zarr", scores, **spec)


def drawn(path: Path, to: str = "png", **options: Any) -> NDArray[np.uint8]:
    exported = export_map(path, to, overwrite=True, classes=("nuclei",), max_px=256, **options)
    with Image.open(exported.path) as picture:
        assert picture.size == (exported.figures["width"], exported.figures["height"])
        return np.asarray(picture.convert("RGB"))


def rgb(colormap: str, value: float) -> list[int]:
    return [round(255 * part) for part in mpl.colormaps[colormap](value)[:3]]


@pytest.mark.parametrize("colormap", ["viridis", "magma"])
def test_the_colours_are_those_of_the_colour_map(tmp_path: Path, colormap: str) -> None:
    picture = drawn(halves(tmp_path, mpp=None), colormap=colormap)
    assert picture[TOP + 60, LEFT + 60].tolist() == rgb(colormap, 1.0)
    assert picture[TOP + 60, LEFT + 200].tolist() == rgb(colormap, 0.0)


def test_the_picture_has_the_proportions_of_the_slide(tmp_path: Path) -> None:
    picture = drawn(halves(tmp_path, mpp=None, stride=(Fraction(4), Fraction(2))))
    assert picture[TOP + 250, LEFT + 60].tolist() == rgb("viridis", 1.0)


def test_what_was_not_computed_is_pale(tmp_path: Path) -> None:
    status = np.array([[1, 1, 1, 2], [1, 1, 1, 3]], np.uint8)
    picture = drawn(halves(tmp_path, mpp=None, status=status))
    assert picture[TOP + 20, LEFT + 220].tolist() == [232] * 3


def test_a_scale_bar_is_drawn_when_the_pixel_size_is_known(tmp_path: Path) -> None:
    (tmp_path / "without").mkdir()
    known, unknown = drawn(halves(tmp_path)), drawn(halves(tmp_path / "without", mpp=None))
    differ = np.argwhere((known != unknown).any(axis=2))
    assert len(differ)
    assert (differ >= [TOP + 80, LEFT]).all()  # at the lower left of the map
    assert (differ < [TOP + 128, LEFT + 120]).all()


def test_the_slide_shows_through_where_the_class_is_unlikely(tmp_path: Path) -> None:
    slide = np.full((128, 256, 3), 90, np.uint8)
    slide[:, 200:] = 210
    tifffile.imwrite(tmp_path / "slide.tif", slide, tile=(64, 64), photometric="rgb")
    picture = drawn(halves(tmp_path, mpp=None), slide=str(tmp_path / "slide.tif"))
    darker, lighter = picture[TOP + 60, LEFT + 170], picture[TOP + 60, LEFT + 230]
    assert lighter.astype(int).sum() > darker.astype(int).sum() + 200


def test_of_the_slide_below_only_the_part_under_the_map_is_shown(tmp_path: Path) -> None:
    slide = np.full((300, 900, 3), 20, np.uint8)
    slide[100:228, 500:756] = np.linspace(60, 240, 256).astype(np.uint8)[:, None]
    tifffile.imwrite(tmp_path / "slide.tif", slide, tile=(64, 64), photometric="rgb")
    path = halves(tmp_path, mpp=None, offset=(100.0, 500.0))
    picture = drawn(path, slide=str(tmp_path / "slide.tif"))
    right = picture[TOP + 60, LEFT + 140 : LEFT + 250].astype(int).sum(axis=1)
    assert (np.diff(right) >= 0).all()  # lighter to the right, and nothing of the dark around
    assert right[-1] > right[0] + 150


def test_a_jpeg_is_a_jpeg(tmp_path: Path) -> None:
    exported = export_map(halves(tmp_path), "jpeg", classes=("nuclei",), max_px=200)
    with Image.open(exported.path) as picture:
        assert picture.format == "JPEG"


def test_a_map_of_one_class_needs_no_name(tmp_path: Path) -> None:
    path = write_scores(
        tmp_path / "m.zarr", np.zeros((1, 64, 64), np.uint8), classes=("a",), labels=False
    )
    assert export_map(path, "png").path.name == "m.a.png"


def test_a_class_for_certain_at_the_finest_level_is_drawn_at_any_size(tmp_path: Path) -> None:
    path = write_scores(tmp_path / "m.zarr", one_hot(np.full((700, 700), 2), top=255), mpp=None)
    for most in (64, 300, 900):
        exported = export_map(path, "png", overwrite=True, classes=("nuclei",), max_px=most)
        with Image.open(exported.path) as picture:
            middle = np.asarray(picture.convert("RGB"))[TOP + most // 2, LEFT + most // 2]
        assert middle.tolist() == rgb("viridis", 1.0)
