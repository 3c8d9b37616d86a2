"""Coarser levels against a slow computation that shares no code with them."""

from __future__ import annotations

import re
from collections import Counter
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from gigafcn.errors import RunError
from gigafcn.output import (
    ChunkStatus,
    build_pyramid_shard,
    create_map,
    map_levels,
    open_map,
    pyramid_tasks,
)
from gigafcn.output.pyramid import halve_float, halve_labels, halve_uint8
from tests.output.maps import a_spec, some_values, write_level_0, write_map

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

SMALL = st.tuples(st.integers(1, 7), st.integers(1, 7))


def blocks(image: NDArray[Any]) -> Iterator[tuple[int, int, list[Any]]]:
    """Existing pixels of each 2 x 2 block in reading order."""
    for y in range(0, image.shape[0], 2):
        for x in range(0, image.shape[1], 2):
            yield y // 2, x // 2, list(image[y : y + 2, x : x + 2].ravel())


def by_blocks(image: NDArray[Any], merge: Callable[[list[Any]], Any]) -> NDArray[Any]:
    """Halve an image with one Python call per block."""
    half = np.zeros(((image.shape[0] + 1) // 2, (image.shape[1] + 1) // 2), image.dtype)
    for y, x, pixels in blocks(image):
        half[y, x] = merge(pixels)
    return half


def rounded_mean(pixels: list[Any]) -> int:
    """Mean, exactly; Python rounds fractions half to even."""
    return round(Fraction(sum(int(p) for p in pixels), len(pixels)))


def mean_of_known(pixels: list[Any]) -> float:
    """Mean of those that are not NaN, exactly, rounded once to double."""
    known = [Fraction(float(p)) for p in pixels if p == p]
    return float(sum(known, Fraction(0)) / len(known)) if known else np.nan


def first_mode(pixels: list[Any]) -> int:
    """Most frequent; Counter keeps the order of first appearance on ties."""
    return int(Counter(pixels).most_common(1)[0][0])


@given(arrays(np.uint8, SMALL, elements=st.integers(0, 255) | st.integers(0, 3)))
def test_uint8_is_the_mean_rounded_half_to_even(image: NDArray[np.uint8]) -> None:
    np.testing.assert_array_equal(halve_uint8(image), by_blocks(image, rounded_mean))


@given(arrays(np.float32, SMALL, elements=st.floats(0, 1, width=16) | st.just(float("nan"))))
def test_floats_are_the_mean_of_the_computed_pixels(image: NDArray[np.float32]) -> None:
    np.testing.assert_array_equal(halve_float(image), by_blocks(image, mean_of_known))


@given(arrays(np.uint8, SMALL, elements=st.integers(0, 3)))
def test_labels_are_the_mode_and_the_first_of_tied_ones(image: NDArray[np.uint8]) -> None:
    np.testing.assert_array_equal(halve_labels(image), by_blocks(image, first_mode))


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize("shape", [(1030, 301), (257, 1025), (517, 3)])
def test_a_pyramid_built_by_shards_equals_levels_halved_whole(
    shape: tuple[int, int], dtype: str, tmp_path: Path
) -> None:
    spec = a_spec(shape, dtype=dtype)
    write_map(tmp_path / "m.zarr", spec)
    stored = open_map(tmp_path / "m.zarr")
    scores, labels = some_values(spec)
    assert labels is not None
    halve = halve_uint8 if dtype == "uint8" else halve_float
    for k in range(1, len(stored.levels)):
        scores = np.stack([halve(plane) for plane in scores])
        labels = halve_labels(labels)
        np.testing.assert_array_equal(stored.scores[k][...], scores)
        np.testing.assert_array_equal(stored.labels[k][...], labels)


def test_float_pixels_that_were_not_computed_do_not_dilute_the_mean(tmp_path: Path) -> None:
    spec = a_spec((600, 100), dtype="float32", chunk=25, shard=50, labels=False)
    status = np.full(spec.status_shape, ChunkStatus.COMPUTED, np.uint8)
    status[1, :] = ChunkStatus.FAILED  # rows 25 to 49: block row 12 holds one computed row
    ones = np.ones((3, *spec.shape), np.float32)
    write_map(tmp_path / "m.zarr", spec, (ones, None), status)
    level_1 = np.asarray(open_map(tmp_path / "m.zarr").scores[1][...])
    assert (level_1[:, 12] == 1).all()
    assert np.isnan(level_1[:, 13:25]).all()


def test_a_shard_over_background_alone_stores_no_object(tmp_path: Path) -> None:
    spec = a_spec((1200, 100))
    status = np.full(spec.status_shape, ChunkStatus.COMPUTED, np.uint8)
    status[4:8] = ChunkStatus.BACKGROUND
    write_map(tmp_path / "m.zarr", spec, status=status)
    assert map_levels(spec)[1].grid == (3, 1)
    assert not (tmp_path / "m.zarr/1/c/0/1/0").exists()
    assert not (tmp_path / "m.zarr/labels/classes/1/c/1/0").exists()
    assert (tmp_path / "m.zarr/1/c/0/0/0").exists()


def test_building_a_shard_again_gives_the_same_bytes(tmp_path: Path) -> None:
    spec = a_spec()
    create_map(tmp_path / "m.zarr", spec)
    write_level_0(tmp_path / "m.zarr", spec, some_values(spec))
    found = []
    for _ in range(2):
        for level, index in pyramid_tasks(spec):
            build_pyramid_shard(tmp_path / "m.zarr", spec, level, index)
        found.append((tmp_path / "m.zarr/1/c/0/1/0").read_bytes())
    assert found[0] == found[1]


def test_a_shard_that_was_damaged_since_is_named_and_not_built_upon(tmp_path: Path) -> None:
    spec = a_spec()
    create_map(tmp_path / "m.zarr", spec)
    write_level_0(tmp_path / "m.zarr", spec, some_values(spec))
    path = tmp_path / "m.zarr/0/c/0/0/0"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(RunError, match=f"{re.escape(str(path))} is damaged"):
        build_pyramid_shard(tmp_path / "m.zarr", spec, 1, (0, 0))
    assert not (tmp_path / "m.zarr/1/c/0/0/0").exists()
