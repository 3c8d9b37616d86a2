"""What does a slide say of itself beside its pixels?

Facts that change what is mapped or where it lies, in one value for every backend: the scanned
area, the place on the earth, whether there is a colour profile (which is not applied), and the
colour of what is not there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gigafcn.geometry import Box

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gigafcn.slide.georeference import GeoReference


@dataclass(frozen=True, slots=True)
class Position:
    """Where a slide says that it lies, in coordinates of its own; pairs are (y, x)."""

    px: tuple[float, float]
    """Size of a level-0 px."""

    first: tuple[float, float]
    """Centre of the first level-0 px."""

    units: tuple[str | None, str | None]
    """Of both; None where not stated."""


@dataclass(frozen=True, slots=True)
class Traits:
    """Facts about a slide; the defaults are those of a plain image."""

    format: str = ""
    """Which reader read what: "openslide aperio", "tiff", "zarr", "picture png"."""

    bounds: Box | None = None
    """Level-0 px of the scanned area; None when the slide names none."""

    icc_profile: bool = False
    """Whether the file holds a colour profile; it is not applied."""

    geo: GeoReference | None = None
    """Place on the earth."""

    orientation: int = 1
    """Which way up the picture is meant, by TIFF's and EXIF's numbers; 1 is as stored."""

    turned: bool = False
    """Whether it is read that way; else as stored."""

    position: Position | None = None
    """Place in coordinates of its own; None when it states none."""

    no_data: float | None = None
    """Value that means "no data"."""

    alpha: int | None = None
    """Channel that is declared to be alpha, which is no colour."""

    mask: str | None = None
    """What declares px to hold no data, if anything: "internal" or "beside" (masks), "alpha"."""

    absent_tiles: int = 0
    """Stored tiles of level 0 that the file leaves out."""

    missing_bytes: int = 0
    """Bytes that the file refers to but does not have: it was cut short."""

    plane: tuple[tuple[str, int], ...] = ()
    """Which plane of a stack was taken, by axis."""

    image: int | None = None
    """Which image was taken, of a file that holds several."""

    def to_json(self) -> dict[str, Any]:
        """What a map says of its slide."""
        return {
            "format": self.format,
            "bounds": None if self.bounds is None else list(self.bounds),
            "icc_profile": "ignored" if self.icc_profile else None,
            "no_data": self.no_data if self.no_data == self.no_data else "nan",
            "mask": self.mask,
            "orientation": self.orientation,
            "turned": self.turned,
            "absent_tiles": self.absent_tiles,
            "missing_bytes": self.missing_bytes,
            "plane": dict(self.plane),
            "image": self.image,
        }


def bounds_from(found: Sequence[str | None]) -> Box | None:
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
