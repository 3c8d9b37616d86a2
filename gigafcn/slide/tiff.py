"""How a TIFF is read: generic, BigTIFF, OME-TIFF, ImageJ, tiled or stripped.

The file's directories are checked before tifffile sees it (:mod:`tiff_directory`).  tifffile then
parses it once, in the opening thread, into planes that know where their segments are and how to
decode them; tifffile's handle, which no two threads may use, is closed again.  Reading needs only
positioned reads of the file and pure decoders, so a slide serves any number of threads.

Values are returned as stored, in native byte order: no inversion of min-is-white, no gamma, no
colour profile.  YCbCr becomes RGB (:mod:`tiff_codecs`).
"""

from __future__ import annotations

import logging
import math
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from tifffile import TiffFile

from gigafcn.errors import RunError, SlideError, UsageError
from gigafcn.slide.declared import (
    Masks,
    by_alpha,
    by_masks,
    masks_beside,
    place_beside,
    refuse_without_data,
)
from gigafcn.slide.fingerprint import hash_file, hash_files
from gigafcn.slide.marks import Holes, Reading, with_no_data
from gigafcn.slide.ome_xml import read_ome
from gigafcn.slide.protocol import Level, Pixels, cause, check_box
from gigafcn.slide.pyramid import fits, is_reduced, level_of
from gigafcn.slide.segments import SegmentCache, meeting
from gigafcn.slide.tiff_directory import check_tiff
from gigafcn.slide.tiff_images import choose_series
from gigafcn.slide.tiff_metadata import (
    is_premultiplied,
    stated_factors,
    tiff_channel_names,
    tiff_traits,
)
from gigafcn.slide.tiff_plane import ByteSource, Plane, RawPlane, Segments
from gigafcn.slide.tiff_series import (
    choose_plane,
    coarser_series,
    image_shape,
    mask_planes,
    planes_of,
)
from gigafcn.slide.traits import Traits
from gigafcn.slide.wanted import ANYTHING
from gigafcn.storage.url_path import place_of, size_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from tifffile import TiffPageSeries

    from gigafcn.geometry import Box
    from gigafcn.slide.ome_xml import OmeView
    from gigafcn.slide.wanted import Wanted

log = logging.getLogger(__name__)

_TAG_SLACK = 0.01
"""Part that resolution tags may be off by: some writers round them to whole px per cm."""


class TiffSlide:
    """A TIFF file of one 2-D image, with the levels of its pyramid."""

    def __init__(self, path: Path, *, name: str | None = None, wanted: Wanted = ANYTHING) -> None:
        missing = check_tiff(path).bytes
        self.name = path.stem if name is None else name
        self.source: str | None = str(path)
        self.traits = Traits()
        try:
            with path.open("rb") as file:
                ome = read_ome(file, path)
                text = None if ome is None else ome.text
                file.seek(0)
                with TiffFile(file, omexml=text, _multifile=False) as tif:
                    self._parse(tif, ome, wanted)
        except (SlideError, UsageError):
            raise
        # tifffile raises errors of many kinds on damaged files
        except Exception as error:
            raise SlideError(
                f"{path} cannot be opened as a TIFF: {cause(error)}; export it again"
            ) from error
        self._check_end(path, missing)
        self._bytes: ByteSource | None = ByteSource(path)
        self.cache: SegmentCache[Pixels] = SegmentCache()
        self._masks = self._declared_masks(path)
        if self._masks is not None:
            self.traits = replace(self.traits, mask=self._masks.kind)
        if self.traits.mask is not None:
            refuse_without_data(self, "alpha" if self._masks is None else "its mask")

    def _parse(self, tif: TiffFile, ome: OmeView | None, wanted: Wanted) -> None:
        """Take what reading needs from the open file."""
        found, path = choose_series(tif, ome, str(self.source), wanted), str(self.source)
        series = found.series
        chosen = choose_plane(series, wanted.plane, path, named=tif.is_ome)
        planes = planes_of(series, chosen, path)
        assert series.keyframe.dtype is not None
        self.channels = sum(plane.samples for plane in planes)
        self.dtype = series.keyframe.dtype.newbyteorder("=")
        image = None if found.alone else found.entry.index
        self.traits = replace(tiff_traits(tif, series, planes, chosen), image=image)
        geo = self.traits.geo
        self.mpp = found.entry.mpp if geo is None else geo.px_um
        self.channel_names = tiff_channel_names(found.owner, self.channels, self.traits.alpha)
        self._premultiplied = is_premultiplied(series.keyframe)
        self._planes = [planes]
        self.levels: tuple[Level, ...] = (
            Level(image_shape(series), (1.0, 1.0), _decoded_rows(planes)),
        )
        for coarser in coarser_series(tif, series, found.before):
            if self._is_level(coarser, series):
                planes = planes_of(coarser, chosen, path)
                self.levels += (_level(series, coarser, planes, wanted),)
                self._planes.append(planes)
        self._mask_planes = mask_planes(tif, [at.shape for at in self.levels], path)

    def _declared_masks(self, path: Path) -> Masks | None:
        """Masks of the file itself, else of one beside it."""
        shapes = tuple(level.shape for level in self.levels)
        if self._mask_planes[0] is None:
            return masks_beside(path, shapes, TiffSlide)
        numbers = tuple(None if p is None else n for n, p in enumerate(self._mask_planes))
        return Masks("internal", shapes, numbers, self._look_at_mask)

    def _is_level(self, series: TiffPageSeries, base: TiffPageSeries) -> bool:
        """Whether a series continues the pyramid: the same image with fewer px of the same kind."""
        shape, keyframe, above = image_shape(series), series.keyframe, self.levels[-1].shape
        values, of_base = (math.prod(map(int, s.get_shape(False))) for s in (series, base))
        alike = (
            keyframe.dtype is not None
            and keyframe.dtype == self.dtype
            and values * math.prod(image_shape(base)) == of_base * math.prod(shape)
            and shape[0] <= above[0]
            and shape[1] <= above[1]
            and shape != above
        )
        if alike and not is_reduced(image_shape(base), shape):
            log.warning(
                "%s: its level of %d x %d px (y, x) is no smaller version of %d x %d px, so it is "
                "left out",
                self.source, *shape, *image_shape(base),
            )  # fmt: skip
            return False
        return alike

    def _check_end(self, path: Path, missing: int) -> None:
        """Say that a file was cut short; refuse it if nothing of its pixels is left."""
        if not missing:
            return
        self.traits = replace(self.traits, missing_bytes=missing)
        size = size_of(path)
        if not any(plane.some_within(size) for plane in self._planes[0]):
            raise SlideError(
                f"{path} is truncated: {missing} bytes or more are missing, and with them all of "
                f"its pixels; copy or export the file again"
            )
        log.warning("%s is truncated: %d bytes or more are missing", path, missing)

    def read(self, box: Box, level: int = 0) -> Pixels:
        """Pixels of ``box`` at ``level``, (y, x, c).

        Raises
        ------
        RunError
            If the file cannot be read or a segment cannot be decoded.
        """
        out, holes = self._filled(box, level, None)
        reason = holes.reason
        if self._masks is not None and self._masks.held(box, level).boxes:
            reason = reason or "its mask cannot be decoded"
        if reason:
            raise RunError(
                f"cannot read {self.source}, level {level}, box {tuple(box)} (y0, x0, y1, x1): "
                f"{reason}; the file is damaged there"
            )
        return out

    def look(self, box: Box, level: int = 0, channels: tuple[int, ...] | None = None) -> Reading:
        """As :meth:`read`, with what is absent or cannot be read marked."""
        wanted = tuple(range(self.channels)) if channels is None else channels
        alpha = self.traits.alpha if self.traits.mask == "alpha" else None
        read = wanted if alpha is None or alpha in wanted else (*wanted, alpha)
        out, holes = self._filled(box, level, read)
        reading = Reading(out, holes.marks, tuple(sorted(holes.failed)))
        blank = self._planes[level][0].blank
        if alpha is not None:
            place, premultiplied = read.index(alpha), self._premultiplied
            reading = by_alpha(reading, place, blank, premultiplied=premultiplied)
            pixels = np.ascontiguousarray(reading.pixels[:, :, : len(wanted)])
            reading = replace(reading, pixels=pixels)
        elif self._masks is not None:
            reading = by_masks(reading, self._masks, box, level, blank)
        declared = self.traits.mask is not None
        return with_no_data(reading, None if declared else self.traits.no_data)

    def _look_at_mask(self, box: Box, level: int) -> Reading:
        """Px of the mask of a level; what the file leaves out of it is 0."""
        plane = self._mask_planes[level]
        assert plane is not None
        assert self._bytes is not None
        out, holes = np.zeros((*box.shape, plane.samples), plane.dtype), Holes(box)
        segments = Segments(self.cache, (level, len(self._planes[level])))
        with self._saying_where(box, level):
            plane.read_into(out, box, self._bytes, segments, holes)
        return Reading(out, holes.marks, tuple(sorted(holes.failed)))

    def _filled(
        self, box: Box, level: int, channels: tuple[int, ...] | None
    ) -> tuple[Pixels, Holes]:
        """Pixels of some channels, or of all; planes without such a channel are not read."""
        check_box(self.name, self.levels, box, level)
        if self._bytes is None:
            raise RunError(f"slide {self.source} is closed; open it again to read from it")
        planes: tuple[Plane, ...] = self._planes[level]
        wanted = tuple(range(self.channels)) if channels is None else channels
        out, holes = np.empty((*box.shape, len(wanted)), self.dtype), Holes(box)
        mask = self._mask_planes[level]
        needed = [*planes, mask] if mask is not None else planes
        self.cache.reserve(sum(plane.row_bytes(box) for plane in needed))
        with self._saying_where(box, level):
            # All planes of a row of segments before the next row: the cache then needs one row.
            for part in _rows_of_segments(box, planes[0]):
                self._fill(out[part.relative_to(box)], part, level, wanted, holes)
        return out, holes

    @contextmanager
    def _saying_where(self, box: Box, level: int) -> Iterator[None]:
        """Name the box that a failing disk or network was asked for."""
        try:
            yield
        except (OSError, EOFError) as error:
            raise RunError(
                f"cannot read {self.source}, level {level}, box {tuple(box)} "
                f"(y0, x0, y1, x1): {cause(error)}; try again"
            ) from error

    def _fill(
        self, out: Pixels, box: Box, level: int, wanted: tuple[int, ...], holes: Holes
    ) -> None:
        """Fill an array (y, x, wanted channels) from the planes that hold them."""
        assert self._bytes is not None
        first = 0
        for number, plane in enumerate(self._planes[level]):
            own = range(first, first + plane.samples)
            first = own.stop
            places = [place for place, channel in enumerate(wanted) if channel in own]
            if not places:
                continue
            target = out[:, :, places[0] : places[-1] + 1]
            as_stored = wanted[places[0] : places[-1] + 1] == tuple(own)
            if not as_stored:
                target = np.empty((*box.shape, plane.samples), self.dtype)
            segments = Segments(self.cache, (level, number))
            plane.read_into(target, box, self._bytes, segments, holes)
            if not as_stored:
                out[:, :, places] = target[:, :, [wanted[place] - own.start for place in places]]

    def fingerprint(self) -> str:
        """SHA-256 of the file, sampled when it is large."""
        path = place_of(str(self.source))
        beside = self._masks is not None and self._masks.kind == "beside"
        return hash_files([path, place_beside(path)]) if beside else hash_file(path)

    def close(self) -> None:
        """Close the file and forget decoded segments."""
        if self._bytes is not None:
            self._bytes.close()
        self._bytes = None
        self.cache.clear()


def _rows_of_segments(box: Box, plane: Plane) -> list[Box]:
    """A box cut where one row of segments ends and the next begins."""
    if isinstance(plane, RawPlane) or box.is_empty:
        return [] if box.is_empty else [box]
    height = plane.segment[0]
    return [
        box._replace(y0=max(box.y0, row * height), y1=min(box.y1, (row + 1) * height))
        for row in meeting(box.y, height)
    ]


def _level(
    base: TiffPageSeries, series: TiffPageSeries, planes: Sequence[Plane], wanted: Wanted
) -> Level:
    """A coarser level: its size decides, unless its own resolution tags contradict it."""
    full, shape, rows = image_shape(base), image_shape(series), _decoded_rows(planes)
    stated = stated_factors(base.keyframe, series.keyframe)
    if stated is not None and fits(full, shape, stated, slack=_TAG_SLACK):
        stated = None  # a size tells more exactly than tags, whose numbers are rounded
    return level_of(full, shape, rows, stated, wanted.levels_from)


def _decoded_rows(planes: Iterable[Plane]) -> int:
    """Rows of the tallest segments that one read decodes."""
    return max(plane.decoded_rows for plane in planes)
