"""The plan of a run: every choice that fixes its numbers and its work, as plain data."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from fractions import Fraction
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from gigafcn.geometry import Box, Span
from gigafcn.output.spec import MapSpec
from gigafcn.plan.map_geometry import MapGeometry
from gigafcn.plan.saving import stored_shape
from gigafcn.plan.tiles import tiles
from gigafcn.plan.tissue import Tissue
from gigafcn.plan.windows import Windows

if TYPE_CHECKING:
    from collections.abc import Mapping

Pair = tuple[int, int]
_ORIGIN = Box(0, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Scaling:
    """How stored pixels become the model's input: x = (stored * scale - mean) / std."""

    scale: float | tuple[float, ...]
    """One number for all channels, or one per channel."""

    mean: tuple[float, ...]
    """One number per channel, or one for all."""

    std: tuple[float, ...]
    """One number per channel, or one for all."""


@dataclass(frozen=True, slots=True)
class RunPlan:
    """Fixed before the first tile is computed; stored with the map."""

    geometry: MapGeometry
    spec: MapSpec
    """The store; its origin is the first pixel of ``box``."""

    box: Box
    """Part of the map that is computed, in map px."""

    level: int
    """Pyramid level that is read."""

    channels: tuple[int, ...]
    """Channels of the slide that the model sees, in its order."""

    scaling: Scaling
    activation: str
    """"none", "sigmoid", "softmax", or "exp" for logarithms of probabilities."""

    tile: Pair
    """Tile (y, x) in map px."""

    strip: int
    """Height of a strip in map px."""

    block: int
    """Width of a block in map px."""

    period: Pair
    """Output period (y, x) in map px, on whose multiples strips and blocks are cut."""

    precision: str
    """"fp32", "fp64", "bf16" or "fp16"."""

    device: str
    """"cpu", "cuda", "cuda:1" or "mps"."""

    threads: int
    """CPU threads of each worker."""

    mode: str = "exact"
    """"exact", "blend" or "patch"."""

    windows: Windows | None = None
    """Of blend and patch; None in exact mode."""

    pixel: tuple[Fraction, Fraction] = (Fraction(1), Fraction(1))
    """Level-0 px (y, x) of the slide per px of the image that the model sees."""

    output: str | int | None = None
    """Which output of a model with several, by name or index."""

    averaged: Pair = (1, 1)
    """Map px (y, x) per stored px."""

    rest: bool = False
    """Whether the last class is what the model's own leave of 1, known by labels alone."""

    meaning: str = ""
    """What the model's output is, and why."""

    tissue: Tissue | None = None
    """Chunks that are computed; None computes all."""

    kept: Tissue | None = None
    """Windows of patch, one per map px of the box, that are computed; None computes all."""

    lanes: int = 1
    """Columns that are computed side by side, sharing the threads out, where there is room."""

    lane: int = 1
    """Map px that each is wide at least."""

    def tiles(self) -> list[Box]:
        """Tiles to compute, in map px: all that show tissue."""
        every = list(tiles(self.box, self.tile))
        if self.tissue is None:
            return every
        cells = self.tissue.cells()
        return [tile for tile in every if cells[self.chunks(tile).relative_to(_ORIGIN)].any()]

    def chunks(self, tile: Box) -> Box:
        """Chunks (y, x) of the store that a tile, of whole chunks, holds."""
        inside = tile.shift(-self.box.y0, -self.box.x0)
        y, x = (self.spec.chunk * n for n in self.averaged)
        return Box(inside.y0 // y, inside.x0 // x, -(-inside.y1 // y), -(-inside.x1 // x))

    def parts(self, tile: Box) -> list[Box]:
        """Boxes of map px that are computed of a tile: all of it, or what shows tissue."""
        if self.tissue is None:
            return [tile]
        chunks = self.chunks(tile)
        y, x = (self.spec.chunk * n for n in self.averaged)
        found = []
        for place in self.tissue.boxes(chunks):
            part = Box(place.y0 * y, place.x0 * x, place.y1 * y, place.x1 * x)
            found.append(part.shift(self.box.y0, self.box.x0).intersect(tile))
        return found

    def kept_columns(self, row: int, columns: range) -> list[int]:
        """Windows of a row of patch, by map column, that are computed."""
        if self.kept is None:
            return list(columns)
        inside = Span(columns.start, columns.stop).intersect(self.box.x)
        cells = self.kept.cells()[row - self.box.y0, inside.relative_to(self.box.x0)]
        return [inside.start + int(index) for index in cells.nonzero()[0]]

    def columns(self, part: Box) -> list[Box]:
        """A part of a tile cut into columns of whole chunks that are computed side by side."""
        unit = self.spec.chunk * self.averaged[1]
        count = max(1, min(self.lanes, part.x.size // max(self.lane, unit)))
        cuts = [part.x0 + round(part.x.size * i / count / unit) * unit for i in range(count)]
        cuts.append(part.x1)
        return [Box(part.y0, a, part.y1, b) for a, b in pairwise(cuts)]

    @property
    def computed_share(self) -> float:
        """Part of the map that is computed, 0 to 1."""
        if self.kept is not None:
            return self.kept.share
        if self.tissue is None:
            return 1.0
        return sum(part.area for tile in self.tiles() for part in self.parts(tile)) / self.box.area

    @property
    def stored_tile(self) -> Pair:
        """Tile (y, x) in stored px."""
        return stored_shape(self.tile, self.averaged)

    def to_json(self) -> dict[str, Any]:
        """Plain values; fractions as strings."""
        plain = {f.name: getattr(self, f.name) for f in fields(self)}
        geometry = asdict(self.geometry)
        for name in ("stride", "offset"):
            geometry[name] = [str(s) for s in getattr(self.geometry, name)]
        plain["geometry"] = geometry
        plain["spec"] = self.spec.to_json()
        plain["pixel"] = [str(p) for p in self.pixel]
        for name in ("tissue", "kept"):
            found = getattr(self, name)
            plain[name] = None if found is None else found.to_json()
        plain["scaling"] = asdict(self.scaling)
        plain["windows"] = None if self.windows is None else self.windows.to_json()
        return {name: _listed(value) for name, value in plain.items()}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> RunPlan:
        """Inverse of :meth:`to_json`."""
        geometry = _tupled(data["geometry"])
        for name in ("stride", "offset"):
            geometry[name] = tuple(Fraction(s) for s in geometry[name])
        windows, tissue, kept = data["windows"], data["tissue"], data.get("kept")
        rest = _tupled(data) | {
            "geometry": MapGeometry(**geometry),
            "spec": MapSpec.from_json(data["spec"]),
            "scaling": Scaling(**_tupled(data["scaling"])),
            "box": Box(*data["box"]),
            "pixel": tuple(Fraction(p) for p in data["pixel"]),
            "tissue": None if tissue is None else Tissue.from_json(tissue),
            "kept": None if kept is None else Tissue.from_json(kept),
            "windows": None if windows is None else Windows.from_json(windows),
        }
        return cls(**rest)


def _tupled(data: Mapping[str, Any]) -> dict[str, Any]:
    """Lists as tuples, as the value types hold them."""
    return {name: tuple(v) if isinstance(v, list) else v for name, v in data.items()}


def _listed(value: Any) -> Any:
    """Tuples as lists, as JSON would return them."""
    if isinstance(value, tuple):
        return [_listed(item) for item in value]
    if isinstance(value, dict):
        return {name: _listed(item) for name, item in value.items()}
    return value
