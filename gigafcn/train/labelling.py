"""How is a real stained picture labelled without anyone drawing on it?

Colour deconvolution (``skimage.color.rgb2hed``) gives the amount of haematoxylin per pixel.  Nuclei
are where it is high in itself and against its surroundings, smoothed, without small specks; tissue
is where light is lost at all.  Such labels are approximate: pigment, ink and keratin fool them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from skimage.color import rgb2hed
from skimage.morphology import remove_small_holes, remove_small_objects

from gigafcn.train.nuclei import NUCLEI, TISSUE

if TYPE_CHECKING:
    from gigafcn.train.stain import Picture

TISSUE_DENSITY = 0.06
"""Mean optical density above which a pixel is tissue."""

NUCLEI_HAEMATOXYLIN = 0.080
"""Least haematoxylin (units of ``rgb2hed``) of a nucleus."""

NUCLEI_CONTRAST = 0.020
"""Least haematoxylin of a nucleus above the mean of the tissue within about 30 px."""

SMALLEST_PX = 30
"""Specks with fewer px than this are no nuclei."""


LARGEST_PX = 1200
"""Blots with more px than this are keratin or pigment, not a nucleus or a clump of nuclei."""


def label_by_stain(picture: Picture) -> npt.NDArray[np.uint8]:
    """Classes (y, x) of an H&E picture (y, x, 3): 0 background, 1 tissue, 2 nuclei."""
    density = -np.log10(np.maximum(picture, 1) / 245.0)
    tissue = ndimage.gaussian_filter(density.mean(axis=-1), 1.0) > TISSUE_DENSITY
    tissue = remove_small_objects(tissue, max_size=4 * SMALLEST_PX)
    tissue = remove_small_holes(tissue, max_size=SMALLEST_PX)
    haematoxylin = ndimage.gaussian_filter(rgb2hed(picture)[..., 0], 1.0)
    weight = ndimage.uniform_filter(tissue.astype(np.float64), 61)
    around = ndimage.uniform_filter(haematoxylin * tissue, 61) / np.maximum(weight, 1e-3)
    nuclei = tissue & (haematoxylin > np.maximum(NUCLEI_HAEMATOXYLIN, around + NUCLEI_CONTRAST))
    # Marking ink takes more red than green light, haematoxylin the reverse.
    nuclei &= ndimage.gaussian_filter(density[..., 1] - density[..., 0], 1.0) > 0
    nuclei = ndimage.binary_opening(nuclei, iterations=1)
    nuclei = remove_small_objects(remove_small_holes(nuclei, max_size=60), max_size=SMALLEST_PX)
    nuclei &= ~remove_small_objects(nuclei, max_size=LARGEST_PX)
    classes = np.where(tissue, np.uint8(TISSUE), np.uint8(0))
    classes[nuclei] = NUCLEI
    return classes
