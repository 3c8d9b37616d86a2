"""How a Zarr array or an OME-Zarr image is read, Zarr format 2 or 3.

Whole chunks are read, as many neighbours at once as are missing, turned to (y, x, c) and kept in
the slide's cache, so a sweep in strips decodes each chunk once.  Of a sharded array the inner
chunks count.  Chunks that are absent hold the array's fill value, as Zarr defines it.

Which image of a group is read says :mod:`zarr_images`.  Of a stack one plane is chosen by the
caller.  A chunk that cannot be decoded does not keep the others from being read.
"""

from __future__ import annotations

import json
import logging
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr
from zarr.storage import LocalStore

from gigafcn.errors import RunError, SlideError
from gigafcn.geometry import Box
from gigafcn.slide.array import hash_array
from gigafcn.slide.marks import Holes, Reading, is_of_the_system, with_no_data
from gigafcn.slide.protocol import (
    Level,
    Pixels,
    cause,
    check_box,
    check_dtype,
    default_channel_names,
)
from gigafcn.slide.pyramid import is_reduced, level_of
from gigafcn.slide.segments import SEGMENT_LIMIT_BYTES, SegmentCache, meeting, runs
from gigafcn.slide.traits import Traits
from gigafcn.slide.wanted import ANYTHING
from gigafcn.slide.zarr_axes import Axes
from gigafcn.slide.zarr_images import chosen_image, refuse_part
from gigafcn.storage.url_path import place_of
from gigafcn.storage.zarr_stores import PlacedStore, store_at

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gigafcn.slide.wanted import Wanted
    from gigafcn.slide.zarr_axes import Multiscale

log = logging.getLogger(__name__)

Array = zarr.Array[Any]

_HASH_WHOLE_BYTES = 64 << 20
_HASH_CHUNKS = 64


@dataclass(frozen=True, slots=True)
class _Band:
    """Channels of a level that are read together."""

    level: int
    first: int
    stop: int

    @property
    def channels(self) -> int:
        return self.stop - self.first


class ZarrSlide:
    """A Zarr array, or the pyramid of an OME-Zarr image."""

    def __init__(
        self,
        node: Array | zarr.Group,
        *,
        name: str = "slide",
        source: str | None = None,
        wanted: Wanted = ANYTHING,
    ) -> None:
        self.name = name
        self.source = source if source is not None else _local_path(node)
        where = self.source or f"zarr {node.path or '/'}"
        chosen = chosen_image(node, where, wanted)
        arrays, image = chosen.arrays, chosen.multiscale
        first = arrays[0]
        self._axes = _axes(first, image, where, wanted.plane)
        self._arrays = arrays = _together(arrays, image, self._axes, where)
        self._where = where
        for array in arrays:
            _check_array(array, first, self._axes, where)
        self.channels = 1 if self._axes.c is None else int(first.shape[self._axes.c])
        self.dtype = np.dtype(first.dtype).newbyteorder("=")
        self.levels = _levels(arrays, self._axes, image, wanted.levels_from)
        self.mpp = None if image is None else image.mpp(self._axes)
        names = () if image is None else image.channel_names
        named = len(names) == self.channels and all(names)
        self.channel_names = names if named else default_channel_names(self.channels)
        self.traits = Traits(
            f"zarr {first.metadata.zarr_format}" if image is None else f"ome-zarr {image.version}",
            plane=self._axes.plane,
            position=None if image is None else image.position(self._axes),
            image=chosen.index,
        )
        picture = self.channels == 3 and self.dtype == np.uint8
        self._blank = 255 if picture else 0
        self.cache: SegmentCache[Pixels] = SegmentCache()
        self._closed = False

    def read(self, box: Box, level: int = 0) -> Pixels:
        """Pixels of ``box`` at ``level``, (y, x, c).

        Raises
        ------
        RunError
            If a chunk cannot be read or decoded.
        """
        out, holes = self._filled(box, level, (0, self.channels))
        if holes.failed:
            raise RunError(
                f"cannot read {self._where}, level {level}, box {tuple(box)} (y0, x0, y1, x1): "
                f"{holes.reason}; the store is damaged there"
            )
        return out

    def look(self, box: Box, level: int = 0, channels: tuple[int, ...] | None = None) -> Reading:
        """As :meth:`read`, with what cannot be read marked; of channels, no others are read."""
        wanted = tuple(range(self.channels)) if channels is None else channels
        span = (min(wanted), max(wanted) + 1)
        out, holes = self._filled(box, level, span)
        if wanted != tuple(range(*span)):
            out = out[:, :, [channel - span[0] for channel in wanted]]
        return with_no_data(Reading(out, holes.marks, tuple(sorted(holes.failed))), None)

    def _filled(self, box: Box, level: int, span: tuple[int, int]) -> tuple[Pixels, Holes]:
        """Pixels of a run of channels."""
        check_box(self.name, self.levels, box, level)
        if self._closed:
            raise RunError(f"slide {self._where} is closed; open it again to read from it")
        band = _Band(level, *span)
        out, holes = np.empty((*box.shape, band.channels), self.dtype), Holes(box)
        height, width = self._chunk(level)
        columns = list(meeting(box.x, width))
        self.cache.reserve(len(columns) * height * width * band.channels * self.dtype.itemsize)
        try:
            for row in meeting(box.y, height):
                for column, chunk in self._chunks(band, row, columns, holes).items():
                    whole = Box(0, 0, *chunk.shape[:2]).shift(row * height, column * width)
                    part = whole.intersect(box)
                    out[part.relative_to(box)] = chunk[part.relative_to(whole)]
        # what is no hole; stores raise errors of many kinds
        except Exception as error:
            raise RunError(
                f"cannot read {self._where}, level {level}, box {tuple(box)} (y0, x0, y1, x1): "
                f"{cause(error)}; try again"
            ) from error
        return out, holes

    def _chunk(self, level: int) -> tuple[int, int]:
        """Height and width in px of a chunk."""
        chunks = self._arrays[level].chunks
        return int(chunks[self._axes.y]), int(chunks[self._axes.x])

    def _chunks(self, band: _Band, row: int, columns: list[int], holes: Holes) -> dict[int, Pixels]:
        """Decoded chunks of one row of chunks, by column."""
        found = {column: self.cache.get((band, row, column)) for column in columns}
        chunks = {column: chunk for column, chunk in found.items() if chunk is not None}
        for run in runs([column for column in columns if column not in chunks]):
            for column, chunk in self._run(band, row, run, holes).items():
                self.cache.put((band, row, column), chunk)
                chunks[column] = chunk
        for column in columns:
            if column not in chunks:
                place = self._place(band.level, row, range(column, column + 1))
                blank = np.full((*place.shape, band.channels), self._blank, self.dtype)
                chunks[column] = blank
        return chunks

    def _place(self, level: int, row: int, columns: range) -> Box:
        """Where some neighbouring chunks lie."""
        height, width = self._chunk(level)
        box = Box(row * height, columns.start * width, (row + 1) * height, columns.stop * width)
        return box.clip(self.levels[level].shape)

    def _run(self, band: _Band, row: int, columns: range, holes: Holes) -> dict[int, Pixels]:
        """Decode neighbouring chunks at once, or if that fails one by one."""
        place, width = self._place(band.level, row, columns), self._chunk(band.level)[1]
        try:
            pixels = self._decode(band, place)
        # stores and codecs raise errors of many kinds
        except Exception as error:
            if is_of_the_system(error):
                raise
            if len(columns) > 1:
                each = (range(column, column + 1) for column in columns)
                return {c: p for one in each for c, p in self._run(band, row, one, holes).items()}
            holes.fail(place, error)
            return {}
        # Copies, so that the cache does not keep the whole band alive.
        return {
            column: pixels[:, number * width : (number + 1) * width].copy()
            for number, column in enumerate(columns)
        }

    def _decode(self, band: _Band, box: Box) -> Pixels:
        """Read a box of the array itself as (y, x, c)."""
        array, axes = self._arrays[band.level], self._axes
        index: list[slice | int] = [0] * array.ndim
        for position, number in axes.fixed:
            index[position] = number
        index[axes.y] = slice(box.y0, box.y1)
        index[axes.x] = slice(box.x0, box.x1)
        if axes.c is not None:
            index[axes.c] = slice(band.first, band.stop)
        pixels = np.asarray(array[tuple(index)])
        kept = sorted(axis for axis in (axes.y, axes.x, axes.c) if axis is not None)
        if axes.c is None:
            pixels, kept = pixels[..., np.newaxis], [*kept, -1]
        order = (kept.index(axes.y), kept.index(axes.x))
        channel = ({0, 1, 2} - set(order)).pop()
        return pixels.transpose(*order, channel).astype(self.dtype, copy=False)

    def fingerprint(self) -> str:
        """SHA-256 of layout and pixels; of large images, of chunks spread evenly over level 0."""
        array = self._arrays[0]
        shape = self.levels[0].shape
        layout = json.dumps(
            [list(array.shape), str(self.dtype), list(array.chunks), self.mpp, *self._axes.fixed]
        )
        height, width = self._chunk(0)
        down, across = -(-shape[0] // height), -(-shape[1] // width)
        count = down * across
        if math.prod(shape) * self.channels * self.dtype.itemsize > _HASH_WHOLE_BYTES:
            count = min(count, _HASH_CHUNKS)
        parts = [np.frombuffer(layout.encode(), np.uint8)]
        for number in range(count):
            row, column = divmod(number * down * across // count, across)
            box = Box(0, 0, height, width).shift(row * height, column * width).clip(shape)
            digest = hash_array(self._decode(_Band(0, 0, self.channels), box))
            parts.append(np.frombuffer(digest.encode(), np.uint8))
        return hash_array(np.concatenate(parts))

    def close(self) -> None:
        """Forget decoded chunks; stores need no closing."""
        self._closed = True
        self.cache.clear()


def open_zarr(location: str, *, name: str, wanted: Wanted = ANYTHING) -> ZarrSlide:
    """Open a Zarr array or group at a path or URL.

    Raises
    ------
    SlideError
        If there is none, or it holds no image.
    """
    try:
        node = zarr.open(_store_of(location), mode="r")
    # stores raise errors of many kinds
    except Exception as error:
        raise SlideError(f"{location} cannot be opened as Zarr: {cause(error)}") from error
    refuse_part(location, wanted)
    return ZarrSlide(node, name=name, source=location, wanted=wanted)


def _store_of(location: str) -> PlacedStore | str:
    """A bucket's store; else what zarr makes of a path or URL."""
    place = place_of(location) if location.lower().startswith("s3:") else None
    return location if place is None else store_at(place)


def _local_path(node: Array | zarr.Group) -> str | None:
    """Where another process finds a node; None for stores in memory and the like."""
    store = node.store
    return str(store.root / node.path) if isinstance(store, LocalStore) else None


def _together(arrays: list[Array], image: Multiscale | None, axes: Axes, where: str) -> list[Array]:
    """The levels that show the same part of the world as level 0; the first that does not is said.

    Those beyond it are left out too, so that the numbers of the others stay.
    """
    if image is None:
        return arrays
    count, why = image.together(axes)
    base, *coarser = [(int(array.shape[axes.y]), int(array.shape[axes.x])) for array in arrays]
    for level, shape in enumerate(coarser[: count - 1], start=1):
        if image.scales[level] is None and not is_reduced(base, shape):
            sizes = f"{shape[0]} x {shape[1]} px (y, x) of {base[0]} x {base[1]} px"
            count, why = level, f"level {level} of unstated scale is no smaller version: {sizes}"
            break
    if count < len(arrays):
        log.warning(
            "%s: %s: only its levels 0 to %d are used", where, why, count - 1
        )  # fmt: skip
    return arrays[:count]


def _axes(array: Array, image: Multiscale | None, where: str, plane: Mapping[str, int]) -> Axes:
    """Names from OME-Zarr or the array itself, else sizes."""
    if image is not None:
        return Axes.named(where, image.names, array.shape, plane)
    names: Sequence[Any] | None = getattr(array.metadata, "dimension_names", None)
    if names is None:
        names = array.attrs.get("_ARRAY_DIMENSIONS")  # type: ignore[assignment]  # xarray's, format 2
    if names and all(isinstance(name, str) for name in names):
        return Axes.named(where, list(names), array.shape, plane)
    return Axes.guessed(where, array.shape, plane)


def _check_array(array: Array, first: Array, axes: Axes, where: str) -> None:
    """Refuse values that are not read, giant chunks and levels of another kind."""
    check_dtype(where, np.dtype(array.dtype))
    if 0 in array.shape:
        raise SlideError(f"{where} holds no pixel: its shape is {array.shape}; write it again")
    if array.ndim != first.ndim or array.dtype != first.dtype:
        raise SlideError(
            f"{where} has levels of {first.shape} {first.dtype} and {array.shape} {array.dtype}; "
            f"levels must share type and axes"
        )
    if axes.c is not None and array.shape[axes.c] != first.shape[axes.c]:
        raise SlideError(f"{where} has levels with different numbers of channels; write it again")
    decoded = math.prod(array.chunks) * np.dtype(array.dtype).itemsize
    if decoded > SEGMENT_LIMIT_BYTES:
        raise SlideError(
            f"{where} is stored in chunks of {decoded >> 20} MiB, above the limit of "
            f"{SEGMENT_LIMIT_BYTES >> 20} MiB; write it with chunks of 512 to 2048 px"
        )


def _levels(
    arrays: list[Array], axes: Axes, image: Multiscale | None, levels_from: str | None
) -> tuple[Level, ...]:
    """Shapes and downsamples; see :mod:`gigafcn.slide.pyramid`."""
    shapes = [(int(array.shape[axes.y]), int(array.shape[axes.x])) for array in arrays]
    scales = [None] * len(arrays) if image is None else [_at(s, axes) for s in image.scales]
    levels = []
    for array, shape, scale in zip(arrays, shapes, scales, strict=False):
        stated = None
        if scale is not None and scales[0] is not None:
            stated = (scale[0] / scales[0][0], scale[1] / scales[0][1])
        levels.append(level_of(shapes[0], shape, int(array.chunks[axes.y]), stated, levels_from))
    return tuple(levels)


def _at(scale: tuple[float, ...] | None, axes: Axes) -> tuple[float, float] | None:
    """Scale along (y, x); None unless both are sizes."""
    if scale is None or not all(0 < scale[axis] < math.inf for axis in (axes.y, axes.x)):
        return None
    return scale[axes.y], scale[axes.x]
