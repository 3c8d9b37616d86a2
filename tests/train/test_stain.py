"""Do stains, light and variation act as described?"""

from __future__ import annotations

import numpy as np
import pytest

from gigafcn.train.stain import Look, develop, jpeg, random_look, restain


def test_clear_glass_has_the_looks_white() -> None:
    empty = np.zeros((20, 20), np.float32)
    look = Look(white=(240.0, 230.0, 220.0), noise=0.0)
    picture = develop(empty, empty, look, np.random.default_rng(0), 4)
    assert picture.shape == (12, 12, 3)
    assert (picture == (240, 230, 220)).all()


def test_one_unit_of_stain_takes_its_density_of_light() -> None:
    one = np.ones((9, 9), np.float32)
    look = Look(white=(250.0, 250.0, 250.0), noise=0.0)
    picture = develop(one, 0 * one, look, np.random.default_rng(0), 0)
    expected = 250 * 10.0 ** -np.array(look.haematoxylin)
    assert np.abs(picture[4, 4] - expected).max() <= 0.51  # rounding to integers


def test_looks_vary_with_the_seed_and_repeat() -> None:
    assert random_look(5) == random_look(5)
    assert random_look(5) != random_look(6)


def test_a_white_of_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="white"):
        Look(white=(0.0, 240.0, 240.0))


def test_restaining_changes_colours_but_not_the_order_of_dark_and_bright() -> None:
    picture = np.full((4, 4, 3), 243, np.uint8)
    picture[1] = (225, 130, 170)
    picture[2] = (70, 50, 110)
    changed = restain(picture, Look(), np.random.default_rng(1))
    rows = changed.astype(int).sum(axis=(1, 2))
    assert (changed != picture).any()
    assert rows[0] > rows[1] > rows[2]


def test_jpeg_changes_pixels_a_little() -> None:
    picture = np.random.default_rng(0).integers(100, 120, (32, 32, 3)).astype(np.uint8)
    worn = jpeg(picture, 60)
    difference = np.abs(worn.astype(int) - picture)
    assert worn.shape == picture.shape
    assert 0 < difference.mean() < 12
