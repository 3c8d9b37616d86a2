"""Classes as objects that QuPath opens: outlines as annotations, or coarse cells as detections.

One GeoJSON FeatureCollection with QuPath's properties (object type, classification with name and
colour, measurements) and its coordinates: level-0 px of the slide, x before y.  Outlines run along
the pixel edges of the map, one feature per connected part, joined across the pieces in which the
map is read.  Features are written as they are found, so memory holds only the polygons that are
still open.  Identifiers follow from the map, so that the same map gives the same file.
"""

from __future__ import annotations

import json
import logging
import time
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely

from gigafcn.errors import UsageError
from gigafcn.export.frame import Frame, frame_of
from gigafcn.export.merging import Joiner
from gigafcn.export.places import identity, json_head
from gigafcn.output.palette import is_background, rgb
from gigafcn.output.placing import slide_turned
from gigafcn.output.reading import (
    channels_of,
    excludes,
    pieces,
    read_labels,
    read_probabilities,
)
from gigafcn.progress import Progress, ProgressCallback

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from gigafcn.export.tracing import Polygons
    from gigafcn.geometry import Box
    from gigafcn.output.opening import StoredMap

log = logging.getLogger(__name__)

MANY = 100_000
"""Objects beyond which QuPath gets slow."""

LEAST_CELL_STRIDE = 8
"""Input px per map px from which on a map px may be an object of its own."""

OBJECTS = ("polygons", "cells")


@dataclass(frozen=True, slots=True)
class GeojsonOptions:
    """What becomes an object, and how."""

    objects: str = "polygons"
    """"polygons", or "cells": one square per map px, for maps of stride 8 and more."""

    classes: tuple[str, ...] | None = None
    """Classes to export; None is all but the background."""

    threshold: float | None = None
    """A pixel is of a class when its probability is at least this, so classes may overlap; None
    takes the likeliest class, or 0.5 when classes do not exclude each other."""

    background: bool = False
    """Export the class "background" too."""

    min_area: float = 0.0
    """Leave out polygons smaller than this, in µm², or in level-0 px² when mpp is unknown."""

    simplify: float = 0.0
    """Most px (of the map) that a simplified outline may lie off; 0 keeps every corner."""

    slide: str | None = None
    """File of the slide, asked for the area that QuPath crops it to."""

    crop: bool = True
    """Count coordinates from that area, as QuPath does."""

    def __post_init__(self) -> None:
        if self.objects not in OBJECTS:
            raise UsageError(f"objects must be polygons or cells, got {self.objects!r}")
        if self.threshold is not None and not 0 < self.threshold <= 1:
            raise UsageError(f"threshold must be above 0 and at most 1, got {self.threshold:g}")
        if not (self.min_area >= 0 and self.simplify >= 0):
            raise UsageError(
                f"min-area and simplify must not be negative, got {self.min_area:g} and "
                f"{self.simplify:g}"
            )
        if self.objects == "cells" and (self.min_area or self.simplify):
            raise UsageError("min-area and simplify are for polygons; cells are squares")


def write_geojson(
    target: Path,
    stored: StoredMap,
    options: GeojsonOptions,
    progress: ProgressCallback | None = None,
) -> dict[str, int]:
    """Write a FeatureCollection; return the number of features per class."""
    shown = _shown(stored, options)
    if options.objects == "cells":
        _check_cells(stored)
    frame = frame_of(stored, options.slide, crop=options.crop)
    if slide_turned(stored):
        log.warning(
            "%s is the map of a turned picture (--orient), and coordinates are of that: viewers "
            "that show it as stored, such as QuPath, lay them elsewhere", stored.path.name,
        )  # fmt: skip
    if options.objects == "cells":
        features = _cells(stored, frame, shown, options, progress)
    else:
        features = _annotations(stored, frame, shown, options, progress)
    counts = {stored.spec.classes[channel]: 0 for channel in shown}
    with target.open("w", encoding="utf-8") as file:
        file.write(f'{{"type": "FeatureCollection", {json_head()}, "features": [')
        separator = "\n"
        for name, feature in features:
            counts[name] += 1
            file.write(separator + feature)
            separator = ",\n"
        file.write("\n]}\n")
    total = sum(counts.values())
    if total > MANY:
        log.warning(
            "%d objects in %s; QuPath gets slow above %d: leave out small ones (--min-area), "
            "or classes (--class)", total, target.name.rpartition("partial-")[2], MANY,
        )  # fmt: skip
    return counts


def _shown(stored: StoredMap, options: GeojsonOptions) -> tuple[int, ...]:
    if options.classes:
        return channels_of(stored, options.classes)
    names = stored.spec.classes
    told = told_classes(stored, options.threshold)
    shown = tuple(i for i in told if options.background or not is_background(names[i]))
    if not shown:
        raise UsageError(f"map {stored.path} has no class but background; ask for background")
    return shown


def told_classes(stored: StoredMap, threshold: float | None) -> tuple[int, ...]:
    """Classes whose pixels the map tells: all, or those whose scores are stored."""
    if threshold is None and excludes(stored):
        return tuple(range(len(stored.spec.classes)))
    return stored.spec.stored


def class_masks(
    stored: StoredMap, box: Box, channels: tuple[int, ...], threshold: float | None
) -> Iterator[tuple[int, NDArray[np.bool_]]]:
    """Pixels (y, x) of each class within a box."""
    if threshold is None and excludes(stored):
        labels = read_labels(stored, box)
        for channel in channels:
            yield channel, labels == channel
        return
    for channel in channels:
        least = np.float32(0.5 if threshold is None else threshold)
        yield channel, read_probabilities(stored, box, channel) >= least


def _annotations(
    stored: StoredMap,
    frame: Frame,
    shown: tuple[int, ...],
    options: GeojsonOptions,
    progress: ProgressCallback | None,
) -> Iterator[tuple[str, str]]:
    joiners = {channel: Joiner(stored.spec.shape) for channel in shown}
    namer = _Namer(stored)
    for box in _reported(stored, progress):
        for channel, mask in class_masks(stored, box, shown, options.threshold):
            polygons = joiners[channel].add(box, mask)
            kept = polygons[shapely.area(polygons) * _area_unit(stored, frame) >= options.min_area]
            if options.simplify:
                kept = shapely.simplify(kept, options.simplify)
            name, colour = stored.spec.classes[channel], stored.spec.colours[channel]
            properties = json.dumps(_properties("annotation", name, colour))
            for geometry in _as_json(kept, frame):
                yield name, namer.feature(name, geometry, properties)


def _area_unit(stored: StoredMap, frame: Frame) -> float:
    """µm² per map px, or level-0 px² when mpp is unknown."""
    spec = stored.spec
    if spec.mpp is None:
        return frame.scale[0] * frame.scale[1]
    return spec.mpp[0] * spec.mpp[1] * float(spec.stride[0] * spec.stride[1])


def _check_cells(stored: StoredMap) -> None:
    stride = stored.spec.stride
    if min(stride) < LEAST_CELL_STRIDE:
        raise UsageError(
            f"map {stored.path} has stride {stride[0]} x {stride[1]} px (y, x); cells are for "
            f"stride {LEAST_CELL_STRIDE} and more: export polygons"
        )


def _cells(
    stored: StoredMap,
    frame: Frame,
    shown: tuple[int, ...],
    options: GeojsonOptions,
    progress: ProgressCallback | None,
) -> Iterator[tuple[str, str]]:
    """One square per computed map px of a shown class, with all stored probabilities."""
    names, colours = stored.spec.classes, stored.spec.colours
    measured = stored.spec.stored
    namer = _Namer(stored)
    for box in _reported(stored, progress):
        scores = {channel: read_probabilities(stored, box, channel) for channel in measured}
        chosen = np.full(box.shape, -1)
        best = np.full(box.shape, -np.inf)
        for channel, mask in class_masks(stored, box, shown, options.threshold):
            score = scores.get(channel, np.ones(box.shape, np.float32))
            better = mask & (score > best)
            chosen[better], best[better] = channel, score[better]
        y, x = np.nonzero(chosen >= 0)
        squares = shapely.box(x + box.x0, y + box.y0, x + box.x0 + 1, y + box.y0 + 1)
        for geometry, row, column in zip(_as_json(squares, frame), y, x, strict=True):
            channel = int(chosen[row, column])
            properties = _properties("detection", names[channel], colours[channel])
            properties["measurements"] = {
                names[c]: round(float(values[row, column]), 4) for c, values in scores.items()
            }
            yield names[channel], namer.feature(names[channel], geometry, json.dumps(properties))


def _properties(kind: str, name: str, colour: str) -> dict[str, Any]:
    return {"objectType": kind, "classification": {"name": name, "color": list(rgb(colour))}}


def _as_json(polygons: Polygons, frame: Frame) -> list[str]:
    """GeoJSON geometries, in level-0 px of the slide."""
    written = shapely.to_geojson(shapely.transform(polygons, frame.on_slide))
    return [text.replace(".0,", ",").replace(".0]", "]") for text in written]


class _Namer:
    """Gives features identifiers that follow from the map and their order."""

    def __init__(self, stored: StoredMap) -> None:
        self._space = identity(stored)
        self._number = 0

    def feature(self, name: str, geometry: str, properties: str) -> str:
        """One feature as JSON."""
        self._number += 1
        own = uuid.uuid5(self._space, f"{self._number} {name}")
        return (
            f'{{"type": "Feature", "id": "{own}", "geometry": {geometry}, '
            f'"properties": {properties}}}'
        )


def _reported(stored: StoredMap, progress: ProgressCallback | None) -> Iterator[Box]:
    """Pieces of the map, each reported once it is done."""
    boxes = list(pieces(stored))
    total, done, began = stored.spec.shape[0] * stored.spec.shape[1], 0, time.perf_counter()
    for number, box in enumerate(boxes, start=1):
        yield box
        done += box.area
        if progress is not None:
            seconds = time.perf_counter() - began
            progress(Progress("export", number, len(boxes), done, total, seconds))
