"""Random fields whose value at a pixel depends on the seed and the pixel's place alone.

Which random number belongs to a place, whatever box is being drawn?  A 64-bit mix of seed, stream
name and integer cell gives every cell its own number; smooth fields interpolate such cells with
cubic B-splines; textures are small periodic images sampled at any coordinate.  There is no state
and no order, so a region drawn alone equals the same region of a larger drawing.  This module
draws nothing itself.
"""

from __future__ import annotations

import zlib
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from gigafcn.geometry import Box

Field = npt.NDArray[np.float32]
Cells = npt.NDArray[np.int64]

_GOLDEN = 0x9E3779B97F4A7C15
"""Odd constant of splitmix64 that spreads consecutive integers over 64 bits."""

_SPLINE_GAIN = 3.6
"""Brings B-spline interpolated uniform noise in [-1, 1] to a standard deviation of about 1."""


def _mix(state: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Finalise with splitmix64, whose output bits all depend on all input bits."""
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))


def uniform(seed: int, stream: str, iy: npt.ArrayLike, ix: npt.ArrayLike) -> Field:
    """Numbers in [0, 1) of the cells (``iy``, ``ix``), one independent set per stream.

    Parameters
    ----------
    seed, stream
        Together they name the field.
    iy, ix
        Integer cell coordinates, broadcast against each other; may be negative.

    Examples
    --------
    >>> a = uniform(1, "gland", [0, 1, 2], 5)
    >>> bool((a[1:] == uniform(1, "gland", [1, 2], 5)).all())
    True
    """
    start = (seed + zlib.crc32(stream.encode()) * _GOLDEN) & 0xFFFFFFFFFFFFFFFF
    state = _mix(np.array([start], np.uint64))
    for cell in (iy, ix):
        step = np.atleast_1d(np.asarray(cell, np.int64)).astype(np.uint64)
        state = _mix(state + step * np.uint64(_GOLDEN) + np.uint64(1))
    return ((state >> np.uint64(40)).astype(np.float32)) * np.float32(2.0**-24)


def _spline_weights(t: Field) -> tuple[Field, ...]:
    """Cubic B-spline weights of the four cells round a point at fraction ``t`` between them."""
    s = 1 - t
    weights = (
        s * s * s,
        3 * t * t * t - 6 * t * t + 4,
        3 * s * s * s - 6 * s * s + 4,
        t * t * t,
    )
    return tuple(np.asarray(w / 6, np.float32) for w in weights)


def _axis(start: int, stop: int, spacing_px: int) -> tuple[int, Cells, tuple[Field, ...]]:
    """First lattice cell, per-pixel offset from it, and weights, along one axis."""
    at = np.arange(start, stop, dtype=np.int64)
    cell = at // spacing_px
    t = ((at - cell * spacing_px) / spacing_px).astype(np.float32)
    first = int(cell[0]) - 1
    return first, cell - 1 - first, _spline_weights(t)


def smooth(seed: int, stream: str, box: Box, spacing_px: int) -> Field:
    """Smooth noise over ``box``, about mean 0 and standard deviation 1.

    Parameters
    ----------
    seed, stream
        Together they name the field.
    box
        Pixels to fill, in world coordinates.
    spacing_px
        Distance of the lattice points; features are about twice as wide.
    """
    y_first, y_at, y_weights = _axis(box.y0, box.y1, spacing_px)
    x_first, x_at, x_weights = _axis(box.x0, box.x1, spacing_px)
    iy = y_first + np.arange(int(y_at[-1]) + 4)
    ix = x_first + np.arange(int(x_at[-1]) + 4)
    lattice = (uniform(seed, stream, iy[:, None], ix) * 2 - 1) * np.float32(_SPLINE_GAIN)
    columns = sum(w * lattice[:, x_at + k] for k, w in enumerate(x_weights))
    field = np.zeros(box.shape, np.float32)
    for k, w in enumerate(y_weights):
        field += w[:, None] * np.asarray(columns)[y_at + k]
    return field


def smooth_at(seed: int, stream: str, y: Field, x: Field, spacing_px: int) -> Field:
    """The field of :func:`smooth` at single points, in world coordinates (px)."""
    iy = np.floor(y / spacing_px).astype(np.int64)
    ix = np.floor(x / spacing_px).astype(np.int64)
    y_weights = _spline_weights((y / spacing_px - iy).astype(np.float32))
    x_weights = _spline_weights((x / spacing_px - ix).astype(np.float32))
    total = np.zeros(y.shape, np.float32)
    for j, wy in enumerate(y_weights):
        for k, wx in enumerate(x_weights):
            total += wy * wx * (uniform(seed, stream, iy + j - 1, ix + k - 1) * 2 - 1)
    return total * np.float32(_SPLINE_GAIN)


@cache
def texture(size: int, sigma_y_px: float, sigma_x_px: float) -> Field:
    """Return a periodic (size, size) image of blurred Gaussian noise, mean 0 and deviation 1.

    All worlds share it; each samples it at coordinates of its own.
    """
    white = np.random.default_rng(size).standard_normal((size, size))
    fy = np.fft.fftfreq(size)[:, None]
    fx = np.fft.rfftfreq(size)
    blur = np.exp(-2 * np.pi**2 * ((fy * sigma_y_px) ** 2 + (fx * sigma_x_px) ** 2))
    image = np.fft.irfft2(np.fft.rfft2(white) * blur, s=(size, size))
    image -= image.mean()
    result = np.asarray(image / image.std(), np.float32)
    result.setflags(write=False)
    return result


def sample(image: Field, y: Field, x: Field) -> Field:
    """Bilinear values of a periodic ``image`` at (``y``, ``x``) in px, broadcast together."""
    size = image.shape[0]
    y0, x0 = np.floor(y), np.floor(x)
    ty, tx = y - y0, x - x0
    iy, ix = y0.astype(np.int32) % size, x0.astype(np.int32) % size
    jy, jx = (iy + 1) % size, (ix + 1) % size
    flat = image.ravel()
    upper = flat[iy * size + ix] * (1 - tx) + flat[iy * size + jx] * tx
    lower = flat[jy * size + ix] * (1 - tx) + flat[jy * size + jx] * tx
    return np.asarray(upper * (1 - ty) + lower * ty, np.float32)


def box_blur(image: Field, radius_px: int) -> Field:
    """Mean over squares of ``2 * radius_px + 1`` px; the border is repeated outward."""
    side = 2 * radius_px + 1
    for axis in (0, 1):
        fill = [(0, 0), (0, 0)]
        fill[axis] = (radius_px + 1, radius_px)
        total = np.cumsum(np.pad(image, fill, mode="edge"), axis=axis, dtype=np.float64)
        upper, lower = (
            (total[side:], total[:-side]) if axis == 0 else (total[:, side:], total[:, :-side])
        )
        image = np.asarray((upper - lower) / side, np.float32)
    return image


def gaussian_blur(image: Field, sigma_px: float) -> Field:
    """Gaussian mean, cut at three deviations; the border is repeated outward."""
    radius = max(1, round(3 * sigma_px))
    steps = np.arange(-radius, radius + 1)
    weights = np.exp(-0.5 * (steps / max(sigma_px, 1e-3)) ** 2)
    weights = (weights / weights.sum()).astype(np.float32)
    height, width = image.shape
    padded = np.pad(image, radius, mode="edge")
    rows = sum(w * padded[k : k + height] for k, w in enumerate(weights))
    return np.asarray(sum(w * rows[:, k : k + width] for k, w in enumerate(weights)), np.float32)
