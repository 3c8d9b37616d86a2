"""Which part of a slide do viewers show?

Scanners that place their fields freely (MRXS, some BIF and SCN) leave wide empty margins and say
in ``openslide.bounds-*`` where the scanned area lies.  QuPath and others crop to it, so that
coordinates count from its corner.  Formats without these properties are shown whole.
"""

from __future__ import annotations

from pathlib import Path

import openslide

from gigafcn.errors import SlideError
from gigafcn.geometry import Box
from gigafcn.slide.openslide import detect_vendor
from gigafcn.slide.protocol import cause

_NAMES = (
    openslide.PROPERTY_NAME_BOUNDS_Y,
    openslide.PROPERTY_NAME_BOUNDS_X,
    openslide.PROPERTY_NAME_BOUNDS_HEIGHT,
    openslide.PROPERTY_NAME_BOUNDS_WIDTH,
)


def read_bounds(path: str | Path) -> Box | None:
    """Level-0 px of the scanned area; None when the slide names none.

    Raises
    ------
    SlideError
        When the file does not exist or cannot be opened.
    """
    path = Path(path)
    if not path.exists():
        raise SlideError(f"{path}: no such file")
    if path.is_dir() or detect_vendor(path) is None:
        return None
    try:
        with openslide.OpenSlide(path) as slide:
            found = [slide.properties.get(name) for name in _NAMES]
    except (openslide.OpenSlideError, OSError) as error:
        raise SlideError(f"{path} cannot be opened: {cause(error)}; export it again") from error
    return bounds_from(found)


def bounds_from(found: list[str | None]) -> Box | None:
    """Box of the four properties y, x, height and width; None unless all are whole numbers.

    Examples
    --------
    >>> bounds_from(["20", "10", "300", "400"]), bounds_from(["20", None, "1", "1"])
    (Box(y0=20, x0=10, y1=320, x1=410), None)
    """
    if not all(value is not None and value.isdigit() for value in found):
        return None
    y, x, height, width = (int(value or 0) for value in found)
    return Box(y, x, y + height, x + width)
