"""How a slide is turned that says that its first row is not the top.

TIFF's tag Orientation and EXIF's have eight values: where the stored first row and column lie in
the picture that is meant.  By itself nothing is turned, since a map lies on the stored pixels; a
turned slide is one of its own, whose boxes, levels and place are those of the upright picture.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np

from gigafcn.geometry import Box
from gigafcn.slide.marks import Reading

if TYPE_CHECKING:
    from gigafcn.slide.georeference import GeoReference
    from gigafcn.slide.protocol import Pixels, Slide

log = logging.getLogger(__name__)

_T = TypeVar("_T")

TAG = 274
"""Of TIFF and EXIF."""

AS_STORED = 1


class Turn(NamedTuple):
    """How the upright picture comes of the stored one: first the axes change, then the ends."""

    swap: bool
    """Whether stored columns become rows."""

    down: bool
    """Whether rows are counted from the bottom then."""

    right: bool
    """Whether columns are counted from the right."""

    words: str


TURNS = {
    1: Turn(False, False, False, "as stored"),
    2: Turn(False, False, True, "mirrored left to right"),
    3: Turn(False, True, True, "turned by 180°"),
    4: Turn(False, True, False, "mirrored top to bottom"),
    5: Turn(True, False, False, "mirrored along the diagonal from top left"),
    6: Turn(True, False, True, "turned by 90° clockwise"),
    7: Turn(True, True, True, "mirrored along the diagonal from top right"),
    8: Turn(True, True, False, "turned by 90° counter-clockwise"),
}
"""By value of the tag."""


def orientation_of(value: object) -> int:
    """A value of the tag; what is none counts as not said.

    Examples
    --------
    >>> orientation_of(6), orientation_of(None), orientation_of(0)
    (6, 1, 1)
    """
    return value if isinstance(value, int) and value in TURNS else AS_STORED


def tell_turn(name: str, asked: int, *, turned: bool, remedy: str = "--orient turns it") -> None:
    """Say in a line that a picture asks to be turned, and whether it is; if not, the remedy."""
    if asked == AS_STORED:
        return
    words = f"{TURNS[asked].words} (orientation {asked})"
    if turned:
        log.info("%s is %s, as it says itself", name, words)
    else:
        log.warning(
            "%s says that its picture is to be shown %s; it is taken as stored: %s",
            name, words, remedy,
        )  # fmt: skip


def turned(pixels: Pixels, asked: int) -> Pixels:
    """Stored pixels (y, x, ...) turned as an orientation says."""
    turn = TURNS[asked]
    if turn.swap:
        pixels = pixels.swapaxes(0, 1)
    return np.ascontiguousarray(pixels[:: -1 if turn.down else 1, :: -1 if turn.right else 1])


def upright(slide: Slide) -> Slide:
    """The slide turned as it says itself; the slide itself if it says nothing."""
    asked = slide.traits.orientation
    return slide if asked == AS_STORED or slide.traits.turned else TurnedSlide(slide)


class TurnedSlide:
    """A slide whose pixels are read turned."""

    def __init__(self, stored: Slide) -> None:
        self._stored = stored
        self._turn = turn = TURNS[stored.traits.orientation]
        self.name, self.source = stored.name, stored.source
        self.levels = tuple(
            replace(
                level,
                shape=_swapped(level.shape, turn),
                downsample=_swapped(level.downsample, turn),
                stated=None if level.stated is None else _swapped(level.stated, turn),
            )
            for level in stored.levels
        )
        self.channels, self.dtype = stored.channels, stored.dtype
        self.channel_names = stored.channel_names
        self.mpp = None if stored.mpp is None else _swapped(stored.mpp, turn)
        traits, whole = stored.traits, self.levels[0].shape
        self.traits = replace(
            traits,
            turned=True,
            bounds=None if traits.bounds is None else _upright(traits.bounds, turn, whole),
            geo=None if traits.geo is None else _turned_reference(traits.geo, turn, whole),
        )

    def read(self, box: Box, level: int = 0) -> Pixels:
        """Pixels of ``box``, (y, x, c), as they stand in the upright picture."""
        stored = _stored(box, self._turn, self.levels[level].shape)
        return turned(self._stored.read(stored, level), self.traits.orientation)

    def look(self, box: Box, level: int = 0, channels: tuple[int, ...] | None = None) -> Reading:
        """As :meth:`read`, with what cannot be read marked."""
        turn, shape, asked = self._turn, self.levels[level].shape, self.traits.orientation
        found = self._stored.look(_stored(box, turn, shape), level, channels)
        marks = found.marks
        return Reading(
            turned(found.pixels, asked),
            None if marks is None else turned(marks, asked),
            tuple(
                sorted(
                    _upright(box.clip(self._stored.levels[level].shape), turn, shape)
                    for box in found.failed
                )
            ),
        )

    def fingerprint(self) -> str:
        """That of the stored pixels, and how they are turned."""
        return f"{self._stored.fingerprint()} orientation {self.traits.orientation}"

    def close(self) -> None:
        """Close the slide."""
        self._stored.close()


def _swapped(pair: tuple[_T, _T], turn: Turn) -> tuple[_T, _T]:
    return (pair[1], pair[0]) if turn.swap else pair


def _mirrored(box: Box, turn: Turn, shape: tuple[int, int]) -> Box:
    """A box of the upright picture of ``shape`` with its ends changed."""
    y0, x0, y1, x1 = box
    if turn.down:
        y0, y1 = shape[0] - y1, shape[0] - y0
    if turn.right:
        x0, x1 = shape[1] - x1, shape[1] - x0
    return Box(y0, x0, y1, x1)


def _transposed(box: Box) -> Box:
    return Box(box.x0, box.y0, box.x1, box.y1)


def _stored(box: Box, turn: Turn, shape: tuple[int, int]) -> Box:
    """Where a box of the upright picture of ``shape`` is stored."""
    found = _mirrored(box, turn, shape)
    return _transposed(found) if turn.swap else found


def _upright(box: Box, turn: Turn, shape: tuple[int, int]) -> Box:
    """Where a stored box lies in the upright picture of ``shape``."""
    return _mirrored(_transposed(box) if turn.swap else box, turn, shape)


def _turned_reference(geo: GeoReference, turn: Turn, shape: tuple[int, int]) -> GeoReference:
    """Place on the earth of the upright picture of ``shape``."""
    a, b, c, d, e, f = geo.transform
    y_step, y_from = (-1, shape[0]) if turn.down else (1, 0)
    x_step, x_from = (-1, shape[1]) if turn.right else (1, 0)
    if turn.swap:  # the stored column follows from the upright row
        moved = (b * x_step, a * y_step, c + a * y_from + b * x_from,
                 e * x_step, d * y_step, f + d * y_from + e * x_from)  # fmt: skip
    else:
        moved = (a * x_step, b * y_step, c + a * x_from + b * y_from,
                 d * x_step, e * y_step, f + d * x_from + e * y_from)  # fmt: skip
    return replace(geo, transform=moved)
