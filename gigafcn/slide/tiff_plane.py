"""How a box of one TIFF page becomes pixels.

A plane is what one page, or one sample of a planar page, adds to a level: a few channels over the
level's whole size.  Uncompressed contiguous planes are read row by row straight from the file, so
a single strip as large as the slide costs no more than its part.  All others are a grid of
segments (tiles or strips): those that meet the box are read, decoded by tifffile's decoder for the
page and kept in the cache; the others are never touched.  Segments that are absent from the file
(offset or byte count 0) hold the page's fill: GDAL's "no data" value, white in pictures, else 0.

A segment that cannot be decoded, or that lies beyond the end of a file that was cut short, does not
keep the others from being read: the caller's :class:`Holes` take note of it.

Planes hold no file handle, and decoders are pure functions, so any thread may use them.
"""

from __future__ import annotations

import math
import os
import threading
import weakref
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from gigafcn.doing import Doing, during
from gigafcn.geometry import Box
from gigafcn.slide.codestream import declared_shape
from gigafcn.slide.marks import Mark, is_of_the_system
from gigafcn.slide.segments import SegmentCache, meeting
from gigafcn.storage.retrying import persistently
from gigafcn.storage.url_path import UrlPath, size_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from gigafcn.slide.marks import Holes
    from gigafcn.slide.protocol import Pixels

_ROWS_BYTES = 16 << 20
"""Most bytes of raw rows read at once."""

_MOST_STREAM_EXCESS = 4
"""A stream may declare this many times its segment's pixels (padding), not more."""

Integers: TypeAlias = np.ndarray[tuple[int], np.dtype[np.int64]]


class ByteSource:
    """Bytes of one file at any offset, for any number of threads."""

    def __init__(self, path: Path) -> None:
        self._url = path if isinstance(path, UrlPath) else None
        self._file = path.open("rb", buffering=0)
        self.size = size_of(path)
        # A forgotten slide closes its file when it is collected, as OpenSlide's handles do.
        weakref.finalize(self, self._file.close)
        self._lock = threading.Lock()

    def read(self, offset: int, count: int) -> bytes:
        """Exactly ``count`` bytes from ``offset`` on.

        Raises
        ------
        EOFError
            If the file ends before.
        """
        parts: list[bytes] = []
        with during(Doing.READING_BYTES):
            while count > 0:
                part = persistently(partial(self._some, offset, count))
                if not part:
                    raise EOFError(f"the file ends {count} bytes early, at byte {offset}")
                parts.append(part)
                offset, count = offset + len(part), count - len(part)
        return b"".join(parts)

    def _some(self, offset: int, count: int) -> bytes:
        """Read up to ``count`` bytes without moving a shared position where the system allows."""
        if self._url is not None:
            return self._url.read_range(offset, min(count, max(0, self.size - offset)))
        if hasattr(os, "pread"):
            return os.pread(self._file.fileno(), count, offset)
        with self._lock:
            self._file.seek(offset)
            return self._file.read(count) or b""

    def close(self) -> None:
        """Close the file."""
        self._file.close()


@dataclass(frozen=True, slots=True)
class RawPlane:
    """Uncompressed pixels in one run of bytes, row after row."""

    shape: tuple[int, int]
    """Height and width in px."""

    samples: int
    """Channels, interleaved."""

    dtype: np.dtype[Any]
    """Type as stored, with its byte order."""

    offset: int
    """First byte in the file."""

    blank: float = 0
    """Value of px that cannot be read."""

    @property
    def end(self) -> int:
        """Byte after the last one."""
        return self.offset + math.prod(self.shape) * self._pixel_bytes

    @property
    def _pixel_bytes(self) -> int:
        return self.samples * self.dtype.itemsize

    def some_within(self, size: int) -> bool:
        """Whether a file of so many bytes holds a row."""
        return size >= self.offset + self.shape[1] * self._pixel_bytes

    @property
    def decoded_rows(self) -> int:
        """See :class:`gigafcn.slide.protocol.Level`."""
        return 0

    def row_bytes(self, box: Box) -> int:
        """Bytes of cache that a sweep over ``box`` needs: none, rows are read as they are."""
        return 0

    def read_into(
        self, out: Pixels, box: Box, source: ByteSource, cache: Segments, holes: Holes
    ) -> None:
        """Fill ``out`` (y, x, c) with ``box``, as far as the file reaches."""
        there = max(0, source.size - self.offset) // (self.shape[1] * self._pixel_bytes)
        if there < self.shape[0]:
            missing = Box(there, 0, *self.shape)
            if not missing.intersect(box).is_empty:
                error = EOFError(f"the file ends {self.end - source.size} bytes early")
                holes.fail(missing, error)
                out[max(0, there - box.y0) :] = self.blank
                box = box._replace(y1=max(box.y0, min(box.y1, there)))
        width = self.shape[1]
        if 2 * box.x.size < width:
            for y in range(box.y0, box.y1):
                out[y - box.y0] = self._pixels(source, y * width + box.x0, (1, box.x.size))[0]
            return
        step = max(1, _ROWS_BYTES // (width * self._pixel_bytes))
        for y in range(box.y0, box.y1, step):
            rows = min(step, box.y1 - y)
            whole = self._pixels(source, y * width, (rows, width))
            out[y - box.y0 : y - box.y0 + rows] = whole[:, box.x0 : box.x1]

    def _pixels(self, source: ByteSource, first: int, shape: tuple[int, int]) -> Pixels:
        data = source.read(
            self.offset + first * self._pixel_bytes, math.prod(shape) * self._pixel_bytes
        )
        return np.frombuffer(data, self.dtype).reshape(*shape, self.samples)


@dataclass(frozen=True, slots=True)
class SegmentPlane:
    """Pixels in a grid of separately stored segments."""

    shape: tuple[int, int]
    """Height and width in px."""

    samples: int
    """Channels of each segment, interleaved."""

    dtype: np.dtype[Any]
    """Type of the decoded values."""

    segment: tuple[int, int]
    """Height and width of a segment in px."""

    offsets: Integers
    """First byte of each segment, row-major."""

    counts: Integers
    """Encoded bytes of each segment, 0 when it is absent."""

    decode: Callable[[bytes, int], Pixels]
    """Pixels (y, x, c) of the segment with the given index; may lack rows beyond the edge."""

    fill: float
    """Value of absent segments."""

    absent: Mark
    """What absent segments are."""

    blank: float = 0
    """Value of px that cannot be read."""

    @property
    def absent_count(self) -> int:
        """Segments that the file leaves out."""
        return int(((self.counts == 0) | (self.offsets == 0)).sum())

    def some_within(self, size: int) -> bool:
        """Whether a file of so many bytes holds any segment, or all are absent."""
        stored = (self.counts > 0) & (self.offsets > 0)
        return not stored.any() or bool((stored & (self.offsets + self.counts <= size)).any())

    @property
    def segment_bytes(self) -> int:
        """Decoded bytes of one segment."""
        return math.prod(self.segment) * self.samples * self.dtype.itemsize

    @property
    def decoded_rows(self) -> int:
        """See :class:`gigafcn.slide.protocol.Level`."""
        return self.segment[0]

    def row_bytes(self, box: Box) -> int:
        """Decoded bytes of one row of segments under ``box``."""
        return len(meeting(box.x, self.segment[1])) * self.segment_bytes

    def read_into(
        self, out: Pixels, box: Box, source: ByteSource, cache: Segments, holes: Holes
    ) -> None:
        """Fill ``out`` (y, x, c) with ``box``, decoding only what meets it."""
        height, width = self.segment
        across = -(-self.shape[1] // width)
        for row in meeting(box.y, height):
            for column in meeting(box.x, width):
                index = row * across + column
                whole = Box(0, 0, height, width).shift(row * height, column * width)
                part = whole.intersect(box)
                target = out[part.relative_to(box)]
                if self.counts[index] == 0 or self.offsets[index] == 0:
                    target[...] = self.fill
                    holes.add(whole, self.absent)
                    continue
                try:
                    target[...] = self._segment(index, source, cache)[part.relative_to(whole)]
                # codecs raise errors of many kinds
                except Exception as error:
                    if is_of_the_system(error):
                        raise
                    target[...] = self.blank
                    holes.fail(whole.clip(self.shape), error)

    def _segment(self, index: int, source: ByteSource, cache: Segments) -> Pixels:
        """Decoded segment, from the cache if it is there."""
        held = cache.get(index)
        if held is not None:
            return held
        data = source.read(int(self.offsets[index]), int(self.counts[index]))
        with during(Doing.DECODING):
            segment = self.decode(data, index)
        if segment.dtype != self.dtype or segment.shape[2] != self.samples:
            raise ValueError(
                f"segment {index} decodes to {segment.shape[2]} x {segment.dtype} per px, "
                f"the page declares {self.samples} x {self.dtype}"
            )
        cache.put(index, segment)
        return segment


@dataclass(frozen=True, slots=True)
class Segments:
    """The part of a slide's cache that belongs to one plane."""

    cache: SegmentCache[Pixels]
    plane: tuple[int, int]

    def get(self, index: int) -> Pixels | None:
        """Return the decoded segment if it is held."""
        return self.cache.get((self.plane, index))

    def put(self, index: int, segment: Pixels) -> None:
        """Hold a decoded segment."""
        self.cache.put((self.plane, index), segment)


Plane: TypeAlias = RawPlane | SegmentPlane


def check_stream(data: bytes, segment: tuple[int, int]) -> None:
    """Refuse an encoded stream that declares far more pixels than its segment.

    Raises
    ------
    ValueError
        With both sizes.
    """
    declared = declared_shape(data)
    if declared is not None and math.prod(declared) > _MOST_STREAM_EXCESS * math.prod(segment):
        raise ValueError(
            f"the stream declares {declared[0]} x {declared[1]} px (y, x) "
            f"in a segment of {segment[0]} x {segment[1]} px"
        )
