"""Which px does an image declare to hold data: by an internal mask, a ``.msk`` beside it, by alpha?

The first of these that is there counts, as with GDAL; a "no data" value only where none is.  Px
that are declared empty are marked so, and show the background colour.  Alpha says whether there is
data and nothing of its colour: what is half transparent keeps its own, and premultiplied colours
are divided by it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from gigafcn.errors import SlideError
from gigafcn.geometry import Box
from gigafcn.slide.marks import Mark, Reading
from gigafcn.storage.url_path import place_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from gigafcn.slide.protocol import Pixels, Slide

MASK_SUFFIX = ".msk"
"""GDAL's suffix, after the whole name, of a raster of masks."""

_SEARCHED_PX = 2048
"""Side of what is read at once in search of a px that holds data."""

Shape = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Masks:
    """The mask of each level of a slide."""

    kind: str
    """"internal" or "beside"."""

    shapes: tuple[Shape, ...]
    """Of the slide's levels."""

    numbers: tuple[int | None, ...]
    """By which ``look`` knows the mask of each level; None for levels without one."""

    look: Callable[[Box, int], Reading]
    """Reads a box of a mask: px that are 0 throughout hold no data."""

    def held(self, box: Box, level: int) -> Held:
        """Which px of a box hold data."""
        number = self.numbers[level]
        if number is None:
            return self._from_finer(box, level)
        found = self.look(box, number)
        return Held((found.pixels != 0).any(axis=2), _failed(found), found.failed)

    def _from_finer(self, box: Box, level: int) -> Held:
        """The same by the px of a finer level's mask under the middle of each px."""
        finer = max(n for n in range(level) if self.numbers[n] is not None)
        number = self.numbers[finer]
        assert number is not None
        rows, columns = (
            ((np.arange(span.start, span.stop) + 0.5) * whole / size).astype(int)
            for span, whole, size in zip(
                box.spans, self.shapes[finer], self.shapes[level], strict=True
            )
        )
        held, failed = np.zeros(box.shape, bool), np.zeros(box.shape, bool)
        if box.is_empty:
            return Held(held)
        first, last = int(columns[0]), int(columns[-1])
        for place, row in enumerate(rows):
            line = self.look(Box(int(row), first, int(row) + 1, last + 1), number)
            held[place] = (line.pixels[0, columns - first] != 0).any(axis=1)
            if line.failed and line.marks is not None:
                failed[place] = line.marks[0, columns - first] == Mark.FAILED
        return Held(held, failed, (box,)) if failed.any() else Held(held)


@dataclass(frozen=True, slots=True)
class Held:
    """What a mask says of a box."""

    px: NDArray[np.bool_]
    """Whether each px (y, x) holds data."""

    failed: NDArray[np.bool_] | None = None
    """Where the mask cannot be read; None if it can."""

    boxes: tuple[Box, ...] = ()
    """The same as boxes of the level."""


def _failed(found: Reading) -> NDArray[np.bool_] | None:
    return found.marks == Mark.FAILED if found.failed and found.marks is not None else None


def place_beside(path: Path) -> Path:
    """Where GDAL keeps the masks of an image."""
    return place_of(f"{path}{MASK_SUFFIX}")


def masks_beside(
    path: Path, shapes: Sequence[Shape], opened: Callable[[Path], Slide]
) -> Masks | None:
    """Masks of a file beside an image; None without one.

    Raises
    ------
    SlideError
        If it has another size than the image.
    """
    beside = place_beside(path)
    if not beside.is_file():
        return None
    mask = opened(beside)
    there = [level.shape for level in mask.levels]
    if there[0] != shapes[0]:
        raise SlideError(
            f"{beside} masks {there[0][0]} x {there[0][1]} px (y, x), but {path.name} has "
            f"{shapes[0][0]} x {shapes[0][1]} px; move it away or make it anew"
        )
    numbers = tuple(there.index(shape) if shape in there else None for shape in shapes)
    return Masks("beside", tuple(shapes), numbers, mask.look)


def by_masks(reading: Reading, masks: Masks, box: Box, level: int, blank: float) -> Reading:
    """A reading of a box with the px that the masks leave out marked."""
    held = masks.held(box, level)
    reading = without_data(reading, ~held.px, blank)
    if held.failed is None:
        return reading
    marks = np.zeros(box.shape, np.uint8) if reading.marks is None else reading.marks
    marks = np.where(held.failed, np.uint8(Mark.FAILED), marks)
    return Reading(reading.pixels, marks, tuple(sorted({*reading.failed, *held.boxes})))


def by_alpha(reading: Reading, alpha: int, blank: float, *, premultiplied: bool) -> Reading:
    """A reading with the px marked whose alpha, one of its channels, is 0; that stays as it is.

    Examples
    --------
    >>> found = by_alpha(Reading(np.array([[[9, 0], [9, 255]]], np.uint8)), 1, 255,
    ...                  premultiplied=False)
    >>> found.pixels.tolist(), found.marks.tolist()
    ([[[255, 0], [9, 255]]], [[2, 0]])
    """
    pixels = reading.pixels
    share = pixels[:, :, alpha].copy()
    if premultiplied:
        pixels = _divided(pixels, share)
    empty = share == 0
    if reading.marks is not None:
        # Tiles that the file leaves out have alpha 0, whatever they are filled with.
        empty |= reading.marks == Mark.GAP
        share[reading.marks == Mark.GAP] = 0
    found = without_data(Reading(pixels, reading.marks, reading.failed), empty, blank)
    found.pixels[:, :, alpha] = share
    return found


def _divided(pixels: Pixels, share: Pixels) -> Pixels:
    """Colours that were multiplied by alpha, as they were before."""
    top = np.iinfo(pixels.dtype).max if pixels.dtype.kind in "ui" else 1.0
    partly = (share > 0) & (share < top)
    if not partly.any():
        return pixels
    colours = pixels[partly].astype(np.float64) * (top / share[partly].astype(np.float64))[:, None]
    if pixels.dtype.kind in "ui":
        colours = np.minimum(np.rint(colours), top)
    divided = pixels.copy()
    divided[partly] = colours.astype(pixels.dtype)
    return divided


def without_data(reading: Reading, empty: NDArray[np.bool_], blank: float) -> Reading:
    """A reading with px marked as "no data" and shown in the background colour."""
    if not empty.any():
        return reading
    pixels = reading.pixels
    pixels = np.where(empty[..., np.newaxis], np.array(blank, pixels.dtype), pixels)
    marks = np.zeros(empty.shape, np.uint8) if reading.marks is None else reading.marks
    marks = np.where(empty & (marks != Mark.FAILED), np.uint8(Mark.NO_DATA), marks)
    return Reading(pixels, marks, reading.failed)


def refuse_without_data(slide: Slide, what: str) -> None:
    """Refuse a slide of which nothing is declared to hold data; the coarsest level is asked first.

    Raises
    ------
    SlideError
        Naming what leaves it all out.
    """
    for level in reversed(range(len(slide.levels))):
        if any(_holds_some(slide, box, level) for box in _from_the_middle(slide, level)):
            return
    raise SlideError(
        f"{slide.source}: {what} is 0 everywhere, so nothing of it is data; mend it, or leave it "
        f"out (of alpha: gdal_translate -b 1 -b 2 -b 3 IN OUT)"
    )


def _holds_some(slide: Slide, box: Box, level: int) -> bool:
    marks = slide.look(box, level, (0,)).marks
    return marks is None or bool((marks != Mark.NO_DATA).any())


def _from_the_middle(slide: Slide, level: int) -> list[Box]:
    """Squares of a level, those of its middle first."""
    height, width = slide.levels[level].shape
    squares = [
        Box(y, x, min(y + _SEARCHED_PX, height), min(x + _SEARCHED_PX, width))
        for y in range(0, height, _SEARCHED_PX)
        for x in range(0, width, _SEARCHED_PX)
    ]
    return sorted(
        squares, key=lambda box: abs(box.y0 + box.y1 - height) + abs(box.x0 + box.x1 - width)
    )
