"""Which areas are drawn in a GeoJSON file, as QuPath exports them?

Feature collections, lists of features, single features and bare geometries are read; what has no
area is left out, and said.  Polygons that cross themselves are mended by shapely's ``make_valid``,
and that is said too.
"""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely
from shapely.geometry import shape

from gigafcn.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

log = logging.getLogger(__name__)

_AREAS = ("Polygon", "MultiPolygon")


def read_polygons(path: Path) -> list[Any]:
    """Valid shapely polygons and multipolygons of a GeoJSON file, in its own coordinates.

    Raises
    ------
    UsageError
        If it cannot be read or there are none.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"polygons {path} cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise UsageError(f"polygons {path} are not JSON: {error}") from error
    every = _geometries(document)
    drawn = [g for g in every if isinstance(g, dict) and g.get("type") in _AREAS]
    areas = [_area(geometry, number, path) for number, geometry in enumerate(drawn)]
    mended = sum(not area.is_valid for area in areas)
    valid = [area if area.is_valid else shapely.make_valid(area) for area in areas]
    found = [area for area in valid if area.area > 0]
    if not found:
        raise UsageError(
            f"{path} holds no polygon; export areas from QuPath as GeoJSON, or draw some"
        )
    if mended:
        log.warning("%s: %d polygons that cross themselves were mended", path, mended)
    if len(drawn) < len(every):
        log.warning("%s: %d geometries without an area left out", path, len(every) - len(drawn))
    return found


def _area(geometry: dict[str, Any], number: int, path: Path) -> Any:
    """One polygon as it is drawn.

    Raises
    ------
    UsageError
        If its coordinates are none.
    """
    try:
        area = shape(geometry)
    except (KeyError, TypeError, ValueError, IndexError, shapely.errors.ShapelyError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UsageError(f"{path}: polygon {number} cannot be read: {reason}") from error
    if not np.isfinite(shapely.get_coordinates(area)).all():
        raise UsageError(f"{path}: polygon {number} has coordinates that are no numbers")
    return area


def _geometries(document: Any) -> list[Any]:
    """Geometries of a feature collection, a list of features, a feature, or a geometry alone."""
    if isinstance(document, list):
        return [geometry for item in document for geometry in _geometries(item)]
    if not isinstance(document, dict):
        return [document]
    match document.get("type"):
        case "FeatureCollection":
            return _geometries(list(document.get("features") or []))
        case "GeometryCollection":
            return _geometries(list(document.get("geometries") or []))
        case "Feature":
            return _geometries(document.get("geometry"))
        case _:
            return [document]
