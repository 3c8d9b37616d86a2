"""What a slide is to the rest of gigafcn.

A name, a pyramid of levels, a type of pixel, and ``read``.  Boxes are in pixels of the level that
is read, never in level-0 pixels, and are neither clipped nor padded: a box that leaves the level
is refused, because what lies beyond the edge is a decision of the plan.  A read is a pure function
of position: reading two overlapping boxes gives the same pixels where they overlap.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, runtime_checkable

import numpy as np

from gigafcn.errors import SlideError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gigafcn.geometry import Box
    from gigafcn.slide.marks import Reading
    from gigafcn.slide.traits import Traits

Pixels: TypeAlias = np.ndarray[Any, np.dtype[Any]]
"""An array of pixels, (y, x, c) unless said otherwise."""

Factors: TypeAlias = tuple[float, float]
"""Level-0 px per px of a level, (y, x)."""


@dataclass(frozen=True, slots=True)
class Level:
    """One resolution of a slide's pyramid.

    Examples
    --------
    >>> Level((500, 400), (2.0, 2.0)).shape
    (500, 400)
    """

    shape: tuple[int, int]
    """Height and width in px of this level."""

    downsample: tuple[float, float]
    """Level-0 px per px of this level, (y, x)."""

    decoded_rows: int = 0
    """Rows that are decoded at once, and kept while a sweep passes; 0 if rows are read singly."""

    stated: Factors | None = None
    """What the file says the downsample is, where its size contradicts that and nobody decided."""

    def __post_init__(self) -> None:
        """Refuse empty levels and downsamples below one pixel."""
        if min(self.shape) < 1 or min(self.downsample) <= 0:
            raise SlideError(
                f"a level needs at least 1 x 1 px and a positive downsample, "
                f"got shape {self.shape} px and downsample {self.downsample}"
            )


@runtime_checkable
class Slide(Protocol):
    """An open image; safe to read from several threads at once."""

    name: str
    """Stem for naming outputs: the file's name without extension, "slide" for arrays."""

    source: str | None
    """What :func:`open_slide` needs to open it in another process; None for arrays in memory."""

    levels: tuple[Level, ...]
    """Resolutions, finest first."""

    channels: int
    """Values per pixel."""

    channel_names: tuple[str, ...]
    """One name per channel."""

    dtype: np.dtype[Any]
    """Type of the stored values, native byte order."""

    mpp: tuple[float, float] | None
    """Micrometres per px at level 0, (y, x); None when unknown or implausible."""

    traits: Traits
    """What the slide says of itself beside its pixels."""

    def read(self, box: Box, level: int = 0) -> Pixels:
        """Pixels of exactly ``box``, (y, x, c), in px of ``level``; the caller owns the array."""
        ...

    def look(self, box: Box, level: int = 0, channels: tuple[int, ...] | None = None) -> Reading:
        """Pixels fit to be computed with, of some channels in their order or of all.

        What cannot be read is marked instead of raising, and what is not a number is 0.
        """
        ...

    def fingerprint(self) -> str:
        """Text that differs when the pixels differ, the same on every machine."""
        ...

    def close(self) -> None:
        """Release files; reading afterwards is an error, closing twice is not."""
        ...


def colours_of(slide: Slide) -> tuple[int, ...]:
    """Channels that are not declared to be alpha."""
    return tuple(c for c in range(slide.channels) if c != slide.traits.alpha)


def check_box(name: str, levels: tuple[Level, ...], box: Box, level: int) -> None:
    """Refuse a level that does not exist and a box that is not inside its level.

    Raises
    ------
    UsageError
        Naming the slide, the box and what there is.
    """
    if not 0 <= level < len(levels):
        raise UsageError(
            f"slide {name!r} has no level {level}; it has levels 0 to {len(levels) - 1}"
        )
    height, width = levels[level].shape
    if not (0 <= box.y0 <= box.y1 <= height and 0 <= box.x0 <= box.x1 <= width):
        raise UsageError(
            f"box {tuple(box)} (y0, x0, y1, x1) is not inside level {level} of slide {name!r}, "
            f"which is {height} x {width} px (y, x)"
        )


def check_plane(name: str, asked: Mapping[str, int], sizes: Mapping[str, int]) -> None:
    """Refuse planes that an image does not have; an axis it has not counts as one plane.

    Parameters
    ----------
    asked, sizes
        Index and number of planes along axes by their lower-case names.

    Raises
    ------
    UsageError
        Naming the axis and how many planes there are.
    """
    for axis, index in asked.items():
        size = sizes.get(axis, 1)
        if axis in ("y", "x", "c", "s") or not 0 <= index < size:
            known = ", ".join(f"{a}: {n}" for a, n in sizes.items()) or "none"
            raise UsageError(
                f"{name} has no plane {axis}={index}; planes by axis beside y and x: {known}"
            )


def default_channel_names(channels: int) -> tuple[str, ...]:
    """Names for a slide whose format gives none.

    Examples
    --------
    >>> default_channel_names(3)
    ('red', 'green', 'blue')
    """
    known = {1: ("grey",), 3: ("red", "green", "blue"), 4: ("red", "green", "blue", "alpha")}
    return known.get(channels) or tuple(f"channel {index}" for index in range(channels))


def check_dtype(where: str, dtype: np.dtype[Any]) -> None:
    """Refuse values that are not integers or floats of at most 8 bytes.

    Raises
    ------
    SlideError
        Naming the type and the remedy.
    """
    if dtype.kind not in "uif" or dtype.itemsize > 8:
        raise SlideError(
            f"{where} holds {dtype} values; gigafcn reads integers and floats: "
            f"convert it to 8 or 16 bit or float32"
        )


def downsample_of(base: tuple[int, int], shape: tuple[int, int]) -> tuple[float, float]:
    """Level-0 px per px of a level, from the two shapes.

    Sizes of pyramid levels are rounded, so their ratio is slightly off; when one whole number
    explains both axes to less than a pixel, that number is meant.

    Examples
    --------
    >>> downsample_of((2967, 2221), (741, 555))
    (4.0, 4.0)
    >>> downsample_of((100, 100), (40, 40))
    (2.5, 2.5)
    """
    ratios = (base[0] / shape[0], base[1] / shape[1])
    whole = max(1, round((ratios[0] * ratios[1]) ** 0.5))
    if all(abs(full / whole - size) < 1 for full, size in zip(base, shape, strict=True)):
        return (float(whole), float(whole))
    return ratios


def cause(error: Exception) -> str:
    """A library's error on one line, with its kind, to end a message of our own.

    Examples
    --------
    >>> cause(ValueError("bad", 3))
    "ValueError: ('bad', 3)"
    """
    return f"{type(error).__name__}: {' '.join(str(error).split()) or 'no reason given'}"
