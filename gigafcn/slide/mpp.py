"""How large a pixel is, in micrometres, and whether the number may be believed.

Every format states it in its own unit and many files state nonsense (72 dpi of a screen, a
thousand micrometres).  Values outside 0.05 to 20 micrometres per px count as unknown; the user
can then state the truth with ``--slide-mpp``.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

LEAST_UM = 0.05
"""Smallest plausible pixel, below any light microscope's resolution."""

MOST_UM = 20.0
"""Largest plausible pixel, about a 0.5x overview."""

UM_PER_UNIT = {
    "pm": 1e-6,
    "picometer": 1e-6,
    "å": 1e-4,
    "angstrom": 1e-4,
    "nm": 1e-3,
    "nanometer": 1e-3,
    "um": 1.0,
    "µm": 1.0,  # U+00B5 micro sign
    "\u03bcm": 1.0,  # Greek mu
    "\\u00b5m": 1.0,  # as ImageJ escapes it
    "micron": 1.0,
    "microns": 1.0,
    "micrometer": 1.0,
    "micrometre": 1.0,
    "mm": 1e3,
    "millimeter": 1e3,
    "cm": 1e4,
    "centimeter": 1e4,
    "m": 1e6,
    "meter": 1e6,
    "in": 25400.0,
    "inch": 25400.0,
}
"""Micrometres per length unit, keyed by lower-case name."""


def parse_number(text: object, *, finite: bool = True) -> float | None:
    """Read a number that may have a decimal comma; None when it is none.

    With ``finite`` false NaN and infinity are numbers too.

    Examples
    --------
    >>> parse_number("0,2527")
    0.2527
    """
    try:
        value = float(str(text).strip().replace(",", "."))
    except ValueError:
        return None
    return value if math.isfinite(value) or not finite else None


def in_micrometres(text: object, unit: object) -> float | None:
    """Convert a length to micrometres; None when number or unit is unknown.

    Examples
    --------
    >>> in_micrometres("250", "nm")
    0.25
    """
    value, scale = parse_number(text), UM_PER_UNIT.get(str(unit).strip().lower())
    return None if value is None or scale is None else value * scale


def plausible_mpp(y: float | None, x: float | None) -> tuple[float, float] | None:
    """Both sizes when both can be believed, else None.

    Examples
    --------
    >>> plausible_mpp(0.25, 0.25)
    (0.25, 0.25)
    >>> plausible_mpp(352.8, 352.8) is None
    True
    """
    if y is None or x is None:
        return None
    return (y, x) if all(LEAST_UM <= size <= MOST_UM for size in (y, x)) else None


def mpp_of_properties(properties: Mapping[str, str]) -> tuple[float, float] | None:
    """Pixel size by the properties of a slide that OpenSlide opened.

    In this order: OpenSlide's own figure (which for DICOM is PixelSpacing), Aperio's ``MPP``, the
    resolution tags of the TIFF.  What cannot be believed counts as not said.

    Examples
    --------
    >>> mpp_of_properties({"openslide.mpp-x": "1000", "openslide.mpp-y": "1", "aperio.MPP": "0,25"})
    (0.25, 0.25)
    """
    sides = [
        (properties.get("openslide.mpp-y"), properties.get("openslide.mpp-x")),
        (properties.get("aperio.MPP"), properties.get("aperio.MPP")),
    ]
    found = [plausible_mpp(parse_number(y), parse_number(x)) for y, x in sides]
    unit = properties.get("tiff.ResolutionUnit")
    per_unit = [parse_number(properties.get(f"tiff.{axis}Resolution")) for axis in "YX"]
    y, x = (in_micrometres(1 / n, unit) if n is not None and n > 0 else None for n in per_unit)
    found.append(plausible_mpp(y, x))
    return next((mpp for mpp in found if mpp is not None), None)
