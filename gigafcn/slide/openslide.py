"""How a slide of a scanner vendor is read: SVS, NDPI, MRXS, SCN, BIF, DICOM and others.

OpenSlide returns colours with transparency; they are laid on the slide's background colour (white
where it names none) and returned as RGB uint8.  What is wholly transparent the scanner left out, or
its tile is missing: such px are marked.  Label, macro and thumbnail are never opened.

Blocks.  Every read goes through a fixed grid of blocks that are kept for a while, so that a sweep
in strips has each block decoded once.  Where stored tiles lie on a grid, blocks are whole tiles,
and no tile is decoded for two blocks.  OpenSlide takes a region's corner in level-0 px and divides
it by the level's downsample.  Where that is not a whole number (sizes of levels are rounded, 4.0003
is common), and in formats whose tiles lie at fractions of a px, OpenSlide draws the region with
interpolation; the fixed grid keeps a read a pure function of position, within half a level-0 px of
the true place.

Errors latch: after one the handle answers nothing else.  OpenSlide allows threads to share a
handle, but then one thread's bad tile would fail another's good one; so each read takes a handle
from a pool for itself, and a failed one is closed instead of put back.  A block that fails is read
again in halves, down to single tiles (or 32 px, where tiles lie anywhere), each with a handle that
has not failed: what fails then is damaged.
"""

from __future__ import annotations

import logging
from collections import deque
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import openslide
from PIL import Image, ImageColor

from gigafcn.errors import RunError, SlideError
from gigafcn.geometry import Box
from gigafcn.slide.fingerprint import hash_file
from gigafcn.slide.marks import Mark, Reading
from gigafcn.slide.mpp import mpp_of_properties
from gigafcn.slide.protocol import (
    Level,
    Pixels,
    cause,
    check_box,
    default_channel_names,
    downsample_of,
)
from gigafcn.slide.pyramid import is_reduced
from gigafcn.slide.segments import SegmentCache, meeting
from gigafcn.slide.traits import Traits, bounds_from

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

log = logging.getLogger(__name__)

OLDEST_LIBRARY = (4, 0, 1)
"""First OpenSlide without known holes: CVE-2026-48977, CVE-2026-54604, swapped DICOM mpp."""

TILE_LIMIT_BYTES = 256 << 20
"""Largest stored tile, as OpenSlide decodes it; it is decoded as a whole for any px of it."""

_CACHE_BYTES = 64 << 20
_BLOCK_PX = 512
"""Side of a block where tiles lie anywhere."""

_LEAST_PX = 128
"""Least side of a block, unless the level is smaller: stored tiles may be 8 px high."""

_BISECTED_PX = 32
"""Side of the smallest piece that is found damaged where tiles lie anywhere."""

_FRACTIONAL_VENDORS = {"mirax", "ventana"}
"""Formats that place tiles at fractions of a pixel even at level 0."""

_SAME_SHAPE = 0.02
"""Part that sides of a level may be off by: scanners that place tiles freely round more."""

_ICC_SIZE = "openslide.icc-size"
_BOUNDS = (
    openslide.PROPERTY_NAME_BOUNDS_Y,
    openslide.PROPERTY_NAME_BOUNDS_X,
    openslide.PROPERTY_NAME_BOUNDS_HEIGHT,
    openslide.PROPERTY_NAME_BOUNDS_WIDTH,
)


class _Damaged(Exception):
    """OpenSlide cannot read a region."""


@dataclass(frozen=True, slots=True)
class _Grid:
    """How a level is cut."""

    block: tuple[int, int]
    """Height and width in px of what is read and kept as one."""

    unit: tuple[int, int]
    """Height and width in px of the smallest part that can fail by itself; divides the block."""


@dataclass(frozen=True, slots=True)
class _Block:
    """Decoded pixels of one block."""

    pixels: Pixels
    marks: NDArray[np.uint8] | None
    failed: tuple[Box, ...] = ()
    reason: str = ""
    """Why the first of ``failed`` could not be read."""

    @property
    def nbytes(self) -> int:
        """Bytes it takes."""
        return self.pixels.nbytes + (0 if self.marks is None else self.marks.nbytes)


class OpenSlideSlide:
    """A slide that OpenSlide knows."""

    def __init__(self, path: Path, *, name: str | None = None) -> None:
        _check_library()
        self._path = path
        self.name = path.stem if name is None else name
        self.source: str | None = str(path)
        self._idle: deque[openslide.OpenSlide] = deque()
        self._tiles = openslide.OpenSlideCache(_CACHE_BYTES)
        self.cache: SegmentCache[_Block] = SegmentCache()
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
        self.channels = 3
        self.channel_names = default_channel_names(3)
        self.dtype = np.dtype(np.uint8)
        self.mpp = mpp_of_properties(properties)
        self._hash = properties.get(openslide.PROPERTY_NAME_QUICKHASH1)
        background = properties.get(openslide.PROPERTY_NAME_BACKGROUND_COLOR, "ffffff")
        self._background = ImageColor.getrgb(f"#{background}")[:3]
        self._scales = tuple(float(scale) for scale in handle.level_downsamples)
        vendor = properties.get(openslide.PROPERTY_NAME_VENDOR)
        shapes = _of_one_shape(str(self._path), shapes)
        self._grids = tuple(
            _grid(
                properties, level, regular=scale.is_integer() and vendor not in _FRACTIONAL_VENDORS
            )
            for level, scale in enumerate(self._scales[: len(shapes)])
        )
        self.levels = tuple(
            Level(shape, downsample_of(shapes[0], shape), grid.block[0])
            for shape, grid in zip(shapes, self._grids, strict=True)
        )
        bounds = bounds_from([properties.get(name) for name in _BOUNDS])
        if bounds is not None:
            bounds = bounds.intersect(Box.whole(shapes[0]))
        self.traits = Traits(
            f"openslide {vendor}",
            bounds=None if bounds is None or bounds.is_empty else bounds,
            icc_profile=bool(properties.get(_ICC_SIZE)),
        )

    def read(self, box: Box, level: int = 0) -> Pixels:
        """Pixels of ``box`` at ``level``, (y, x, 3) uint8.

        Raises
        ------
        RunError
            If OpenSlide cannot read the region; the next read starts with a fresh handle.
        """
        out = np.empty((*box.shape, 3), np.uint8)
        for block, whole, part in self._parts(box, level):
            failed = [bad for bad in block.failed if not bad.intersect(part).is_empty]
            if failed:
                raise RunError(
                    f"cannot read {self.source}, level {level}, box {tuple(box)} (y0, x0, y1, x1): "
                    f"{block.reason}; the file is damaged there"
                )
            out[part.relative_to(box)] = block.pixels[part.relative_to(whole)]
        return out

    def look(self, box: Box, level: int = 0, channels: tuple[int, ...] | None = None) -> Reading:
        """As :meth:`read`, with gaps and what cannot be read marked."""
        out = np.empty((*box.shape, 3), np.uint8)
        marks: NDArray[np.uint8] | None = None
        found: list[Box] = []
        for block, whole, part in self._parts(box, level):
            out[part.relative_to(box)] = block.pixels[part.relative_to(whole)]
            if block.marks is not None:
                marks = np.zeros(box.shape, np.uint8) if marks is None else marks
                marks[part.relative_to(box)] = block.marks[part.relative_to(whole)]
            found += [bad for bad in block.failed if not bad.intersect(part).is_empty]
        return Reading(out if channels is None else out[:, :, list(channels)], marks, tuple(found))

    def _parts(self, box: Box, level: int) -> Iterator[tuple[_Block, Box, Box]]:
        """Blocks that meet a box: pixels, place, and the part of the box within."""
        check_box(self.name, self.levels, box, level)
        if self._closed:
            raise RunError(f"slide {self.source} is closed; open it again to read from it")
        height, width = self._grids[level].block
        columns = meeting(box.x, width)
        self.cache.reserve(len(columns) * height * width * 4)
        for row in meeting(box.y, height):
            for column in columns:
                whole = Box(0, 0, height, width).shift(row * height, column * width)
                whole = whole.clip(self.levels[level].shape)
                part = whole.intersect(box)
                block = self.cache.get((level, whole))
                if block is None:
                    block = self._decoded(whole, level)
                    self.cache.put((level, whole), block)
                yield block, whole, part

    def _decoded(self, box: Box, level: int) -> _Block:
        """Read a block, in halves if it cannot be read at once."""
        for last in (False, True):
            try:
                return self._region(box, level)
            except _Damaged as error:
                halves = _halves(box, self._grids[level].unit)
                if halves:
                    return _joined(box, [(half, self._decoded(half, level)) for half in halves])
                # A network drive may have hiccuped: damaged is what fails twice.
                if last:
                    reason = str(error)
        pixels = np.empty((*box.shape, 3), np.uint8)
        pixels[...] = self._background
        return _Block(pixels, np.full(box.shape, Mark.FAILED, np.uint8), (box,), reason)

    def _region(self, box: Box, level: int) -> _Block:
        """Ask OpenSlide for one region and lay it on the background."""
        scale = self._scales[level]
        corner = (round(box.x0 * scale), round(box.y0 * scale))
        with self._handle() as handle:
            region = handle.read_region(corner, level, (box.x.size, box.y.size))
        alpha = region.getchannel("A")
        if alpha.getextrema() == (255, 255):
            return _Block(np.asarray(region.convert("RGB")), None)
        flat = Image.new("RGB", region.size, self._background)
        flat.paste(region, mask=region)
        gaps = (np.asarray(alpha) == 0).astype(np.uint8) * np.uint8(Mark.GAP)
        return _Block(np.asarray(flat), gaps if gaps.any() else None)

    @contextmanager
    def _handle(self) -> Iterator[openslide.OpenSlide]:
        """Lend a handle to one read; a handle that failed is not lent again."""
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
            raise _Damaged(cause(error)) from error
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

    def fingerprint(self) -> str:
        """OpenSlide's quick hash, or a hash of the file for formats without one."""
        return hash_file(self._path) if self._hash is None else f"openslide:{self._hash}"

    def close(self) -> None:
        """Close all idle handles; one that is reading is closed when it is dropped."""
        self._closed = True
        self.cache.clear()
        while self._idle:
            self._idle.pop().close()


def _of_one_shape(path: str, shapes: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Sizes of the levels up to the first that is no smaller version of level 0.

    OpenSlide takes every tiled page of some formats for a level.  Those beyond are left out too, so
    that the numbers of the others stay.
    """
    base = shapes[0]
    for level, shape in enumerate(shapes):
        ratio = (base[0] * shape[1]) / (base[1] * shape[0])
        if abs(ratio - 1) > _SAME_SHAPE and not is_reduced(base, shape):
            log.warning(
                "%s: level %d of %d x %d px (y, x) is no smaller version of %d x %d px: only its "
                "levels 0 to %d are used",
                path, level, *shape, *base, level - 1,
            )  # fmt: skip
            return shapes[:level]
    return shapes


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


def _tile(properties: Mapping[str, str], level: int) -> tuple[int, int]:
    """Height and width in px of a level's stored tiles, 0 when OpenSlide does not say."""
    height, width = (
        int(properties.get(f"openslide.level[{level}].tile-{side}", 0))
        for side in ("height", "width")
    )
    return height, width


def _grid(properties: Mapping[str, str], level: int, *, regular: bool) -> _Grid:
    """Blocks of whole tiles where tiles are said to lie on a grid, else of 512 px."""
    tile = _tile(properties, level)
    if not regular or 0 in tile:
        return _Grid((_BLOCK_PX, _BLOCK_PX), (_BISECTED_PX, _BISECTED_PX))
    height, width = (side * -(-_LEAST_PX // side) for side in tile)
    return _Grid((height, width), tile)


def _halves(box: Box, unit: tuple[int, int]) -> list[Box]:
    """Two parts of a box, cut on the grid of units across its longer side; none for one unit."""
    rows, columns = meeting(box.y, unit[0]), meeting(box.x, unit[1])
    if len(rows) >= len(columns) and len(rows) > 1:
        cut = (rows.start + len(rows) // 2) * unit[0]
        return [box._replace(y1=cut), box._replace(y0=cut)]
    if len(columns) > 1:
        cut = (columns.start + len(columns) // 2) * unit[1]
        return [box._replace(x1=cut), box._replace(x0=cut)]
    return []


def _joined(box: Box, parts: list[tuple[Box, _Block]]) -> _Block:
    """Put the halves of a block together."""
    pixels = np.empty((*box.shape, 3), np.uint8)
    marks = np.zeros(box.shape, np.uint8)
    for place, part in parts:
        pixels[place.relative_to(box)] = part.pixels
        if part.marks is not None:
            marks[place.relative_to(box)] = part.marks
    failed = tuple(bad for _, part in parts for bad in part.failed)
    reason = next((part.reason for _, part in parts if part.reason), "")
    return _Block(pixels, marks if marks.any() else None, failed, reason)


def _check_tiles(path: str, properties: Mapping[str, str], levels: int) -> None:
    """Refuse a level stored as one giant tile, as NDPI without restart markers is."""
    for level in range(levels):
        height, width = _tile(properties, level)
        if 4 * height * width > TILE_LIMIT_BYTES:
            raise SlideError(
                f"{path} stores level {level} as tiles of {height} x {width} px (y, x), which "
                f"must be decoded whole and take more than {TILE_LIMIT_BYTES >> 20} MiB each (an "
                f"NDPI without restart markers is one such tile); convert it to a tiled TIFF, for "
                f"instance: vips tiffsave FILE out.tif --tile --pyramid --compression jpeg"
            )
