"""A map equals the module run once on the whole padded image: bit for bit in whole numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import gigafcn
from tests.run.small_nets import EXACT, Skip, whole_numbers
from tests.run.whole import labels_of, padded, run_whole, scores_of, small_image

if TYPE_CHECKING:
    from pathlib import Path

CASES = {
    "skip": ((541, 601), 9),
    "thirds": ((787, 801), 4),
    "quarter": ((1051, 1063), 4),
    "double": ((283, 301), 9),
}
"""Image (y, x) and how many tiles it takes; a tile is whole periods and chunks, the last less."""

EXACTLY: dict[str, Any] = {"scale": 1.0, "activation": "none", "dtype": "float32"}


@pytest.mark.parametrize("name", EXACT)
def test_a_map_of_several_tiles_equals_the_whole_run(name: str, tmp_path: Path) -> None:
    make, period = EXACT[name]
    net = whole_numbers(make())
    shape, tiles = CASES[name]
    image = small_image(*shape)
    result = gigafcn.infer(image, net, tmp_path / "m.zarr", tile=256, strip=37, **EXACTLY)
    expected = run_whole(net, padded(image, period))
    height, width = result.shape[1:]
    assert result.certificate["tiles"] == tiles
    np.testing.assert_array_equal(scores_of(result.path), expected[:, :height, :width])


def test_a_map_has_one_pixel_per_stride_rounded_up(tmp_path: Path) -> None:
    net = whole_numbers(EXACT["quarter"][0]())
    image = small_image(41, 83)
    result = gigafcn.infer(image, net, tmp_path / "m.zarr", **EXACTLY)
    assert result.shape == (3, 11, 21)
    np.testing.assert_array_equal(scores_of(result.path), run_whole(net, padded(image, 4)))


def test_labels_are_a_class_of_the_highest_score(tmp_path: Path) -> None:
    # Whole numbers tie often; a tie may go to any of its classes, but not to another.
    net = whole_numbers(Skip())
    result = gigafcn.infer(small_image(90, 70), net, tmp_path / "m.zarr", **EXACTLY)
    scores, labels = scores_of(result.path), labels_of(result.path)
    chosen = np.take_along_axis(scores, labels[None].astype(np.int64), 0)[0]
    np.testing.assert_array_equal(chosen, scores.max(0))


@pytest.mark.parametrize(("tile", "strip"), [((256, 512), 1), (4096, 300)])
def test_any_tile_and_strip_give_the_same_map(tile: Any, strip: int | None, tmp_path: Path) -> None:
    net = whole_numbers(Skip(factor=3))
    image = small_image(301, 557)
    path = tmp_path / "m.zarr"
    gigafcn.infer(image, net, path, tile=tile, strip=strip, **EXACTLY)
    expected = run_whole(net, padded(image, 3))[:, :301, :557]
    np.testing.assert_array_equal(scores_of(path), expected)
    np.testing.assert_array_equal(labels_of(path), expected.argmax(0))


@pytest.mark.parametrize("shape", [(1, 1), (3, 50)])
def test_an_image_smaller_than_the_halo_is_mapped(shape: tuple[int, int], tmp_path: Path) -> None:
    net = whole_numbers(Skip(factor=3))
    image = small_image(*shape)
    result = gigafcn.infer(image, net, tmp_path / "m.zarr", **EXACTLY)
    height, width = shape
    expected = run_whole(net, padded(image, 3))[:, :height, :width]
    np.testing.assert_array_equal(scores_of(result.path), expected)
