"""How a slide of a scanner vendor is read: SVS, NDPI, MRXS, SCN, BIF, DICOM and others.

OpenSlide returns colours with transparency; they are laid on the slide's background colour (white
where it names none) and returned as RGB uint8.  Label, macro and thumbnail are never opened.

Coordinates.  OpenSlide takes a region's corner in level-0 px and divides it by the level's
downsample.  Where that is a whole number, ``corner * downsample`` is exact and so is the read.
Where it is not (sizes of levels are rounded, 4.0003 is common), OpenSlide draws the region at a
fraction of a pixel with interpolation, so the same pixel would come out differently in each box.
Such levels, and formats whose tiles lie at fractions of a pixel, are therefore drawn on a fixed
grid of blocks and cut from there: a read stays a pure function of position, within half a level-0
px of the true place.

Errors latch: after one the handle answers nothing else.  OpenSlide allows threads to share a
handle, but then one thread's bad tile would fail another's good one; so each read takes a handle
from a pool for itself, and a failed one is closed instead of put back.  The decoded tiles are
shared between handles through one cache.
"""

from __future__ import annotations

from collections import deque
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import openslide
from PIL import Image, ImageColor

from gigafcn.errors import RunError, SlideError
from gigafcn.geometry import Box
from gigafcn.slide.fingerprint import hash_file
from gigafcn.slide.marks import Reading
from gigafcn.slide.mpp import parse_number, plausible_mpp
from gigafcn.slide.protocol import (
    Level,
    Pixels,
    cause,
    check_box,
    default_channel_names,
    downsample_of,
)
from gigafcn.slide.segments import SEGMENT_LIMIT_BYTES, SegmentCache, meeting

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

OLDEST_LIBRARY = (4, 0, 1)
"""First OpenSlide without known holes: CVE-2026-48977, CVE-2026-54604, swapped DICOM mpp."""

_CACHE_BYTES = 64 << 20
_LARGEST_PX = 4096
"""Side of the largest region asked of OpenSlide at once, which it holds as 4 bytes per px."""

_BLOCK_PX = 512
"""Side of a block of the fixed grid."""

_FRACTIONAL_VENDORS = {"mirax", "ventana"}
"""Formats that place tiles at fractions of a pixel even at level 0."""


class OpenSlideSlide:
    """A slide that OpenSlide knows."""

    def __init__(self, path: Path, *, name: str | None = None) -> None:
        _check_library()
        self._path = path
        self.name = path.stem if name is None else name
        self.source: str | None = str(path)
        self._idle: deque[openslide.OpenSlide] = deque()
        self._tiles = openslide.OpenSlideCache(_CACHE_BYTES)
        self._blocks = SegmentCache()
        self._closed = False
        handle = self._open()
        try:
            self._describe(handle)
        except openslide.OpenSlideError as error:
            handle.close()
            raise SlideError(f"{path} cannot be opened: {cause(error)}; export it again") from error
        self._idle.append(handle)

    def _describe(self, handle: openslide.OpenSlide) -> None:
        """Take sizes and properties from an open handle."""
        properties = handle.properties
        shapes = [(height, width) for width, height in handle.level_dimensions]
        _check_tiles(str(self._path), properties, len(shapes))
        self.levels = tuple(Level(shape, downsample_of(shapes[0], shape)) for shape in shapes)
        self.channels = 3
        self.channel_names = default_channel_names(3)
        self.dtype = np.dtype(np.uint8)
        self.mpp = plausible_mpp(
            parse_number(properties.get(openslide.PROPERTY_NAME_MPP_Y)),
            parse_number(properties.get(openslide.PROPERTY_NAME_MPP_X)),
        )
        self._hash = properties.get(openslide.PROPERTY_NAME_QUICKHASH1)
        background = properties.get(openslide.PROPERTY_NAME_BACKGROUND_COLOR, "ffffff")
        self._background = ImageColor.getrgb(f"#{background}")[:3]
        self._scales = tuple(float(scale) for scale in handle.level_downsamples)
        fractional = properties.get(openslide.PROPERTY_NAME_VENDOR) in _FRACTIONAL_VENDORS
        self._exact = tuple(scale.is_integer() and not fractional for scale in self._scales)

    def read(self, box: Box, level: int = 0) -> Pixels:
        """Pixels of ``box`` at ``level``, (y, x, 3) uint8.

        Raises
        ------
        RunError
            If OpenSlide cannot read the region; the next read starts with a fresh handle.
        """
        check_box(self.name, self.levels, box, level)
        out = np.empty((*box.shape, 3), np.uint8)
        size = _LARGEST_PX if self._exact[level] else _BLOCK_PX
        # Exact levels are split relative to the box, the others on the level's own grid.
        origin = (box.y0, box.x0) if self._exact[level] else (0, 0)
        local = box.shift(-origin[0], -origin[1])
        self._blocks.reserve(len(meeting(local.x, size)) * size * size * 3)
        for row in meeting(local.y, size):
            for column in meeting(local.x, size):
                y, x = row * size + origin[0], column * size + origin[1]
                whole = Box(y, x, y + size, x + size).clip(self.levels[level].shape)
                part = whole.intersect(box)
                if self._exact[level]:
                    out[part.relative_to(box)] = self._region(part, level)
                else:
                    block = self._block(whole, level)
                    out[part.relative_to(box)] = block[part.relative_to(whole)]
        return out

    def _block(self, whole: Box, level: int) -> Pixels:
        """One block of the fixed grid, from the cache if it is there."""
        held = self._blocks.get((level, whole))
        if held is None:
            held = self._region(whole, level)
            self._blocks.put((level, whole), held)
        return held

    def _region(self, box: Box, level: int) -> Pixels:
        """Ask OpenSlide for one region and lay it on the background."""
        scale = self._scales[level]
        corner = (round(box.x0 * scale), round(box.y0 * scale))
        with self._handle(box, level) as handle:
            region = handle.read_region(corner, level, (box.x.size, box.y.size))
        if region.getchannel("A").getextrema() == (255, 255):
            return np.asarray(region.convert("RGB"))
        flat = Image.new("RGB", region.size, self._background)
        flat.paste(region, mask=region)
        return np.asarray(flat)

    @contextmanager
    def _handle(self, box: Box, level: int) -> Iterator[openslide.OpenSlide]:
        """Lend a handle to one read; a handle that failed is not lent again."""
        if self._closed:
            raise RunError(f"slide {self.source} is closed; open it again to read from it")
        try:
            handle = self._idle.pop()
        except IndexError:
            try:
                handle = self._open()
            except SlideError as error:
                raise RunError(str(error)) from error
        try:
            yield handle
        except openslide.OpenSlideError as error:
            handle.close()
            raise RunError(
                f"cannot read {self.source}, level {level}, box {tuple(box)} (y0, x0, y1, x1): "
                f"{cause(error)}; the file is damaged there"
            ) from error
        self._put_back(handle)

    def _put_back(self, handle: openslide.OpenSlide) -> None:
        """Keep a handle for the next read, unless the slide was closed meanwhile."""
        if self._closed:
            handle.close()
        else:
            self._idle.append(handle)

    def _open(self) -> openslide.OpenSlide:
        try:
            handle = openslide.OpenSlide(self._path)
        except (openslide.OpenSlideError, OSError) as error:
            raise SlideError(
                f"{self._path} cannot be opened: {cause(error)}; export it again"
            ) from error
        handle.set_cache(self._tiles)
        return handle

    def look(self, box: Box, level: int = 0) -> Reading:
        """As :meth:`read`."""
        return Reading(self.read(box, level))

    def fingerprint(self) -> str:
        """OpenSlide's quick hash, or a hash of the file for formats without one."""
        return hash_file(self._path) if self._hash is None else f"openslide:{self._hash}"

    def close(self) -> None:
        """Close all idle handles; one that is reading is closed when it is dropped."""
        self._closed = True
        self._blocks.clear()
        while self._idle:
            self._idle.pop().close()


def detect_vendor(path: Path) -> str | None:
    """OpenSlide's name for the format of a file, None when it does not know it."""
    try:
        vendor = openslide.OpenSlide.detect_format(path)
    except (openslide.OpenSlideError, OSError):
        return None
    return None if vendor is None else str(vendor)


def _check_library() -> None:
    """Refuse an OpenSlide library with known holes."""
    version = tuple(int(part) for part in openslide.__library_version__.split(".")[:3])
    if version < OLDEST_LIBRARY:
        raise SlideError(
            f"OpenSlide {openslide.__library_version__} is older than "
            f"{'.'.join(map(str, OLDEST_LIBRARY))}; run: pip install 'openslide-bin>=4.0.1'"
        )


def _check_tiles(path: str, properties: Mapping[str, str], levels: int) -> None:
    """Refuse a level stored as one giant tile, as NDPI without restart markers is."""
    for level in range(levels):
        height, width = (
            int(properties.get(f"openslide.level[{level}].tile-{side}", 0))
            for side in ("height", "width")
        )
        if 4 * height * width > SEGMENT_LIMIT_BYTES:
            raise SlideError(
                f"{path} stores level {level} as tiles of {height} x {width} px (y, x), more than "
                f"{SEGMENT_LIMIT_BYTES >> 20} MiB decoded; convert it to a TIFF tiled by 512 px"
            )
