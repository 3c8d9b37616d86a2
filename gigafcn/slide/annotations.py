"""Which areas are drawn in a GeoJSON file, as QuPath exports them, and which of them are tissue?

Feature collections, lists of features, single features and bare geometries are read; what has no
area is left out, and said.  Polygons that are not valid, since they cross themselves or a hole
shares an edge with the outline, are mended by their structure: holes stay holes, and that is said
too.

QuPath's classes say what an area is.  Those for what is to be ignored, artefacts and background
are cut out of all others, whichever lies above.  ``Region*`` and areas without a class are tissue.
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely
from shapely.geometry import shape

from gigafcn.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

log = logging.getLogger(__name__)

UNCLASSIFIED = "unclassified"
"""Name of areas without a class."""

_AREAS = ("Polygon", "MultiPolygon")
_NO_TISSUE = ("ignore", "artefact", "artifact", "background")
"""Beginnings of classes that are cut out; also whatever speaks of ignoring."""


@dataclass(frozen=True, slots=True)
class Area:
    """An area that somebody drew."""

    polygon: Any
    """Valid polygon or multipolygon of shapely."""

    name: str
    """Its class, of a derived one all names, such as "Tumor: Positive"."""

    @property
    def names_tissue(self) -> bool:
        """Whether its class is not one of those that are cut out.

        Examples
        --------
        >>> [Area(None, name).names_tissue for name in ("Region*", "Tumor: Ignore*", "Artefact")]
        [True, False, False]
        """
        parts = [part.strip().casefold() for part in self.name.split(":")]
        return not any(part.startswith(_NO_TISSUE) or "ignore" in part for part in parts)


@dataclass(frozen=True, slots=True)
class Tissue:
    """Areas of a file, told apart."""

    areas: tuple[Area, ...]
    """Tissue."""

    cut_out: tuple[Area, ...]
    """What is no tissue even where tissue is drawn."""

    others: tuple[Area, ...]
    """What is neither: classes that were not asked for."""

    def polygons(self) -> list[Any]:
        """Polygons of tissue, less what is cut out."""
        areas = np.array([area.polygon for area in self.areas])
        if self.cut_out:
            cut = shapely.disjoint_subset_union_all([area.polygon for area in self.cut_out])
            shapely.prepare(cut)
            hit = shapely.intersects(cut, areas)
            areas[hit] = shapely.difference(areas[hit], cut)
        return [area for area in areas if area.area > 0]

    def described(self, um: tuple[float, float] | None) -> str:
        """Area of each class, in µm² or in px, what becomes of it, and what tissue is left."""
        kinds = ((self.areas, ""), (self.cut_out, " cut out"), (self.others, " left out"))
        factor, unit = (1.0, "px") if um is None else (um[0] * um[1], "µm²")
        said = [
            f"{name} {_size(polygons) * factor:.0f} {unit}{what}"
            for areas, what in kinds
            for name, polygons in _by_class(areas).items()
        ]
        whole = _size(self.polygons()) * factor
        return f"{', '.join(said)}; tissue in all {whole:.0f} {unit}"


def _by_class(areas: Iterable[Area]) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for area in areas:
        found.setdefault(area.name, []).append(area.polygon)
    return found


def _size(polygons: Sequence[Any]) -> float:
    """Area of a union, each px counted once."""
    return float(shapely.disjoint_subset_union_all(polygons).area)


def told_apart(areas: Sequence[Area], asked: Sequence[str] | None, path: Path) -> Tissue:
    """Areas that are tissue, by their classes or as asked.

    Parameters
    ----------
    asked
        Classes that are tissue; None takes all but those that are cut out.

    Raises
    ------
    UsageError
        If the file has no such class, or none that is tissue.
    """
    wanted = None if asked is None else {name.strip().casefold() for name in asked}
    known = {area.name.casefold() for area in areas}
    if wanted is not None and not wanted <= known:
        raise UsageError(
            f"{path} has no class {', '.join(sorted(wanted - known))}; its classes are "
            f"{', '.join(sorted({area.name for area in areas}))}"
        )
    tissue: list[Area] = []
    cut_out: list[Area] = []
    others: list[Area] = []
    for area in areas:
        if area.names_tissue if wanted is None else area.name.casefold() in wanted:
            tissue.append(area)
        else:
            (others if area.names_tissue else cut_out).append(area)
    if not tissue:
        names = ", ".join(sorted({area.name for area in areas}))
        raise UsageError(
            f"{path} marks no tissue: all its areas are of the classes {names}, which are cut "
            f"out; draw tissue too, or name them with --tissue-class"
        )
    return Tissue(tuple(tissue), tuple(cut_out), tuple(others))


def read_areas(path: Path) -> list[Area]:
    """Areas of a GeoJSON file with their classes, in its own coordinates.

    Raises
    ------
    UsageError
        If it cannot be read or there are none.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise UsageError(f"polygons {path} cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise UsageError(f"polygons {path} are not JSON: {error}") from error
    every = list(_geometries(document, UNCLASSIFIED))
    drawn = [(g, name) for g, name in every if isinstance(g, dict) and g.get("type") in _AREAS]
    areas = [(_area(geometry, n, path), name) for n, (geometry, name) in enumerate(drawn)]
    mended = sum(not area.is_valid for area, _ in areas)
    found = [Area(area if area.is_valid else _mended(area), name) for area, name in areas]
    found = [area for area in found if area.polygon.area > 0]
    if not found:
        raise UsageError(
            f"{path} holds no polygon; export areas from QuPath as GeoJSON, or draw some"
        )
    if mended:
        log.warning("%s: %d polygons that cross themselves were mended", path, mended)
    if len(drawn) < len(every):
        log.warning("%s: %d geometries without an area left out", path, len(every) - len(drawn))
    return found


def _mended(area: Any) -> Any:
    """The area with outlines merged and holes cut out of them, also those that share an edge."""
    return shapely.make_valid(area, method="structure", keep_collapsed=False)


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


def _geometries(document: Any, name: str) -> Iterator[tuple[Any, str]]:
    """Geometries with their classes, of whatever GeoJSON is made of."""
    if isinstance(document, list):
        for item in document:
            yield from _geometries(item, name)
        return
    kind = document.get("type") if isinstance(document, dict) else None
    if kind == "FeatureCollection":
        yield from _geometries(list(document.get("features") or []), name)
    elif kind == "GeometryCollection":
        yield from _geometries(list(document.get("geometries") or []), name)
    elif kind == "Feature":
        yield from _geometries(document.get("geometry"), _class_of(document))
    else:
        yield document, name


def _class_of(feature: Mapping[str, Any]) -> str:
    """Name of a feature's class as QuPath shows it; derived classes have several."""
    properties = feature.get("properties")
    given = properties.get("classification") if isinstance(properties, dict) else None
    if isinstance(given, dict):
        given = given.get("names") or given.get("name")
    names = given if isinstance(given, list) else [given]
    return ": ".join(str(name).strip() for name in names if name) or UNCLASSIFIED
