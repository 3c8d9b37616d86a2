"""How a TIFF is read: generic, BigTIFF, OME-TIFF, ImageJ, tiled or stripped.

The file is checked byte for byte before tifffile sees it (:mod:`tiff_directory`).  tifffile then
parses it once, in the opening thread, into planes that know where their segments are and how to
decode them; tifffile's handle, which no two threads may use, is closed again.  Reading needs only
positioned reads of the file and pure decoders, so a slide serves any number of threads.

Values are returned as stored, in native byte order: no inversion of min-is-white, no gamma, no
colour profile.  JPEG in YCbCr becomes RGB.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from tifffile import TiffFile

from gigafcn.errors import RunError, SlideError
from gigafcn.slide.fingerprint import hash_file
from gigafcn.slide.marks import Reading
from gigafcn.slide.protocol import Level, Pixels, cause, check_box, downsample_of
from gigafcn.slide.segments import SegmentCache
from gigafcn.slide.tiff_directory import check_tiff
from gigafcn.slide.tiff_metadata import tiff_channel_names, tiff_mpp
from gigafcn.slide.tiff_plane import ByteSource, Plane, RawPlane, Segments
from gigafcn.slide.tiff_series import choose_series, coarser_series, image_shape, planes_of

if TYPE_CHECKING:
    from tifffile import TiffPageSeries

    from gigafcn.geometry import Box


class TiffSlide:
    """A TIFF file of one 2-D image, with the levels of its pyramid."""

    def __init__(self, path: Path, *, name: str | None = None) -> None:
        check_tiff(path)
        self.name = path.stem if name is None else name
        self.source: str | None = str(path)
        try:
            with TiffFile(path, _multifile=False) as tif:
                self._parse(tif)
        except SlideError:
            raise
        # tifffile raises errors of many kinds on damaged files
        except Exception as error:
            raise SlideError(
                f"{path} cannot be opened as a TIFF: {cause(error)}; export it again"
            ) from error
        self._check_raw_planes(path)
        self._bytes: ByteSource | None = ByteSource(path)
        self.cache = SegmentCache()

    def _parse(self, tif: TiffFile) -> None:
        """Take what reading needs from the open file."""
        series = choose_series(tif, str(self.source))
        base, planes = image_shape(series), planes_of(series, str(self.source))
        assert series.keyframe.dtype is not None
        self.channels = sum(plane.samples for plane in planes)
        self.dtype = series.keyframe.dtype.newbyteorder("=")
        self.mpp = tiff_mpp(tif, series)
        self.channel_names = tiff_channel_names(tif, series, self.channels)
        levels, self._planes = [Level(base, (1.0, 1.0))], [planes]
        for coarser in coarser_series(tif, series):
            shape = image_shape(coarser)
            if not self._is_level(coarser, levels[-1].shape):
                continue
            levels.append(Level(shape, downsample_of(base, shape)))
            self._planes.append(planes_of(coarser, str(self.source)))
        self.levels = tuple(levels)

    def _is_level(self, series: TiffPageSeries, above: tuple[int, int]) -> bool:
        """Whether a series continues the pyramid: smaller, with the same kind of pixels."""
        shape, keyframe = image_shape(series), series.keyframe
        values = math.prod(int(size) for size in series.get_shape(False))
        return (
            keyframe.dtype is not None
            and keyframe.dtype == self.dtype
            and values == math.prod(shape) * self.channels
            and shape[0] <= above[0]
            and shape[1] <= above[1]
            and shape != above
        )

    def _check_raw_planes(self, path: Path) -> None:
        """Refuse uncompressed pixels that end beyond the file."""
        size = path.stat().st_size
        raw = (p for planes in self._planes for p in planes if isinstance(p, RawPlane))
        needed = max((plane.end for plane in raw), default=0)
        if needed > size:
            raise SlideError(
                f"{path} is truncated: its pixels end at byte {needed} but it has only {size}, "
                f"so {needed - size} bytes are missing; copy or export the file again"
            )

    def read(self, box: Box, level: int = 0) -> Pixels:
        """Pixels of ``box`` at ``level``, (y, x, c).

        Raises
        ------
        RunError
            If the file cannot be read or a segment cannot be decoded.
        """
        check_box(self.name, self.levels, box, level)
        if self._bytes is None:
            raise RunError(f"slide {self.source} is closed; open it again to read from it")
        out = np.empty((*box.shape, self.channels), self.dtype)
        if box.is_empty:
            return out
        planes: tuple[Plane, ...] = self._planes[level]
        self.cache.reserve(sum(plane.row_bytes(box) for plane in planes))
        first = 0
        try:
            for number, plane in enumerate(planes):
                target = out[:, :, first : first + plane.samples]
                plane.read_into(target, box, self._bytes, Segments(self.cache, (level, number)))
                first += plane.samples
        # codecs raise errors of many kinds
        except Exception as error:
            raise RunError(
                f"cannot read {self.source}, level {level}, box {tuple(box)} (y0, x0, y1, x1): "
                f"{cause(error)}; the file is damaged there"
            ) from error
        return out

    def look(self, box: Box, level: int = 0) -> Reading:
        """As :meth:`read`."""
        return Reading(self.read(box, level))

    def fingerprint(self) -> str:
        """SHA-256 of the file, sampled when it is large."""
        return hash_file(Path(str(self.source)))

    def close(self) -> None:
        """Close the file and forget decoded segments."""
        if self._bytes is not None:
            self._bytes.close()
        self._bytes = None
        self.cache.clear()
