"""Whether all bytes are there that a TIFF refers to, and what it declares is believable.

A plain walk over the image file directories, before any library sees the file: the first directory
with its tables must end within the file, and every page must list as many segments as its size
needs.  A file that is cut off behind that has pixels left to read; how many bytes it lacks is said.
Nothing is decoded and nothing larger than the file's own tables is allocated.

What is counted against the limit of 10 000 : 1.  A page's decoded bytes are compared with its
stored bytes over the segments that are stored: segments with byte count 0 are legitimately absent
from sparse slides and cost nothing, and a blank page can be tiny (deflate reaches 1 000 : 1, JPEG
250 : 1), so neither the page's full size nor the file's size says anything by itself.  A page that
lists fewer segments than its size needs is refused whatever they hold; since each listed segment
takes bytes in the tables, the page's size is bounded by the file's in every case.

Left out: NDPI above 4 GiB, which hides 64-bit offsets in 32-bit fields (OpenSlide checks those),
tags that gigafcn does not use, and pages without dimensions.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, TypeAlias

import numpy as np

from gigafcn.errors import SlideError
from gigafcn.storage.url_path import size_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

RATIO_LIMIT = 10_000
"""Most decoded bytes that one stored byte may stand for."""

_DIRECTORY_LIMIT = 100_000
_TAG_LIMIT = 4096
_NDPI_TAG = 65420

_TYPES = {1: "u1", 3: "u2", 4: "u4", 13: "u4", 16: "u8", 18: "u8"}
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
_SIZES |= {16: 8, 17: 8, 18: 8}

WIDTH, LENGTH, BITS, COMPRESSION = 256, 257, 258, 259
STRIP_OFFSETS, SAMPLES, ROWS_PER_STRIP, STRIP_COUNTS = 273, 277, 278, 279
PLANAR, TILE_WIDTH, TILE_LENGTH, TILE_OFFSETS, TILE_COUNTS, SUB_IFDS = 284, 322, 323, 324, 325, 330
JPEG_TABLES = 347
_NUMBERS = {WIDTH, LENGTH, BITS, COMPRESSION, STRIP_OFFSETS, SAMPLES, ROWS_PER_STRIP, STRIP_COUNTS}
_NUMBERS |= {PLANAR, TILE_WIDTH, TILE_LENGTH, TILE_OFFSETS, TILE_COUNTS, SUB_IFDS}

Numbers: TypeAlias = np.ndarray[tuple[int], np.dtype[np.uint64]]
Tags: TypeAlias = dict[int, Numbers]

_NOTHING: Numbers = np.empty(0, np.uint64)
_HUGE = 1 << 62
"""Offsets and counts are capped here so that their sum cannot wrap around."""


@dataclass(frozen=True, slots=True)
class _Layout:
    """Field sizes of one flavour of TIFF."""

    order: str
    big: bool

    @property
    def offset(self) -> str:
        return self.order + ("Q" if self.big else "I")

    @property
    def tag_count(self) -> str:
        return self.order + ("Q" if self.big else "H")

    @property
    def tag(self) -> str:
        return self.order + ("HHQ8s" if self.big else "HHI4s")


class _Incomplete(Exception):
    """A read past the file's end."""


class _Walk:
    """One pass over a TIFF's directories, noting the last byte that anything refers to."""

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self.path = path
        self.file = file
        self.size = size_of(path)
        self.needed = 8
        self.is_ndpi = False

    def bytes_at(self, offset: int, count: int) -> bytes:
        """Read ``count`` bytes, or note how far the file should have reached."""
        self.needed = max(self.needed, offset + count)
        if offset + count > self.size:
            raise _Incomplete
        self.file.seek(offset)
        return self.file.read(count)

    def fields_at(self, offset: int, fmt: str) -> tuple[int, ...]:
        """Read the numbers of one fixed structure."""
        return struct.unpack(fmt, self.bytes_at(offset, struct.calcsize(fmt)))

    def layout(self) -> tuple[_Layout, int]:
        """Flavour of the file and offset of its first directory."""
        order = "<" if self.bytes_at(0, 2) == b"II" else ">"
        (version,) = self.fields_at(2, order + "H")
        layout = _Layout(order, version == 43)
        return layout, self.fields_at(8 if layout.big else 4, layout.offset)[0]

    def directories(self) -> Iterator[Tags]:
        """Every directory of the chain and of the sub-directories below it."""
        layout, offset = self.layout()
        pending, seen = [offset], set[int]()
        while pending:
            offset = pending.pop()
            while offset and offset not in seen and len(seen) < _DIRECTORY_LIMIT:
                seen.add(offset)
                tags, offset = self._directory(layout, offset)
                pending.extend(int(sub) for sub in tags.get(SUB_IFDS, ()))
                yield tags

    def _directory(self, layout: _Layout, offset: int) -> tuple[Tags, int]:
        """Tags of one directory and the offset of the next."""
        (count,) = self.fields_at(offset, layout.tag_count)
        if count > _TAG_LIMIT:
            raise SlideError(
                f"{self.path} is damaged: its directory at byte {offset} lists {count} tags, "
                f"more than {_TAG_LIMIT}; copy or export the file again"
            )
        start = offset + struct.calcsize(layout.tag_count)
        step = struct.calcsize(layout.tag)
        table = self.bytes_at(start, count * step)
        tags: Tags = {}
        for code, kind, number, inline in struct.iter_unpack(layout.tag, table):
            self.is_ndpi |= code == _NDPI_TAG
            if code in _NUMBERS or code == JPEG_TABLES:
                raw = self._value(layout, kind, number, inline)
                if code in _NUMBERS and kind in _TYPES:
                    tags[code] = np.frombuffer(raw, layout.order + _TYPES[kind]).astype(np.uint64)
        return tags, self.fields_at(start + count * step, layout.offset)[0]

    def _value(self, layout: _Layout, kind: int, number: int, inline: bytes) -> bytes:
        """Bytes of one tag's value, inside the tag or where it points."""
        size = number * _SIZES.get(kind, 0)
        if size <= len(inline):
            return inline[:size]
        return self.bytes_at(struct.unpack(layout.offset, inline)[0], size)


@dataclass(frozen=True, slots=True)
class Lacks:
    """What a TIFF that can be read does not hold."""

    bytes: int = 0
    """Bytes that it refers to beyond its end, at least."""

    tiles: int = 0
    """Tiles or strips of the first page that it leaves out."""


def check_tiff(path: Path) -> Lacks:
    """What a TIFF lacks; nothing when it is whole.

    Raises
    ------
    SlideError
        If not even the first directory is there, or a page declares what cannot be.
    """
    with path.open("rb") as file:
        walk = _Walk(path, file)
        directories: list[Tags] = []
        try:
            for tags in walk.directories():
                if walk.is_ndpi and walk.size >= 1 << 32:
                    return Lacks()
                directories.append(tags)
                walk.needed = max(walk.needed, _last_byte(tags))
        except _Incomplete:
            pass
    for index, tags in enumerate(directories):
        _check_page(path, index, tags, walk.size)
    missing = max(0, walk.needed - walk.size)
    if missing and not directories:
        raise SlideError(
            f"{path} is truncated: it refers to bytes up to {walk.needed} but has only "
            f"{walk.size}, so {missing} bytes or more are missing; copy or export the file again"
        )
    return Lacks(missing, _absent(directories[0]) if directories else 0)


def _absent(tags: Tags) -> int:
    """Segments without bytes of their own."""
    offsets, counts = _segments(tags) or (_NOTHING, _NOTHING)
    both = min(offsets.size, counts.size)
    return int(((offsets[:both] == 0) | (counts[:both] == 0)).sum())


def _segments(tags: Tags) -> tuple[Numbers, Numbers] | None:
    """Offsets and byte counts of the page's tiles or strips; None for a page without any."""
    for offsets, counts in ((TILE_OFFSETS, TILE_COUNTS), (STRIP_OFFSETS, STRIP_COUNTS)):
        if offsets in tags:
            return tags[offsets], tags.get(counts, _NOTHING)
    return None


def _last_byte(tags: Tags) -> int:
    """End of the last segment stored in the file."""
    offsets, counts = _segments(tags) or (_NOTHING, _NOTHING)
    both = min(offsets.size, counts.size)
    offsets, counts = np.minimum(offsets[:both], _HUGE), np.minimum(counts[:both], _HUGE)
    ends = (offsets + counts)[(counts > 0) & (offsets > 0)]
    return int(ends.max(initial=0))


@dataclass(frozen=True, slots=True)
class _Page:
    """What one page declares."""

    length: int
    width: int
    segment: tuple[int, int]
    samples: int
    planes: int
    bits: int
    listed: int

    @staticmethod
    def of(tags: Tags, listed: int) -> _Page:
        """Read the tags, with the defaults of the TIFF specification."""

        def first(code: int, default: int) -> int:
            value = tags.get(code)
            return default if value is None or value.size == 0 else int(value[0])

        length, width = first(LENGTH, 0), first(WIDTH, 0)
        samples, separate = first(SAMPLES, 1), first(PLANAR, 1) == 2
        tiled = TILE_OFFSETS in tags
        rows = first(TILE_LENGTH, 0) if tiled else min(length, first(ROWS_PER_STRIP, length))
        return _Page(
            length=length,
            width=width,
            segment=(rows, first(TILE_WIDTH, 0) if tiled else width),
            samples=1 if separate else samples,
            planes=samples if separate else 1,
            bits=first(BITS, 1),
            listed=listed,
        )

    @property
    def needed(self) -> int:
        """Segments that the size needs."""
        down = math.ceil(self.length / self.segment[0])
        return down * math.ceil(self.width / self.segment[1]) * self.planes

    @property
    def segment_bytes(self) -> int:
        """Decoded bytes of one segment."""
        return self.segment[0] * self.segment[1] * self.samples * self.bits // 8

    def __str__(self) -> str:
        return (
            f"{self.length} x {self.width} px (y, x) of {self.samples * self.planes} x "
            f"{self.bits} bit in segments of {self.segment[0]} x {self.segment[1]} px"
        )


def _check_page(path: Path, index: int, tags: Tags, size: int) -> None:
    """Refuse a page whose segments cannot be what it declares."""
    segments = _segments(tags)
    if segments is None or WIDTH not in tags or LENGTH not in tags:
        return
    page = _Page.of(tags, segments[0].size)
    if 0 in (page.length, page.width, *page.segment, page.planes, page.samples):
        raise SlideError(f"{path} is damaged: page {index} declares {page}; export it again")
    remedy = "the header is damaged or the file is a decompression bomb: export it again"
    if page.listed < page.needed:
        raise SlideError(
            f"{path}: page {index} declares {page}, which needs {page.needed} segments, but lists "
            f"{page.listed} in a file of {size} bytes; {remedy}"
        )
    counts = np.minimum(segments[1], _HUGE >> 20)
    stored, declared = int(counts.sum()), int((counts > 0).sum()) * page.segment_bytes
    if declared > RATIO_LIMIT * stored:
        raise SlideError(
            f"{path}: page {index} declares {page}, {declared} bytes decoded from {stored} bytes "
            f"stored, above the limit of {RATIO_LIMIT}:1; {remedy}"
        )
