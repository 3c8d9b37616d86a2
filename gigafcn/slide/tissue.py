"""Where on a picture of a stained slide is tissue?

Glass has no colour, stain has: saturation is cut by Otsu's threshold, which is kept between limits,
since on glass alone it would divide noise and on tissue alone divide strong stain from weak.
Small specks are dropped, small holes filled, and a margin is added.  Fat, unstained or
fluorescent tissue has no saturation and is missed; give a mask or polygons for those.
"""

from __future__ import annotations

from functools import reduce
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    from numpy.typing import NDArray

LEAST, MOST = 0.05, 0.2
"""Limits of the threshold: paler is glass, more colourful is tissue, whatever the rest is like."""

DARKEST = 40
"""Brightness below which colours are noise; black gaps have none."""

MARGIN_PX = 3
"""Added around tissue, in px of the picture."""

SPECK_PART, HOLE_PART = 2e-5, 2e-3
"""Islands below the first part of the picture are dropped, holes below the second filled."""


def tissue_mask(picture: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Whether each px of a picture (y, x, 3) shows tissue, or lies close to some.

    Examples
    --------
    >>> picture = np.full((200, 200, 3), 240, np.uint8)
    >>> picture[50:100, 60:160] = (200, 120, 170)
    >>> rows, columns = np.nonzero(tissue_mask(picture))
    >>> int(rows.min()), int(rows.max()), int(columns.min()), int(columns.max())
    (47, 102, 57, 162)
    """
    saturation = ndimage.median_filter(_saturation(picture), size=3)
    threshold = min(max(otsu(saturation), LEAST), MOST)
    mask = saturation > threshold
    mask = _without_small(mask, SPECK_PART * mask.size)
    mask = ~_without_small(~mask, HOLE_PART * mask.size)
    if not mask.any():
        return mask
    grown: NDArray[np.bool_] = ndimage.distance_transform_cdt(~mask) <= MARGIN_PX
    return grown


def _saturation(picture: NDArray[np.uint8]) -> NDArray[np.float32]:
    # Plane by plane: numpy takes ten times as long along an axis of three.
    planes = [picture[:, :, channel].astype(np.float32) for channel in range(3)]
    brightest: NDArray[np.float32] = reduce(np.maximum, planes)
    spread = brightest - reduce(np.minimum, planes)
    floor: NDArray[np.float32] = np.maximum(brightest, DARKEST, dtype=np.float32)
    return spread / floor


def otsu(values: NDArray[np.float32]) -> float:
    """Threshold between 0 and 1 that leaves the least variance on its two sides.

    Examples
    --------
    >>> values = np.array([0.1, 0.1, 0.12, 0.8, 0.9], np.float32)
    >>> 0.12 < otsu(values) < 0.8
    True
    """
    counts, edges = np.histogram(values, bins=256, range=(0, 1))
    middles = (edges[1:] + edges[:-1]) / 2
    below, above = np.cumsum(counts), np.cumsum(counts[::-1])[::-1]
    sums, total = np.cumsum(counts * middles), float((counts * middles).sum())
    both = (below[:-1] > 0) & (above[1:] > 0)
    if not both.any():
        return float(middles[counts.argmax()])
    low = sums[:-1] / np.maximum(below[:-1], 1)
    high = (total - sums[:-1]) / np.maximum(above[1:], 1)
    between = np.where(both, below[:-1] * above[1:] * (high - low) ** 2, 0.0)
    # Between two heaps every threshold is as good; the middle one is the safest.
    best = np.flatnonzero(between >= between.max() * (1 - 1e-9))
    return float(edges[1:][best].mean())


def _without_small(mask: NDArray[np.bool_], least_px: float) -> NDArray[np.bool_]:
    """The mask without connected areas of fewer px."""
    labels, count = ndimage.label(mask)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    kept = sizes >= least_px
    kept[0] = False
    large: NDArray[np.bool_] = kept[labels]
    return large
