"""Stored pixels become the model's input, and its output scores and labels, as defined."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gigafcn.engine.pixels import likeliest, to_input
from gigafcn.plan.run_plan import Scaling


@pytest.mark.parametrize(("classes", "dtype"), [(5, torch.uint8), (300, torch.uint16)])
def test_the_likeliest_class_is_the_first_of_the_largest_scores(
    classes: int, dtype: torch.dtype
) -> None:
    # Few values, so that ties are common.
    generator = torch.Generator().manual_seed(0)
    scores = torch.randint(0, 3, (1, classes, 40, 30), generator=generator).float()
    expected = scores[0].numpy().argmax(axis=0)
    found = likeliest(scores, dtype)
    assert (found.numpy() == expected).all()
    assert found.dtype == dtype


@pytest.mark.parametrize("stored", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("channels", [1, 3, 5])
def test_the_input_is_stored_times_scale_less_mean_over_deviation(
    stored: str, channels: int
) -> None:
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (7, 9, channels)).astype(stored)
    mean, std = tuple(random.random(channels)), tuple(random.random(channels) + 0.5)
    given = to_input(pixels, Scaling(0.125, mean, std), torch.device("cpu"), torch.float64)
    expected = (pixels * 0.125 - np.array(mean)) / np.array(std)
    assert given.shape == (1, channels, 7, 9)
    np.testing.assert_array_equal(given[0].permute(1, 2, 0).numpy(), expected)


def test_the_slides_own_pixels_are_left_as_they_are() -> None:
    pixels = np.ones((2, 2, 1), np.float32)
    to_input(pixels, Scaling(2.0, (1.0,), (1.0,)), torch.device("cpu"), torch.float32)
    assert (pixels == 1).all()
