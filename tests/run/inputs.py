"""Images as microscopes, scanners and satellites make them, small, with known numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    from numpy.typing import NDArray

SIDE = 320

# Optical density (R, G, B): Ruifrok and Johnston, "Quantification of histochemical staining by
# color deconvolution", Anal. Quant. Cytol. Histol. 23 (2001), table of stains.
HAEMATOXYLIN, EOSIN, DAB = (0.65, 0.70, 0.29), (0.07, 0.99, 0.11), (0.27, 0.57, 0.78)


def _blobs(seed: int, share: float, scale: float) -> NDArray[np.float64]:
    """A smooth field that is above 0 in this share of the image."""
    field = ndimage.gaussian_filter(
        np.random.default_rng(seed).normal(size=(SIDE, SIDE)), scale, mode="wrap"
    )
    above: NDArray[np.float64] = (field - np.quantile(field, 1 - share)) / field.std()
    return np.maximum(above, 0.0, dtype=np.float64)


def stained(*stains: tuple[float, float, float], seed: int = 0) -> NDArray[np.uint8]:
    """Tissue on glass: the first stain in nuclei, the others in areas around them."""
    noise = np.random.default_rng(seed).normal(0, 0.008, (SIDE, SIDE, 3))
    density = noise + np.multiply.outer(_blobs(seed, 0.15, 3), stains[0])
    for number, stain in enumerate(stains[1:], start=1):
        density += 0.6 * np.multiply.outer(_blobs(seed + number, 0.4, 15), stain)
    return np.clip(np.rint(243 * 10**-density), 0, 255).astype(np.uint8)


def haematoxylin_eosin() -> NDArray[np.uint8]:
    return stained(HAEMATOXYLIN, EOSIN)


def immunostained() -> NDArray[np.uint8]:
    return stained(HAEMATOXYLIN, DAB)


def fluorescent(most: int, channels: int = 3, dtype: Any = np.uint16) -> NDArray[Any]:
    """Dark, with bright spots up to about ``most``."""
    planes = [_blobs(seed, 0.1, 4) for seed in range(channels)]
    light = np.stack([plane / plane.max() for plane in planes], axis=-1)
    noise = np.random.default_rng(9).poisson(most * 0.02, light.shape)
    return np.minimum(light * most * 0.9 + noise, most).astype(dtype)


def reflectance(channels: int = 4) -> NDArray[np.uint16]:
    """Surface reflectance times 10 000, as satellites' products hold it."""
    planes = [1500 + 900 * (_blobs(seed, 0.7, 8)) for seed in range(channels)]
    return np.clip(np.stack(planes, axis=-1), 0, 10000).astype(np.uint16)


def aerial() -> NDArray[np.uint8]:
    """Colours of land from above, in 8 bits."""
    return np.clip(reflectance(3) // 18, 0, 255).astype(np.uint8)
