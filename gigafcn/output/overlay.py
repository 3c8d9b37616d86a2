"""Which colours a map lays over the slide.

Classes that exclude each other are painted in their own colours, the more opaque the surer the
model is of the pixel's class; a class called "background" is left unpainted.  Other maps become
one heat map per channel.  Pixels that were not computed stay transparent, failed ones are dark.

All paint is (y, x, 4) float32, red, green, blue and alpha from 0 to 1, colours multiplied by
alpha, so that it can be resized without fringes.  It is made from one pyramid level, read class
by class.  It leaves out layout: :mod:`gigafcn.output.picture` does that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from gigafcn.output.palette import is_background, rgb
from gigafcn.output.reading import plane_of
from gigafcn.output.store import ChunkStatus

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.colors import Colormap
    from numpy.typing import NDArray

    from gigafcn.output.opening import StoredMap

FAINTEST, STRONGEST = 0.12, 0.64
"""Opacity of a class colour at the least and at full confidence."""

_HEAT_FAINTEST, _HEAT_STRONGEST = 0.18, 0.85  # the slide shows through where the map is low
_FAILED_PAINT = (0.08, 0.08, 0.08, 0.8)  # multiplied by alpha


def sufficient_level(stored: StoredMap, wanted_px: tuple[int, int]) -> int:
    """Coarsest level that has at least ``wanted_px`` (y, x) pixels, or the finest."""
    fitting = (
        k
        for k, level in enumerate(stored.levels)
        if level.shape[0] >= wanted_px[0] and level.shape[1] >= wanted_px[1]
    )
    return max(fitting, default=0)


def probabilities(stored: StoredMap, level: int, channel: int) -> NDArray[np.float32]:
    """Scores (y, x) of one channel as floats, uint8 divided by 255; NaN where not computed."""
    values = np.asarray(stored.scores[level][plane_of(stored, channel)], np.float32)
    if stored.spec.dtype == "uint8":
        values /= np.float32(255)
    return np.where(stored.computed(level), values, np.float32(np.nan))


def class_shares(stored: StoredMap, level: int) -> tuple[float, ...]:
    """Share of each class among the computed pixels of a level, 0 to 1."""
    known = np.asarray(stored.labels[level][...])[stored.computed(level)]
    counts = np.bincount(known, minlength=len(stored.spec.classes))
    return tuple(float(n) for n in counts / max(1, known.size))


def class_paint(stored: StoredMap, level: int, show: Sequence[str]) -> NDArray[np.float32]:
    """Paint (y, x, 4) of a level in the colours of the classes in ``show``."""
    labels = np.asarray(stored.labels[level][...])
    computed = stored.computed(level)
    paint = np.zeros((*labels.shape, 4), np.float32)
    classes = zip(stored.spec.classes, stored.spec.colours, strict=True)
    for channel, (name, colour) in enumerate(classes):
        if is_background(name) or name not in show:
            continue
        where = computed & (labels == channel)
        if where.any():
            alpha = _confidence(stored, level, channel)[where]
            paint[where] = shaded(colour, opacity(alpha, len(stored.spec.classes)))
    return _with_failures(stored, level, paint)


def _confidence(stored: StoredMap, level: int, channel: int) -> NDArray[np.float32]:
    """Probability (y, x) of a class; 1 where the map says only which class it is."""
    if channel in stored.spec.stored:
        return probabilities(stored, level, channel)
    return np.ones(stored.levels[level].shape, np.float32)


def opacity(confidence: NDArray[np.float32], classes: int) -> NDArray[np.float32]:
    """Opacity of a pixel whose likeliest of ``classes`` has this probability."""
    least = 1 / classes
    sure = np.clip((np.nan_to_num(confidence) - least) / (1 - least), 0, 1)
    return np.asarray(FAINTEST + (STRONGEST - FAINTEST) * sure, np.float32)


def shaded(colour: str, alpha: NDArray[np.float32]) -> NDArray[np.float32]:
    """Paint (..., 4) of one ``RRGGBB`` with the given opacities."""
    opaque = np.array([*rgb(colour), 255], np.float32) / np.float32(255)
    return np.asarray(alpha[..., None] * opaque, np.float32)


def heat_limits(stored: StoredMap, level: int, channels: Sequence[int]) -> tuple[float, float]:
    """Range of the heat maps' colour bar: 0 to 1, or that of the values when they exceed it."""
    lowest, highest = 0.0, 1.0
    values = [probabilities(stored, level, channel) for channel in channels]
    finite = np.concatenate([v[np.isfinite(v)] for v in values])
    if finite.size and (finite.min() < 0 or finite.max() > 1):
        lowest, highest = float(finite.min()), float(finite.max())
    return lowest, highest if highest > lowest else lowest + 1


def heat_paint(
    stored: StoredMap, level: int, channel: int, *, colours: Colormap, limits: tuple[float, float]
) -> NDArray[np.float32]:
    """Paint (y, x, 4) of one channel as a heat map."""
    values = probabilities(stored, level, channel)
    paint = heat_colours((values - limits[0]) / (limits[1] - limits[0]), colours)
    return _with_failures(stored, level, paint)


def heat_colours(scaled: NDArray[np.float32], colours: Colormap) -> NDArray[np.float32]:
    """Paint (..., 4) of values scaled to 0..1; NaN is transparent."""
    height = np.clip(np.nan_to_num(scaled), 0, 1)
    paint = np.asarray(colours(height), np.float32)
    alpha = _HEAT_FAINTEST + (_HEAT_STRONGEST - _HEAT_FAINTEST) * height
    paint[..., 3] = np.where(np.isnan(scaled), 0, alpha)
    paint[..., :3] *= paint[..., 3:]
    return paint


def has_failures(stored: StoredMap) -> bool:
    """Whether any chunk failed."""
    return bool((stored.status == ChunkStatus.FAILED).any())


def _with_failures(
    stored: StoredMap, level: int, paint: NDArray[np.float32]
) -> NDArray[np.float32]:
    paint[stored.with_status(level, ChunkStatus.FAILED)] = _FAILED_PAINT
    return paint


def laid_over(base: NDArray[np.uint8], paint: NDArray[Any]) -> NDArray[np.uint8]:
    """Return ``base`` (y, x, 3) with ``paint`` (y, x, 4) of the same size laid over it."""
    return _as_uint8(base * (1 - paint[..., 3:]) + 255 * paint[..., :3])


def greyed(image: NDArray[np.uint8], amount: float) -> NDArray[np.uint8]:
    """Return the image (y, x, 3) with ``amount`` (0 to 1) of its colour taken away."""
    luminance = image @ np.array([0.299, 0.587, 0.114])
    return _as_uint8((1 - amount) * image + amount * luminance[..., None])


def _as_uint8(image: NDArray[Any]) -> NDArray[np.uint8]:
    return np.asarray(np.clip(np.rint(image), 0, 255), np.uint8)
