"""What a map looks like on disk, before its first pixel is known.

A :class:`MapSpec` fixes everything that workers must agree on: shapes, chunks, shards, value
type, physical scale.  It is plain data and travels as JSON.  All layout arithmetic is a pure
function of it: the levels of the pyramid, the shards of a level, the source shards of a coarser
one, the most objects and bytes that a finished store can have.

Scores are (c, y, x), of all classes or of some; labels are (y, x).  A map stores one or both.  An
inner chunk holds one class and ``chunk`` x ``chunk`` px; a shard holds all stored classes and
``shard`` x ``shard`` px and is one object.  Each coarser level is the one below
halved (rounded up), until the longer side is at most 512 px; labels have the same levels.  A
level that fits into one shard gets a shard just large enough.  How chunk and shard are chosen is
in :mod:`gigafcn.output.sizing`.

It leaves out values, files, and where a map came from: provenance is given at the end of a run.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from gigafcn.errors import UsageError
from gigafcn.geometry import Box
from gigafcn.output.label_codes import codes_of, label_dtype
from gigafcn.output.place import Place, check_grid
from gigafcn.output.spec_checks import COARSEST_PX, check_classes, check_layout

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

STATUS_CHUNK = 1024
"""Side of a chunk of the status array, in cells."""

# Most bytes that a codec may add: blosc's header per inner chunk, a crc32c per inner chunk, the
# shard's index (offset and size per inner chunk, one crc32c), and one metadata document.
_CHUNK_EXTRA_BYTES = 16 + 4 + 16
_SHARD_EXTRA_BYTES = 4
_DOCUMENT_BYTES = 4096


@dataclass(frozen=True, slots=True)
class MapLevel:
    """One level of the pyramid, scores and labels alike; level 0 is the finest."""

    shape: tuple[int, int]
    """Size (y, x) in px of this level."""

    factor: int
    """Level-0 px per px of this level, a power of two."""

    chunk: int
    """Side of an inner chunk in px of this level."""

    shard: int
    """Side of a shard in px of this level, a multiple of ``chunk``."""

    @property
    def grid(self) -> tuple[int, int]:
        """Number of shards (y, x)."""
        return _ceil_div(self.shape[0], self.shard), _ceil_div(self.shape[1], self.shard)

    def shard_box(self, index: tuple[int, int]) -> Box:
        """Pixels of the shard at ``index`` (y, x), clipped to the level."""
        y, x = index[0] * self.shard, index[1] * self.shard
        return Box(y, x, y + self.shard, x + self.shard).clip(self.shape)

    def shards_in(self, box: Box) -> list[tuple[int, int]]:
        """Indices (y, x) of the shards that hold a pixel of ``box``, row by row."""
        inside = box.clip(self.shape)
        if inside.is_empty:
            return []
        rows = range(inside.y0 // self.shard, _ceil_div(inside.y1, self.shard))
        columns = range(inside.x0 // self.shard, _ceil_div(inside.x1, self.shard))
        return [(y, x) for y in rows for x in columns]


@dataclass(frozen=True, slots=True)
class MapSpec:
    """Everything that fixes a map's store before the first tile is computed.

    Examples
    --------
    >>> spec = MapSpec(
    ...     shape=(1000, 1500), classes=("tissue",), colours=("2A9D8F",), dtype="uint8",
    ...     chunk=256, shard=1536, name="probabilities",
    ... )
    >>> [level.shape for level in map_levels(spec)]
    [(1000, 1500), (500, 750), (250, 375)]
    >>> MapSpec.from_json(spec.to_json()) == spec
    True
    """

    shape: tuple[int, int]
    """Size (y, x) of the map at level 0, in map px."""

    classes: tuple[str, ...]
    """Class names, one per channel, in the model's order."""

    colours: tuple[str, ...]
    """One ``RRGGBB`` per class, for viewers and pictures."""

    dtype: str
    """Type of the scores: uint8 (255 = probability 1), float16 or float32."""

    chunk: int
    """Side of an inner chunk in px: what a viewer fetches, and one cell of the status array."""

    shard: int
    """Side of a level-0 shard in px, a multiple of ``chunk``: one object, owned by one task."""

    mpp: tuple[float, float] | None = None
    """Micrometres (y, x) per *input* px of the model, None when unknown."""

    stride: tuple[Fraction, Fraction] = (Fraction(1), Fraction(1))
    """Input px (y, x) per map px; below 1 when the model enlarges."""

    offset: tuple[float, float] = (0.0, 0.0)
    """Input px (y, x) before the first map pixel's cell: lost margin, region origin."""

    labels: bool = False
    """Whether the argmax over all classes is stored too (the classes exclude each other)."""

    name: str = "map"
    """Name of the image within the store."""

    scores: tuple[int, ...] | None = None
    """Class numbers whose scores are stored, ascending: () for none, None for all."""

    place: Place | None = None
    """The model's input on the slide; None in maps of versions that did not say."""

    leaves_out: str = "nothing"
    """What the plan leaves out: "nothing", whole "chunks", or single "px" of computed chunks."""

    coded: bool = True
    """Whether labels say which px have no class; False in maps of gigafcn 0.1."""

    def __post_init__(self) -> None:
        check_layout(self)
        check_classes(self)
        check_grid(self.mpp, self.stride, self.offset)

    @property
    def label_dtype(self) -> str:
        """Type of the labels: uint8, or uint16 beyond 253 classes (256 in maps of gigafcn 0.1)."""
        if not self.coded:
            return "uint8" if len(self.classes) <= 256 else "uint16"
        return label_dtype(len(self.classes))

    @property
    def marks_computed(self) -> bool:
        """Whether an array of its own says which px were computed.

        Labels say it where they are stored, and floats by NaN.  Where nothing is left out on
        purpose, the status of chunks does: their px share none of a coarser level.
        """
        unseen = bool(self.stored) and self.dtype == "uint8" and not self.labels
        return unseen and self.coded and (self.leaves_out != "nothing" or self._beyond_chunks)

    @property
    def _beyond_chunks(self) -> bool:
        """Whether a px of the coarsest level may cover several chunks."""
        return max(self.shape) > self.chunk * COARSEST_PX

    @property
    def stored(self) -> tuple[int, ...]:
        """Class numbers whose scores are stored, in the order of the array's channels."""
        return tuple(range(len(self.classes))) if self.scores is None else self.scores

    @property
    def stored_classes(self) -> tuple[str, ...]:
        """Names of the same."""
        return tuple(self.classes[number] for number in self.stored)

    @property
    def status_shape(self) -> tuple[int, int]:
        """Cells (y, x) of the status array, one per level-0 chunk."""
        return _ceil_div(self.shape[0], self.chunk), _ceil_div(self.shape[1], self.chunk)

    def to_json(self) -> dict[str, Any]:
        """Return the spec as JSON values; fractions become strings such as ``"1/4"``."""
        place = {} if self.place is None else {"place": self.place.to_json()}
        newer = {"leaves_out": self.leaves_out, "coded": True} if self.coded else {}
        return {
            "shape": list(self.shape),
            "classes": list(self.classes),
            "colours": list(self.colours),
            "dtype": self.dtype,
            "chunk": self.chunk,
            "shard": self.shard,
            "mpp": None if self.mpp is None else list(self.mpp),
            "stride": [str(s) for s in self.stride],
            "offset": list(self.offset),
            "labels": self.labels,
            "name": self.name,
            "scores": None if self.scores is None else list(self.scores),
            **place,
            **newer,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> MapSpec:
        """Rebuild a spec from :meth:`to_json`.

        Raises
        ------
        UsageError
            When a field is missing, unknown or has a value that no spec can have.
        """
        expected = {f.name for f in fields(cls)}
        older = {"scores": None, "place": None, "leaves_out": "nothing", "coded": False}
        data = {**older, **data}
        if set(data) != expected:
            odd = ", ".join(sorted(set(data) ^ expected))
            raise UsageError(f"a map specification lacks or has unknown fields: {odd}")
        try:
            mpp, scores, place = data["mpp"], data["scores"], data["place"]
            values = {
                **data,
                "shape": tuple(data["shape"]),
                "classes": tuple(data["classes"]),
                "colours": tuple(data["colours"]),
                "mpp": None if mpp is None else tuple(float(v) for v in mpp),
                "stride": tuple(Fraction(s) for s in data["stride"]),
                "offset": tuple(float(v) for v in data["offset"]),
                "scores": None if scores is None else tuple(scores),
                "place": None if place is None else Place.from_json(place),
            }
            return cls(**values)
        except (TypeError, ZeroDivisionError) as error:
            raise UsageError(f"a map specification cannot be read: {error}") from error


def map_levels(spec: MapSpec) -> tuple[MapLevel, ...]:
    """Levels of the pyramid, finest first."""
    levels = [MapLevel(spec.shape, 1, spec.chunk, _shard_within(spec.shape, spec))]
    while max(levels[-1].shape) > COARSEST_PX:
        y, x = levels[-1].shape
        shape = (_ceil_div(y, 2), _ceil_div(x, 2))
        level = MapLevel(shape, 2 * levels[-1].factor, spec.chunk, _shard_within(shape, spec))
        levels.append(level)
    return tuple(levels)


def pyramid_shards(spec: MapSpec, level: int) -> list[tuple[int, int]]:
    """Indices (y, x) of all shards of ``level``, row by row: one task each when ``level`` > 0."""
    target = map_levels(spec)[level]
    return target.shards_in(Box.whole(target.shape))


def pyramid_tasks(spec: MapSpec) -> list[tuple[int, tuple[int, int]]]:
    """All pyramid tasks (level, index), each after the tasks whose shards it reads."""
    count = len(map_levels(spec))
    return [(k, index) for k in range(1, count) for index in pyramid_shards(spec, k)]


def source_shards(spec: MapSpec, level: int, index: tuple[int, int]) -> list[tuple[int, int]]:
    """Shards of ``level`` - 1 that must exist before the shard ``index`` of ``level`` is built."""
    levels = map_levels(spec)
    box = levels[level].shard_box(index)
    return levels[level - 1].shards_in(Box(*(2 * edge for edge in box)))


def shard_keys(spec: MapSpec, level: int, index: tuple[int, int]) -> tuple[str, ...]:
    """Keys within the store of the objects that hold a shard: of its scores, of its labels.

    Examples
    --------
    >>> spec = MapSpec((600, 600), ("a",), ("FF0000",), "uint8", 256, 512)
    >>> shard_keys(spec, 0, (1, 0))
    ('0/c/0/1/0',)
    """
    place = f"{index[0]}/{index[1]}"
    return tuple(
        f"{kind.path(level)}/c/{place}"
        if kind.planes is None
        else f"{kind.path(level)}/c/0/{place}"
        for kind in array_kinds(spec)
    )


def status_slices(spec: MapSpec, box: Box) -> tuple[slice, slice]:
    """Where the cells of ``box`` (whole chunks clipped to the map) lie in the status array."""
    inside = box.clip(spec.shape)
    return (
        slice(inside.y0 // spec.chunk, _ceil_div(inside.y1, spec.chunk)),
        slice(inside.x0 // spec.chunk, _ceil_div(inside.x1, spec.chunk)),
    )


@dataclass(frozen=True, slots=True)
class ArrayKind:
    """Scores, labels or which px were computed: one array per level."""

    path: Callable[[int], str]
    """Path inside the store, by level."""

    planes: int | None
    """Channels, or None for labels, which have no channel axis."""

    dtype: str

    fill: float
    """What px read that are not stored: NaN, no probability, left out."""


def array_kinds(spec: MapSpec) -> tuple[ArrayKind, ...]:
    """What a map stores: scores, then labels or else which px were computed."""
    blank = 0.0 if spec.dtype == "uint8" else math.nan
    scores = ArrayKind(scores_path, len(spec.stored), spec.dtype, blank)
    left_out = codes_of(spec.label_dtype).left_out if spec.coded else 0
    labels = ArrayKind(labels_path, None, spec.label_dtype, left_out)
    computed = ArrayKind(computed_path, None, "uint8", codes_of("uint8").left_out)
    return (
        (scores,) * bool(spec.stored) + (labels,) * spec.labels + (computed,) * spec.marks_computed
    )


def coded_kind(spec: MapSpec) -> ArrayKind | None:
    """The array that says px by px what has no class or was not computed; None if none does."""
    last = array_kinds(spec)[-1]
    return last if last.planes is None and spec.coded else None


def array_paths(spec: MapSpec) -> tuple[str, ...]:
    """Paths of all pixel arrays inside the store, scores before labels, finest first."""
    count = len(map_levels(spec))
    return tuple(kind.path(k) for kind in array_kinds(spec) for k in range(count))


def scores_path(level: int) -> str:
    """Path of the scores of ``level`` inside the store."""
    return str(level)


def labels_path(level: int) -> str:
    """Path of the labels of ``level`` inside the store."""
    return f"labels/classes/{level}"


def computed_path(level: int) -> str:
    """Path of what says which px of ``level`` were computed, inside the store."""
    return f"computed/{level}"


def count_objects(spec: MapSpec) -> int:
    """Objects (files) of a finished store in which nothing is background."""
    shards = sum(math.prod(level.grid) for level in map_levels(spec))
    arrays = len(array_paths(spec))
    groups = 3 if spec.labels else 1
    status_chunks = math.prod(_ceil_div(cells, STATUS_CHUNK) for cells in spec.status_shape)
    return shards * len(array_kinds(spec)) + arrays + groups + 1 + status_chunks


def store_bytes(spec: MapSpec) -> int:
    """Most bytes that a finished store can take: nothing compresses, nothing is background.

    Whole chunks are counted, since an edge chunk is stored at full size, with what codecs and
    indices may add.  Compression usually leaves a third to a half of it for uint8.
    """
    kinds = array_kinds(spec)
    planes = sum(kind.planes or 1 for kind in kinds)
    per_px = sum((kind.planes or 1) * np.dtype(kind.dtype).itemsize for kind in kinds)
    total = math.prod(spec.status_shape) + count_objects(spec) * _SHARD_EXTRA_BYTES
    for level in map_levels(spec):
        touched = math.prod(_ceil_div(size, level.chunk) for size in level.shape)
        stored = math.prod(level.grid) * (level.shard // level.chunk) ** 2
        total += touched * level.chunk**2 * per_px
        total += stored * planes * _CHUNK_EXTRA_BYTES
    return total + (len(array_paths(spec)) + 4) * _DOCUMENT_BYTES


def _ceil_div(a: int, b: int) -> int:
    return -(-a // b)


def _shard_within(shape: tuple[int, int], spec: MapSpec) -> int:
    return min(spec.shard, _ceil_div(max(shape), spec.chunk) * spec.chunk)
