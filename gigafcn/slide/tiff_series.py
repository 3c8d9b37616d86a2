"""Which pages of a TIFF are which channels of which level.

tifffile groups pages into series with named axes and finds their pyramid levels; here a series is
reduced to (y, x, c).  Samples and the axis C are channels.  An unnamed axis of pages (Q, I) is
taken for channels when it has at most 32 entries and nothing else is; time, depth and any other
axis longer than one are refused, because which plane was meant is the user's to say.  Of several
series the largest in pixels is the slide; labels, macros and thumbnails are never decoded.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import tifffile
from tifffile import TIFF, TiffFile, TiffFrame, TiffPage, TiffPageSeries

from gigafcn.errors import SlideError
from gigafcn.slide.array import MOST_CHANNELS
from gigafcn.slide.protocol import Pixels, check_dtype, downsample_of
from gigafcn.slide.segments import SEGMENT_LIMIT_BYTES
from gigafcn.slide.tiff_plane import Plane, RawPlane, SegmentPlane, check_stream

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_JPEG = {6, 7, 33007, 34892}
_JPEG_2000 = {33003, 33004, 33005, 34712}
_PALETTE, _YCBCR = 3, 6


def choose_series(tif: TiffFile, path: str) -> TiffPageSeries:
    """Return the largest series, checked to be one 2-D image.

    Raises
    ------
    SlideError
        If there is none, or what it holds cannot be read as (y, x, c).
    """
    candidates = [s for s in tif.series if "Y" in s.get_axes(False) and "X" in s.get_axes(False)]
    if not candidates:
        raise SlideError(f"{path} holds no image")
    series = max(candidates, key=lambda s: math.prod(image_shape(s)))
    if series.transform is not None:
        raise SlideError(
            f"{path} stores encoded {series.kind} values; convert it to a plain or OME-TIFF"
        )
    _check_axes(series, path, named=tif.is_ome)
    return series


def coarser_series(tif: TiffFile, series: TiffPageSeries) -> list[TiffPageSeries]:
    """Candidates for the levels below ``series``, largest first.

    tifffile finds levels that follow one another by one factor.  Pages marked as reduced images
    whose size is a whole fraction of the slide's are levels too, whatever factors lie between.
    """
    base, found = image_shape(series), list(series.levels[1:])
    known = {id(level) for level in (series, *found)}
    for other in tif.series:
        axes = other.get_axes(False)
        if id(other) in known or not ("Y" in axes and "X" in axes and other.keyframe.is_tiled):
            continue
        scale = downsample_of(base, image_shape(other))
        if other.keyframe.is_reduced and scale[0] == scale[1] and scale[0].is_integer():
            found.append(other)
    return sorted(found, key=lambda level: math.prod(image_shape(level)), reverse=True)


def image_shape(series: TiffPageSeries) -> tuple[int, int]:
    """Height and width in px."""
    sizes = dict(zip(series.get_axes(False), series.get_shape(False), strict=True))
    return int(sizes["Y"]), int(sizes["X"])


def planes_of(series: TiffPageSeries, path: str) -> tuple[Plane, ...]:
    """Planes of one level, in the order of their channels.

    Raises
    ------
    SlideError
        If pages are missing, or a page is of a kind that is not read.
    """
    keyframe = series.keyframe
    _check_page(keyframe, path)
    count = math.prod(series.get_shape(False)) // max(1, math.prod(keyframe.shape))
    if (keyframe.imagelength, keyframe.imagewidth) != image_shape(series) or count < 1:
        raise SlideError(
            f"{path}: pages of {keyframe.imagelength} x {keyframe.imagewidth} px (y, x) do not "
            f"make the declared image of {image_shape(series)} px; export it again"
        )
    pages = list(series)
    if len(pages) != count and series.dataoffset is not None:
        starts = (series.dataoffset + index * keyframe.nbytes for index in range(count))
        return tuple(plane for start in starts for plane in _raw_planes(keyframe, start))
    present = [page for page in pages if page is not None]
    if len(present) != count:
        raise SlideError(
            f"{path} has {len(present)} of the {count} planes that its metadata declares; "
            f"convert it to a single complete file"
        )
    return tuple(plane for page in present for plane in _page_planes(page, keyframe, path))


def _check_axes(series: TiffPageSeries, path: str, *, named: bool) -> None:
    """Refuse axes other than y, x and channels, and more than one axis of pages."""
    sizes = dict(zip(series.get_axes(False), series.get_shape(False), strict=True))
    long = {axis: size for axis, size in sizes.items() if size > 1 and axis not in "YXS"}
    unnamed = sizes.get("S", 1) == 1 and not (named and series.kind != "ome")
    for axis, size in long.items():
        is_channel = axis == "C" or (axis in "QI" and unnamed and size <= MOST_CHANNELS)
        if not is_channel or len(long) > 1:
            name = TIFF.AXES_NAMES.get(axis, axis)
            raise SlideError(
                f"{path} has axes {''.join(sizes)} of sizes {tuple(sizes.values())}; gigafcn reads "
                f"one 2-D image with channels: extract one plane of axis {axis} ({name})"
            )


def _check_page(page: TiffPage, path: str) -> None:
    """Refuse pixel types and colour models that are not read, and giant segments."""
    if page.dtype is None:
        raise SlideError(f"{path} holds {page.bitspersample} bit values of an unknown type")
    check_dtype(path, page.dtype)
    if page.photometric == _PALETTE:
        raise SlideError(f"{path} holds palette colours; convert it to RGB")
    if page.photometric == _YCBCR and page.compression not in _JPEG:
        raise SlideError(f"{path} holds YCbCr colours without JPEG compression; convert it to RGB")
    if len(page.dataoffsets) == 0:
        raise SlideError(f"{path} has a page without tiles or strips; export it again")
    decoded = math.prod(_segment_shape(page)) * _samples(page) * page.dtype.itemsize
    if not _is_raw(page) and decoded > SEGMENT_LIMIT_BYTES:
        kind = "tiles" if page.is_tiled else "strips"
        raise SlideError(
            f"{path} is stored in compressed {kind} of {decoded >> 20} MiB decoded, above the "
            f"limit of {SEGMENT_LIMIT_BYTES >> 20} MiB; convert it to a TIFF tiled by 512 px"
        )


def _samples(page: TiffPage) -> int:
    """Channels interleaved in a segment."""
    return int(page.samplesperpixel) if page.planarconfig == 1 else 1


def _segment_shape(page: TiffPage) -> tuple[int, int]:
    """Height and width of a segment in px."""
    if page.is_tiled:
        return int(page.tilelength), int(page.tilewidth)
    return int(page.rowsperstrip), int(page.imagewidth)


def _is_raw(page: TiffPage) -> bool:
    """Whether the pixels are one run of bytes in the file."""
    return page.is_final and page.dataoffsets[0] > 0 and page.databytecounts[0] > 0


def _raw_planes(page: TiffPage, start: int) -> list[Plane]:
    """Planes of an uncompressed contiguous page whose data begin at byte ``start``."""
    assert page.dtype is not None
    stored = page.dtype.newbyteorder(page.parent.byteorder)
    shape, samples = (int(page.imagelength), int(page.imagewidth)), _samples(page)
    plane_bytes = math.prod(shape) * samples * stored.itemsize
    planes = page.samplesperpixel // samples
    return [RawPlane(shape, samples, stored, start + i * plane_bytes) for i in range(planes)]


def _page_planes(page: TiffPage | TiffFrame, keyframe: TiffPage, path: str) -> list[Plane]:
    """Planes of one page; several when its samples are stored apart."""
    if _is_raw(keyframe) and page.dataoffsets[0] > 0:
        return _raw_planes(keyframe, int(page.dataoffsets[0]))
    assert keyframe.dtype is not None
    shape, segment = (int(keyframe.imagelength), int(keyframe.imagewidth)), _segment_shape(keyframe)
    samples = _samples(keyframe)
    each = -(-shape[0] // segment[0]) * -(-shape[1] // segment[1])
    offsets = np.asarray(page.dataoffsets, np.int64)
    counts = np.asarray(page.databytecounts, np.int64)
    planes = int(keyframe.samplesperpixel) // samples
    if min(offsets.size, counts.size) < each * planes:
        raise SlideError(
            f"{path} lists {min(offsets.size, counts.size)} of the {each * planes} segments that "
            f"its size needs; export it again"
        )
    return [
        SegmentPlane(
            shape=shape,
            samples=samples,
            dtype=keyframe.dtype.newbyteorder("="),
            segment=segment,
            offsets=offsets[first : first + each],
            counts=counts[first : first + each],
            decode=_decoder(page, keyframe, first),
            fill=float(keyframe.nodata),
        )
        for first in range(0, each * planes, each)
    ]


def _decoder(
    page: TiffPage | TiffFrame, keyframe: TiffPage, first: int
) -> Callable[[bytes, int], Pixels]:
    """Decode a segment of the plane whose first segment has index ``first`` in the page."""
    decode, segment = keyframe.decode, _segment_shape(keyframe)
    tables: dict[str, Any] = {}
    if keyframe.compression in _JPEG:
        tables = {"jpegtables": page.jpegtables, "jpegheader": keyframe.jpegheader}
    # Other codecs fill a buffer of the segment's size and may contain a stream's magic by chance.
    has_header = keyframe.compression in _JPEG | _JPEG_2000

    def run(data: bytes, index: int) -> Pixels:
        if has_header:
            check_stream(data, segment)
        array, _, _ = decode(data, first + index, **tables)
        if array is None:
            raise tifffile.TiffFileError(f"segment {index} decodes to nothing")
        pixels: Pixels = array[0]
        return pixels

    return run
