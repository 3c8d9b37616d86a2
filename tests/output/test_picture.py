"""The picture for a first look."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from gigafcn.errors import SlideError, UsageError
from gigafcn.geometry import Box
from gigafcn.output import ChunkStatus, create_map, open_map
from gigafcn.output.legend import printable
from gigafcn.output.overlay import (
    class_paint,
    class_shares,
    heat_limits,
    opacity,
    probabilities,
    sufficient_level,
)
from gigafcn.output.picture import Thumbnail, write_picture
from tests.output.maps import CLASSES, a_spec, some_values, write_map

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


def a_thumbnail(box: Box, mpp: tuple[float, float] | None = (0.5, 0.5)) -> Thumbnail:
    """A white slide, a tenth of its size."""
    shape = (max(1, box.shape[0] // 10), max(1, box.shape[1] // 10), 3)
    return Thumbnail(np.full(shape, 255, np.uint8), box, mpp)


def drawn(path: Path, box: Box, map_box: Box | None = None, **options: Any) -> NDArray[np.uint8]:
    """Pixels of the picture of the map at ``path``."""
    png = path.with_suffix(".png")
    mapped = box if map_box is None else map_box
    thumbnail = options.pop("thumbnail", a_thumbnail(box))
    write_picture(png, path, thumbnail, map_box=mapped, title="a slide", **options)
    with Image.open(png) as image:
        return np.asarray(image.convert("RGB"))


@pytest.mark.parametrize("shape", [(400, 600), (600, 60), (50, 600), (1, 1)])
def test_a_picture_is_1500_px_wide_whatever_the_shape_of_the_slide(
    shape: tuple[int, int], tmp_path: Path
) -> None:
    write_map(tmp_path / "m.zarr", a_spec(shape))
    height, width, _ = drawn(tmp_path / "m.zarr", Box.whole(shape)).shape
    assert width == 1500
    assert 250 < height < 1300


def test_the_map_is_painted_in_the_colour_of_its_class(tmp_path: Path) -> None:
    spec = a_spec((400, 600))
    scores = np.zeros((3, *spec.shape), np.uint8)
    scores[2] = 255
    write_map(tmp_path / "m.zarr", spec, (scores, scores.argmax(0).astype(np.uint8)))
    pixels = drawn(tmp_path / "m.zarr", Box.whole(spec.shape))
    amber_over_white = np.array([0xF2, 0xB7, 0x05]) * 0.64 + 255 * 0.36
    middle_of_the_right_panel = pixels[300, 1100]
    assert np.abs(middle_of_the_right_panel - amber_over_white).max() <= 1  # rounding
    assert (pixels[300, 400] == 255).all()  # the slide itself is white


def test_background_is_not_painted(tmp_path: Path) -> None:
    spec = a_spec()
    scores = np.zeros((3, *spec.shape), np.uint8)
    write_map(tmp_path / "m.zarr", spec, (scores, scores[0]))
    assert not class_paint(open_map(tmp_path / "m.zarr"), 1, CLASSES).any()


def test_failed_chunks_are_dark(tmp_path: Path) -> None:
    spec = a_spec((400, 600))
    status = np.full(spec.status_shape, ChunkStatus.FAILED, np.uint8)
    write_map(tmp_path / "m.zarr", spec, status=status)
    assert drawn(tmp_path / "m.zarr", Box.whole(spec.shape))[300, 1100].max() < 80


@pytest.mark.parametrize("count", [1, 2, 5])
def test_channels_that_do_not_exclude_each_other_become_heat_maps(
    count: int, tmp_path: Path
) -> None:
    classes = tuple("abcde"[:count])
    spec = a_spec(shape=(400, 100), classes=classes, labels=False, dtype="float32")
    write_map(tmp_path / "m.zarr", spec)
    pixels = drawn(tmp_path / "m.zarr", Box.whole(spec.shape), caption="a model")
    assert pixels.std() > 10


def test_a_region_is_enlarged_and_outlined(tmp_path: Path) -> None:
    write_map(tmp_path / "m.zarr", a_spec((200, 300)))
    slide, region = Box.whole((4000, 5000)), Box(1000, 2000, 1200, 2300)
    pixels = drawn(tmp_path / "m.zarr", slide, region)
    ink = np.array([0x1D, 0x24, 0x33])
    assert (np.abs(pixels[122:600, 36:740].astype(int) - ink).max(-1) < 25).any()
    # The right panel shows the map alone.
    assert (pixels[200:500, 800:1400] != 255).any(-1).mean() > 0.5


def test_a_map_that_reaches_beyond_the_slide_is_cut(tmp_path: Path) -> None:
    write_map(tmp_path / "m.zarr", a_spec((11, 11)))
    drawn(tmp_path / "m.zarr", Box.whole((1000, 1000)), Box.whole((1056, 1056)))
    assert (tmp_path / "m.png").is_file()


def test_a_scale_bar_is_drawn_only_when_mpp_is_known(tmp_path: Path) -> None:
    write_map(tmp_path / "m.zarr", a_spec((400, 600)))
    box = Box.whole((400, 600))
    with_bar = drawn(tmp_path / "m.zarr", box)[130:560, 40:700]
    without = drawn(tmp_path / "m.zarr", box, thumbnail=a_thumbnail(box, None))[130:560, 40:700]
    assert with_bar.min() < 80
    assert without.min() == 255


def test_many_classes_fit_the_legend(tmp_path: Path) -> None:
    classes = tuple(f"class number {i}" for i in range(40))
    write_map(tmp_path / "m.zarr", a_spec((100, 100), classes=classes))
    assert drawn(tmp_path / "m.zarr", Box.whole((100, 100))).shape[1] == 1500


def test_an_unknown_class_is_refused(tmp_path: Path) -> None:
    write_map(tmp_path / "m.zarr", a_spec((10, 10)))
    with pytest.raises(UsageError, match="no class 'tumor'; its classes are background, tissue"):
        drawn(tmp_path / "m.zarr", Box.whole((10, 10)), show=["tumor"])


def test_an_unfinished_map_has_no_picture(tmp_path: Path) -> None:
    create_map(tmp_path / "m.zarr", a_spec((10, 10)))
    with pytest.raises(SlideError, match="did not finish"):
        drawn(tmp_path / "m.zarr", Box.whole((10, 10)))
    assert not (tmp_path / "m.png").exists()


def test_the_same_map_gives_the_same_picture(tmp_path: Path) -> None:
    write_map(tmp_path / "m.zarr", a_spec((100, 100)))
    box = Box.whole((100, 100))
    drawn(tmp_path / "m.zarr", box)
    first = (tmp_path / "m.png").read_bytes()
    drawn(tmp_path / "m.zarr", box)
    assert (tmp_path / "m.png").read_bytes() == first


def test_the_coarsest_sufficient_level_is_read(tmp_path: Path) -> None:
    write_map(tmp_path / "m.zarr", a_spec((1100, 100), labels=False))
    stored = open_map(tmp_path / "m.zarr")
    wanted = [(200, 20), (275, 25), (276, 25), (600, 60), (5000, 20)]
    assert [sufficient_level(stored, px) for px in wanted] == [2, 2, 1, 0, 0]


def test_probabilities_are_values_by_255_and_unknown_where_not_computed(tmp_path: Path) -> None:
    spec = a_spec((64, 128), chunk=64)
    status = np.array([[ChunkStatus.COMPUTED, ChunkStatus.BACKGROUND]], np.uint8)
    write_map(tmp_path / "m.zarr", spec, status=status)
    found = probabilities(open_map(tmp_path / "m.zarr"), 0, 1)
    scores, _ = some_values(spec)
    np.testing.assert_array_equal(found[:, :64], scores[1, :, :64].astype(np.float32) / 255)
    assert np.isnan(found[:, 64:]).all()


def test_shares_of_classes_count_computed_pixels_alone(tmp_path: Path) -> None:
    spec = a_spec((64, 128), chunk=64)
    labels = np.zeros(spec.shape, np.uint8)
    labels[:16] = 2
    status = np.array([[ChunkStatus.COMPUTED, ChunkStatus.FAILED]], np.uint8)
    write_map(tmp_path / "m.zarr", spec, (np.zeros((3, 64, 128), np.uint8), labels), status)
    assert class_shares(open_map(tmp_path / "m.zarr"), 0) == (0.75, 0.0, 0.25)


def test_scores_outside_0_to_1_set_the_range_of_the_colour_bar(tmp_path: Path) -> None:
    spec = a_spec((4, 4), classes=("a",), labels=False, dtype="float32")
    write_map(
        tmp_path / "m.zarr", spec, (np.linspace(-3, 5, 16, dtype="f4").reshape(1, 4, 4), None)
    )
    assert heat_limits(open_map(tmp_path / "m.zarr"), 0, [0]) == (-3, 5)


def test_the_surer_the_more_opaque() -> None:
    alpha = opacity(np.array([0.0, 0.5, 0.75, 1.0], np.float32), 2)
    np.testing.assert_allclose(alpha, [0.12, 0.12, 0.38, 0.64], rtol=1e-6)  # float32


def test_text_that_the_font_lacks_is_replaced() -> None:
    assert printable("slide 漢 µm") == "slide ? µm"
