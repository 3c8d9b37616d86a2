"""Does noise depend on seed and place alone?"""

from __future__ import annotations

import numpy as np

from gigafcn.geometry import Box
from gigafcn.train.noise import box_blur, gaussian_blur, sample, smooth, smooth_at, uniform


def test_cells_have_independent_numbers_per_seed_and_stream() -> None:
    iy, ix = np.mgrid[-40:60, -50:50]
    fields = [uniform(1, "a", iy, ix), uniform(2, "a", iy, ix), uniform(1, "b", iy, ix)]
    # 10,000 independent cells: a correlation has standard deviation 0.01.
    correlation = np.corrcoef([field.ravel() for field in fields])
    assert np.abs(correlation - np.eye(3)).max() < 0.05
    assert abs(float(fields[0].mean()) - 0.5) < 0.02


def test_a_smooth_field_is_the_same_from_every_box() -> None:
    whole = smooth(3, "field", Box(-40, -30, 60, 70), 16)
    part = smooth(3, "field", Box(5, -7, 33, 41), 16)
    assert (whole[45:73, 23:71] == part).all()


def test_points_of_a_smooth_field_have_its_pixels_values() -> None:
    field = smooth(3, "field", Box(0, 0, 20, 30), 7)
    y, x = np.mgrid[0:20, 0:30].astype(np.float32)
    # Both are float32 sums of 16 terms in different order.
    assert np.abs(smooth_at(3, "field", y, x, 7) - field).max() < 1e-5


def test_textures_repeat_beyond_their_border() -> None:
    image = np.arange(16, dtype=np.float32).reshape(4, 4)
    y, x = np.array([5.0, -3.0], np.float32), np.array([2.5, 2.5], np.float32)
    assert sample(image, y, x).tolist() == [6.5, 6.5]


def test_blurs_keep_a_constant_and_spread_a_point_evenly() -> None:
    point = np.zeros((21, 21), np.float32)
    point[10, 10] = 1
    for blurred in (box_blur(point, 2), gaussian_blur(point, 1.5)):
        assert abs(float(blurred.sum()) - 1) < 1e-5  # float32 rounding
        assert np.abs(blurred - blurred[::-1, ::-1]).max() < 1e-6  # float32 rounding
    assert np.abs(box_blur(np.ones((9, 9), np.float32), 3) - 1).max() < 1e-6  # float32 rounding
