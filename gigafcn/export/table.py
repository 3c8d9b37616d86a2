"""How much of each class is there?  Area, share of the tissue, mean probability.

Sums over the pieces of the map, so memory does not grow with it.  Tissue is every computed pixel
that is not of the class "background"; pixels that were not computed count nowhere.
"""

from __future__ import annotations

import csv
import io
import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from gigafcn.errors import UsageError
from gigafcn.export.frame import frame_of
from gigafcn.export.geojson import class_masks, told_classes
from gigafcn.export.places import TABLE_HEADER, generator
from gigafcn.output.palette import is_background
from gigafcn.output.reading import pieces, read_probabilities, read_status
from gigafcn.output.store import ChunkStatus

if TYPE_CHECKING:
    from pathlib import Path

    from gigafcn.output.opening import StoredMap

_UM2_PER_MM2 = 1e6


@dataclass(frozen=True, slots=True)
class TableOptions:
    """Which pixels are of a class."""

    threshold: float | None = None
    """A pixel is of a class when its probability is at least this; None takes the likeliest
    class, or 0.5 when classes do not exclude each other."""

    def __post_init__(self) -> None:
        if self.threshold is not None and not 0 < self.threshold <= 1:
            raise UsageError(f"threshold must be above 0 and at most 1, got {self.threshold:g}")


@dataclass(frozen=True, slots=True)
class ClassRow:
    """Figures of one class; None where there is nothing to divide by, or no scale."""

    name: str
    """Class."""

    pixels: int
    """Map px of the class."""

    area_px: float
    """Its area in level-0 px of the slide."""

    area_mm2: float | None
    """Its area in mm²."""

    fraction_of_tissue: float | None
    """Its px over those of the tissue; None for the background."""

    mean_probability: float | None
    """Mean over all computed px."""

    mean_probability_in_class: float | None
    """Mean over the px of the class."""


@dataclass(frozen=True, slots=True)
class Table:
    """Figures of a map."""

    classes: tuple[ClassRow, ...]
    """One row per class that the map tells, in its order."""

    pixels: int
    """Map px that were computed."""

    tissue_pixels: int
    """Those that are not background."""


def measure(stored: StoredMap, options: TableOptions) -> Table:
    """Add up the figures of a map, piece by piece."""
    names = stored.spec.classes
    channels = told_classes(stored, options.threshold)
    counts = np.zeros(len(names), np.int64)
    sums = np.zeros((2, len(names)))
    computed = tissue = 0
    for box in pieces(stored):
        known = read_status(stored, box) == ChunkStatus.COMPUTED
        is_tissue = known.copy()
        for channel, mask in class_masks(stored, box, channels, options.threshold):
            counts[channel] += np.count_nonzero(mask)
            if is_background(names[channel]):
                is_tissue &= ~mask
            if channel in stored.spec.stored:
                values = read_probabilities(stored, box, channel)
                sums[0, channel] += values[known].sum(dtype=np.float64)
                sums[1, channel] += values[mask].sum(dtype=np.float64)
        computed += int(np.count_nonzero(known))
        tissue += int(np.count_nonzero(is_tissue))
    rows = []
    for channel in channels:
        name = names[channel]
        share = None if is_background(name) else _ratio(float(counts[channel]), tissue)
        means = [
            _ratio(total, int(count)) if channel in stored.spec.stored else None
            for total, count in zip(sums[:, channel], (computed, counts[channel]), strict=True)
        ]
        rows.append(
            ClassRow(name, int(counts[channel]), *_areas(stored, counts[channel]), share, *means)
        )
    return Table(tuple(rows), computed, tissue)


def _areas(stored: StoredMap, pixels: int) -> tuple[float, float | None]:
    """Level-0 px and mm² of some map px."""
    scale, spec = frame_of(stored, crop=False).scale, stored.spec
    area_px = round(float(pixels) * scale[0] * scale[1], 3)
    if spec.mpp is None:
        return area_px, None
    unit = spec.mpp[0] * spec.mpp[1] * float(spec.stride[0] * spec.stride[1])
    return area_px, float(pixels) * unit / _UM2_PER_MM2


def _ratio(part: float, whole: int) -> float | None:
    return float(part) / whole if whole else None


def write_csv(target: Path, stored: StoredMap, options: TableOptions) -> dict[str, int]:
    """Write one line per class; return the px per class."""
    table = measure(stored, options)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(TABLE_HEADER.split(","))
    for row in table.classes:
        values = ("" if v is None else f"{v:.6g}" for v in list(asdict(row).values())[3:])
        writer.writerow([row.name, row.pixels, f"{row.area_px:.15g}", *values])
    target.write_text(text.getvalue(), encoding="utf-8")
    return {row.name: row.pixels for row in table.classes}


def write_json(target: Path, stored: StoredMap, options: TableOptions) -> dict[str, int]:
    """Write all figures as one object; return the px per class."""
    table = measure(stored, options)
    document: dict[str, Any] = {
        "generator": generator(),
        "map": stored.path.name,
        "mpp": stored.spec.mpp,
        "stride": [float(stride) for stride in stored.spec.stride],
        **asdict(table),
    }
    target.write_text(json.dumps(document, indent=1, ensure_ascii=False), encoding="utf-8")
    return {row.name: row.pixels for row in table.classes}
