"""Taps of the resampled grid are those of a triangle, worked out by brute force and by torch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from gigafcn.geometry import Span
from gigafcn.plan.image_grid import taps
from tests.run.whole import triangle_weights

SIZES = [(8, 4), (9, 4), (100, 66), (1, 1), (7, 1), (5, 13), (3, 40), (41, 40), (40, 41), (97, 3)]


def dense(stored: int, shape: int) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    """Weights of every stored position (columns) for every resampled one (rows)."""
    found = taps(Span(0, shape), stored, shape)
    matrix = np.zeros((shape, stored), np.float32)
    for row in range(shape):
        first, count = int(found.first[row]), int(found.count[row])
        matrix[row, first : first + count] = found.weights[row, :count]
    return matrix


@pytest.mark.parametrize(("stored", "shape"), SIZES)
def test_weights_are_those_of_a_triangle_cut_at_the_edge(stored: int, shape: int) -> None:
    # Weights are rounded to float32.
    np.testing.assert_allclose(dense(stored, shape), triangle_weights(stored, shape), atol=1e-7)


@pytest.mark.parametrize(("stored", "shape"), [size for size in SIZES if size[0] != size[1]])
def test_weights_are_those_of_torch_on_small_images(stored: int, shape: int) -> None:
    unit = torch.eye(stored)[None, None]
    resized = functional.interpolate(unit, (shape, stored), mode="bilinear", antialias=True)
    # torch's coordinates are float32: below 100 px they are off by less than 1e-5 px.
    np.testing.assert_allclose(dense(stored, shape), resized[0, 0].numpy(), atol=1e-5)


def test_taps_do_not_depend_on_where_a_span_begins() -> None:
    whole = taps(Span(0, 700), 1063, 700)
    part = taps(Span(333, 340), 1063, 700)
    np.testing.assert_array_equal(part.first, whole.first[333:340])
    np.testing.assert_array_equal(part.weights, whole.weights[333:340, : part.weights.shape[1]])


def test_far_out_on_a_large_slide_weights_are_still_right() -> None:
    # In float32 the coordinate would be off by 1e-2 px there.
    found = taps(Span(99_999, 100_000), 200_000, 100_000)
    assert found.first.tolist() == [199_997]
    np.testing.assert_allclose(found.weights, [[1 / 7, 3 / 7, 3 / 7]], rtol=1e-6)


def test_one_to_one_copies() -> None:
    found = taps(Span(5, 8), 20, 20)
    assert found.first.tolist() == [5, 6, 7]
    assert found.weights.tolist() == [[1.0], [1.0], [1.0]]
