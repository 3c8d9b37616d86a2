"""Which colour a class gets when nobody chose one.

Eight fixed colours that stay apart from each other and from the pinks and purples of a stained
slide, then hues a golden angle apart.  A class called "background" is grey.
"""

from __future__ import annotations

import colorsys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

BACKGROUND = "background"
"""Name of the class that is grey, and left unpainted in pictures."""

_GREY = "B8BCC2"
_FIXED = ("0B9E8E", "F2B705", "2F6FDE", "E4572E", "7CB518", "17BECF", "8E44AD", "C2185B")
_GOLDEN_ANGLE = 0.618033988749895


def is_background(name: str) -> bool:
    """Whether a class of this name is the background."""
    return name.strip().lower() == BACKGROUND


def colours_for(classes: Sequence[str]) -> tuple[str, ...]:
    """Return one ``RRGGBB`` per class name.

    Examples
    --------
    >>> colours_for(["background", "tissue", "nuclei"])
    ('B8BCC2', '0B9E8E', 'F2B705')
    """
    colours = []
    painted = 0
    for name in classes:
        if is_background(name):
            colours.append(_GREY)
        else:
            colours.append(_colour(painted))
            painted += 1
    return tuple(colours)


def rgb(colour: str) -> tuple[int, int, int]:
    """Red, green and blue, 0 to 255, of ``RRGGBB``."""
    red, green, blue = bytes.fromhex(colour)
    return red, green, blue


def _colour(index: int) -> str:
    if index < len(_FIXED):
        return _FIXED[index]
    parts = colorsys.hsv_to_rgb(index * _GOLDEN_ANGLE % 1, 0.65, 0.85)
    return "".join(f"{round(255 * part):02X}" for part in parts)
