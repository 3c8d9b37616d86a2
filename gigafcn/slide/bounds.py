"""Which part of a slide do viewers show?

Scanners that place their fields freely (MRXS, some BIF and SCN) leave wide empty margins and say
in ``openslide.bounds-*`` where the scanned area lies.  QuPath and others crop to it, so that
coordinates count from its corner.  Formats without these properties are shown whole.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from gigafcn.errors import SlideError
from gigafcn.slide.openslide import OpenSlideSlide, detect_vendor

if TYPE_CHECKING:
    from gigafcn.geometry import Box


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
    slide = OpenSlideSlide(path)
    slide.close()
    return slide.traits.bounds
