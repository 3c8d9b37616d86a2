"""Where on the slide does a map pixel lie, counted as QuPath counts?

QuPath's coordinates are level-0 px of the slide, from the corner of what it shows: the scanned
area where the file names one (``openslide.bounds-*``), else the slide's own corner.  Map px j
covers the model's input px [offset + j * stride, offset + (j + 1) * stride), and an input px is
some level-0 px, known from the two pixel sizes or from the two image sizes.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from gigafcn.errors import UsageError
from gigafcn.output.placing import (
    downsample,
    slide_bounds,
    slide_image,
    slide_shape,
    slide_turned,
)
from gigafcn.slide.bounds import read_bounds
from gigafcn.slide.opening import open_slide

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gigafcn.geometry import Box
    from gigafcn.output.opening import StoredMap

log = logging.getLogger(__name__)

_DECIMALS = 3  # of a px, in files


@dataclass(frozen=True, slots=True)
class Frame:
    """How level-0 px of the slide follow from map px."""

    scale: tuple[float, float]
    """Level-0 px (y, x) per map px."""

    origin: tuple[float, float]
    """Level-0 px (y, x) of the corner of map px (0, 0)."""

    def on_slide(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Points (n, 2) of x, y in map px, as level-0 px."""
        scale, origin = np.array(self.scale[::-1]), np.array(self.origin[::-1])
        placed: NDArray[np.float64] = np.round(points * scale + origin, _DECIMALS)
        return placed

    def moved(self, y: float, x: float) -> Frame:
        """The same with another origin of the slide's coordinates."""
        return Frame(self.scale, (self.origin[0] - y, self.origin[1] - x))


def frame_of(stored: StoredMap, slide: str | None = None, *, crop: bool = True) -> Frame:
    """Frame of a map.

    Parameters
    ----------
    stored
        An open map.
    slide
        File of the slide, asked for the area that viewers show.
    crop
        Count from the corner of that area, not of the whole slide.

    Raises
    ------
    UsageError
        When ``slide`` is not the map's.
    """
    spec, down = stored.spec, downsample(stored)
    scale = (float(spec.stride[0]) * down[0], float(spec.stride[1]) * down[1])
    whole = Frame(scale, (spec.offset[0] * down[0], spec.offset[1] * down[1]))
    if not crop:
        return whole
    bounds = _bounds(stored, slide)
    return whole if bounds is None else whole.moved(bounds.y0, bounds.x0)


def _bounds(stored: StoredMap, slide: str | None) -> Box | None:
    known = slide_bounds(stored)
    if slide is not None:
        _check_slide(stored, slide)
        return read_bounds(slide)
    if known is not None:
        return known
    log.info(
        "coordinates count from the slide's top left corner; for a slide that QuPath crops, "
        "such as MRXS, give the file with --slide"
    )
    return None


def _check_slide(stored: StoredMap, path: str) -> None:
    """Refuse a slide of another size than that which was mapped."""
    mapped = slide_shape(stored)
    slide = open_slide(path, image=slide_image(stored), orient=slide_turned(stored))
    shape = slide.levels[0].shape
    slide.close()
    if mapped is not None and mapped != shape:
        raise UsageError(
            f"{path} is not the slide of map {stored.path}: it is {shape[0]} x {shape[1]} px "
            f"(y, x), the mapped one {mapped[0]} x {mapped[1]} px"
        )
