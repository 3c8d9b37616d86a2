"""A region is the same part of the full map, wherever it lies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import zarr
from PIL import Image
from torch import nn

import gigafcn
from gigafcn.errors import UsageError
from gigafcn.geometry import Box
from gigafcn.slide.array import ArraySlide
from tests.run.small_nets import EXACT, Skip, whole_numbers
from tests.run.whole import mirrored, padded, run_whole, scores_of, small_image

if TYPE_CHECKING:
    from pathlib import Path

    from tests.run.whole import Array

EXACTLY: dict[str, Any] = {"scale": 1.0, "activation": "none", "dtype": "float32"}
SHAPE = (541, 601)
REGIONS = {
    "top left": (0, 0, 100, 130),
    "top right": (0, 471, 90, 601),
    "bottom left": (500, 0, 541, 77),
    "bottom right": (438, 300, 541, 601),
    "a pixel in the middle": (270, 301, 271, 302),
}


@pytest.fixture(scope="module")
def full() -> Array:
    """Scores (c, y, x) of the whole run of the image that the regions are cut from."""
    expected = run_whole(whole_numbers(Skip()), padded(small_image(*SHAPE), 2))
    return expected[:, : SHAPE[0], : SHAPE[1]]


@pytest.mark.parametrize("name", REGIONS)
def test_a_region_equals_the_same_part_of_the_full_map(
    name: str, full: Array, tmp_path: Path
) -> None:
    y0, x0, y1, x1 = REGIONS[name]
    options = EXACTLY | {"region": REGIONS[name], "tile": 256}
    path = tmp_path / "m.zarr"
    result = gigafcn.infer(small_image(*SHAPE), whole_numbers(Skip()), path, **options)
    assert result.shape == (3, y1 - y0, x1 - x0)
    np.testing.assert_array_equal(scores_of(path), full[:, y0:y1, x0:x1])


def test_a_region_of_a_strided_map_is_all_pixels_that_touch_it(tmp_path: Path) -> None:
    net, image = whole_numbers(EXACT["quarter"][0]()), small_image(203, 301)
    path = tmp_path / "m.zarr"
    gigafcn.infer(image, net, path, region=(5, 8, 98, 301), slide_mpp=0.25, **EXACTLY)
    expected = run_whole(net, padded(image, 4))[:, 1:25, 2:76]
    np.testing.assert_array_equal(scores_of(path), expected)
    ome: Any = zarr.open_group(path, mode="r").attrs["ome"]
    transformations = ome["multiscales"][0]["datasets"][0]["coordinateTransformations"]
    # Map px (1, 2) covers image px 4 to 8 and 8 to 12: centres 5.5 and 9.5 px, 0.25 um each.
    assert transformations[0]["scale"] == [1.0, 1.0, 1.0]
    assert transformations[1]["translation"] == [0.0, 5.5 * 0.25, 9.5 * 0.25]


def test_a_region_of_an_enlarged_map_has_its_pixels_only(tmp_path: Path) -> None:
    net, image = whole_numbers(EXACT["double"][0]()), small_image(203, 301)
    result = gigafcn.infer(image, net, tmp_path / "m.zarr", region=(5, 8, 98, 300), **EXACTLY)
    expected = run_whole(net, image)[:, 10:196, 16:600]
    np.testing.assert_array_equal(scores_of(result.path), expected)


def test_a_region_of_a_mirrored_map_sees_beyond_itself(tmp_path: Path) -> None:
    net, image = whole_numbers(nn.Conv2d(3, 2, 9)), small_image(230, 201)
    gigafcn.infer(image, net, tmp_path / "m.zarr", region=(200, 0, 230, 60), **EXACTLY)
    expected = run_whole(net, mirrored(image, 4))[:, 200:230, :60]
    np.testing.assert_array_equal(scores_of(tmp_path / "m.zarr"), expected)


@pytest.mark.parametrize(
    "region", [(0, 0, 10, 602), (-1, 0, 5, 5), (5, 5, 5, 9), (530, 0, 542, 9), (9, 9, 3, 12)]
)
def test_a_region_that_leaves_the_image_is_refused(
    region: tuple[int, int, int, int], tmp_path: Path
) -> None:
    match = rf"region \({', '.join(map(str, region))}\).* not inside the image of 541 x 601 px"
    with pytest.raises(UsageError, match=match):
        gigafcn.infer(
            small_image(*SHAPE), whole_numbers(Skip()), tmp_path / "m.zarr", region=region
        )


def test_the_picture_of_a_region_shows_the_region_alone(tmp_path: Path) -> None:
    image = np.full((600, 900, 3), 255, np.uint8)
    image[200:400, 300:600] = (255, 0, 0)
    result = gigafcn.infer(
        image, whole_numbers(nn.Conv2d(3, 2, 1)), tmp_path / "m.zarr", region=(200, 300, 400, 600)
    )
    with Image.open(result.summary["picture"]) as picture:
        pixels = np.asarray(picture.convert("RGB"))
    # Two panels of the region's shape fit into a width of 1500 px; the left one is the slide.
    red = (pixels == (255, 0, 0)).all(axis=2).sum()
    assert red > 600 * 400


def test_for_the_picture_of_a_region_no_other_pixels_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Box] = []
    plain = ArraySlide.read

    def noting(slide: ArraySlide, box: Box, level: int = 0) -> Array:
        read.append(box)
        return plain(slide, box, level)

    monkeypatch.setattr(ArraySlide, "read", noting)
    region = Box(270, 301, 300, 401)
    net = whole_numbers(nn.Conv2d(3, 2, 1))
    gigafcn.infer(small_image(*SHAPE), net, tmp_path / "m.zarr", region=region, verify=False)
    # A net of 1 x 1 px needs no pixel around the region either.
    assert read
    assert all(region.contains(box) for box in read)
