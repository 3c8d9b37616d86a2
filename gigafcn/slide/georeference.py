"""Where on the earth does a raster lie?

GeoTIFF says so in six tags: an affine transform from px to the coordinates of a reference system,
and the system itself as a list of keys.  The transform is brought to one form; the keys are carried
as they are, but for the one that says whether coordinates are those of corners or of centres: here
they are always those of corners.  Left out: ground control points, and what the keys mean beyond
the EPSG code and the unit of length.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping

Affine: TypeAlias = tuple[float, float, float, float, float, float]
"""(a, b, c, d, e, f): the corner of px (row, column) lies at x = a column + b row + c and
y = d column + e row + f."""

PIXEL_SCALE, TIEPOINT, TRANSFORMATION = 33550, 33922, 34264
KEYS, DOUBLES, ASCII = 34735, 34736, 34737
NO_DATA = 42113
"""GDAL's tag for the value that means "no data"."""
TAGS = (PIXEL_SCALE, TIEPOINT, TRANSFORMATION, KEYS, DOUBLES, ASCII)

_MODEL_TYPE, _RASTER_TYPE, _GEOGRAPHIC, _PROJECTED, _UNITS = 1024, 1025, 2048, 3072, 3076
_IS_PROJECTED, _IS_AREA, _IS_POINT = 1, 1, 2
_USER_DEFINED = 32767
_METRES = {9001: 1.0, 9002: 0.3048, 9003: 1200 / 3937}
"""Metres per linear unit, by EPSG code."""

_DOUBLE, _ASCII_TYPE = 12, 2


@dataclass(frozen=True, slots=True)
class GeoReference:
    """Transform and reference system of an image."""

    transform: Affine
    keys: tuple[int, ...]
    """GeoKeyDirectory, with coordinates of corners."""

    doubles: tuple[float, ...] = ()
    ascii: str = ""

    def _key(self, wanted: int) -> int | None:
        """Value of a key that is a number within the directory itself."""
        for at in range(4, len(self.keys) - 3, 4):
            key, place, count, value = self.keys[at : at + 4]
            if key == wanted and place == 0 and count == 1:
                return value
        return None

    @property
    def epsg(self) -> int | None:
        """Code of the reference system; None when it has none."""
        code = self._key(_PROJECTED) or self._key(_GEOGRAPHIC)
        return None if code in (None, _USER_DEFINED) else code

    @property
    def px_um(self) -> tuple[float, float] | None:
        """Micrometres (y, x) per px; None for degrees, unknown units and rotated grids."""
        metres = _METRES.get(self._key(_UNITS) or 0)
        a, b, _, d, e, _ = self.transform
        if self._key(_MODEL_TYPE) != _IS_PROJECTED or metres is None or b or d or not a or not e:
            return None
        return abs(e) * metres * 1e6, abs(a) * metres * 1e6

    def of_part(self, scale: tuple[float, float], origin: tuple[float, float]) -> GeoReference:
        """Reference of an image whose px are ``scale`` (y, x) of these, from ``origin`` on.

        Examples
        --------
        >>> raster = GeoReference((10.0, 0.0, 500.0, 0.0, -10.0, 900.0), ())
        >>> raster.of_part((2, 2), (3, 4)).transform
        (20.0, 0.0, 540.0, 0.0, -20.0, 870.0)
        """
        a, b, c, d, e, f = self.transform
        (sy, sx), (oy, ox) = scale, origin
        moved = (a * sx, b * sy, c + a * ox + b * oy, d * sx, e * sy, f + d * ox + e * oy)
        return GeoReference(moved, self.keys, self.doubles, self.ascii)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "transform": list(self.transform),
            "epsg": self.epsg,
            "keys": list(self.keys),
            "doubles": list(self.doubles),
            "ascii": self.ascii,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> GeoReference:
        """Inverse of :meth:`to_json`."""
        a, b, c, d, e, f = data["transform"]
        keys, doubles = tuple(data["keys"]), tuple(data["doubles"])
        return cls((a, b, c, d, e, f), keys, doubles, data["ascii"])

    def tags(self) -> list[tuple[int, int, int, Any, bool]]:
        """Tags of a TIFF that say the same, as tifffile takes them."""
        a, b, c, d, e, f = self.transform
        matrix = (a, b, 0.0, c, d, e, 0.0, f, *(0.0,) * 4, 0.0, 0.0, 0.0, 1.0)
        tags: list[tuple[int, int, int, Any, bool]] = []
        if b == d == 0 and a > 0 and e < 0:
            tags.append((PIXEL_SCALE, _DOUBLE, 3, (a, -e, 0.0), True))
            tags.append((TIEPOINT, _DOUBLE, 6, (0.0, 0.0, 0.0, c, f, 0.0), True))
        else:
            tags.append((TRANSFORMATION, _DOUBLE, 16, matrix, True))
        if self.keys:
            tags.append((KEYS, 3, len(self.keys), self.keys, True))
        if self.doubles:
            tags.append((DOUBLES, _DOUBLE, len(self.doubles), self.doubles, True))
        if self.ascii:
            tags.append((ASCII, _ASCII_TYPE, 0, self.ascii, True))
        return tags


def georeference(tags: Mapping[int, Any]) -> GeoReference | None:
    """Read the tags of a GeoTIFF, by code; None when they place nothing."""
    keys = tuple(int(value) for value in _numbers(tags.get(KEYS)))
    transform = _transform(tags)
    if transform is None:
        return None
    found = GeoReference(
        transform,
        _of_corners(keys),
        tuple(float(value) for value in _numbers(tags.get(DOUBLES))),
        str(tags.get(ASCII) or ""),
    )
    if GeoReference(transform, keys)._key(_RASTER_TYPE) == _IS_POINT:
        return found.of_part((1, 1), (-0.5, -0.5))
    return found


def _transform(tags: Mapping[int, Any]) -> Affine | None:
    matrix = _numbers(tags.get(TRANSFORMATION))
    if len(matrix) == 16:
        return (matrix[0], matrix[1], matrix[3], matrix[4], matrix[5], matrix[7])
    scale, tie = _numbers(tags.get(PIXEL_SCALE)), _numbers(tags.get(TIEPOINT))
    if len(scale) < 2 or len(tie) < 6:
        return None
    column, row, _, x, y, _ = tie[:6]
    return (scale[0], 0.0, x - column * scale[0], 0.0, -scale[1], y + row * scale[1])


def _of_corners(keys: tuple[int, ...]) -> tuple[int, ...]:
    """The directory with the key for "coordinates are those of corners"."""
    changed = list(keys)
    for at in range(4, len(keys) - 3, 4):
        if keys[at] == _RASTER_TYPE and keys[at + 1] == 0:
            changed[at + 3] = _IS_AREA
    return tuple(changed)


def _numbers(value: Any) -> tuple[float, ...]:
    try:
        return tuple(float(number) for number in value)
    except (TypeError, ValueError):
        return ()
