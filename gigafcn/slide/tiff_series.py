"""Which pages of a TIFF are which channels of which level.

tifffile groups pages into series with named axes and finds their pyramid levels; here a series is
reduced to (y, x, c).  Samples and the axis C are channels.  An unnamed axis of pages (Q, I) is
taken for channels when it has at most 32 entries and nothing else is.  Of time, depth and any
other axis longer than one the caller must choose a plane, since nothing tells which was meant.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import tifffile
from tifffile import TIFF, TiffFile, TiffFrame, TiffPage, TiffPageSeries

from gigafcn.errors import SlideError
from gigafcn.slide.array import MOST_CHANNELS
from gigafcn.slide.georeference import NO_DATA, PIXEL_SCALE
from gigafcn.slide.marks import Mark
from gigafcn.slide.mpp import parse_number
from gigafcn.slide.protocol import Pixels, check_dtype, check_plane, downsample_of
from gigafcn.slide.segments import SEGMENT_LIMIT_BYTES
from gigafcn.slide.tiff_codecs import (
    JPEG,
    LERC,
    WEBP,
    YCBCR,
    jpeg_decoder,
    lerc_decoder,
)
from gigafcn.slide.tiff_plane import Plane, RawPlane, SegmentPlane, check_stream

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_JPEG_2000 = {33003, 33004, 33005, 34712}
_RGB, _PALETTE = 2, 3
_IS_MASK = 4
"""Bit of NewSubfileType."""
_OTHER_COLOURS = {5: "CMYK", 8: "CIELab", 9: "ICCLab", 10: "ITULab", 32844: "LogL", 32845: "LogLuv"}


def choose_plane(
    series: TiffPageSeries, asked: Mapping[str, int], path: str, *, named: bool
) -> dict[str, int]:
    """Index along each axis that is neither y, x nor channels.

    Raises
    ------
    SlideError
        If an axis is longer than one and nothing was asked of it.
    UsageError
        If there is no such axis or plane.
    """
    sizes = dict(zip(series.get_axes(False), series.get_shape(False), strict=True))
    lead = {axis: int(size) for axis, size in sizes.items() if axis not in "YXS"}
    named_sizes = {axis.lower(): size for axis, size in lead.items() if axis != "C"}
    check_plane(path, asked, named_sizes)
    long = [axis for axis, size in lead.items() if size > 1 and axis.lower() not in asked]
    unnamed = sizes.get("S", 1) == 1 and not (named and series.kind != "ome")
    chosen = {axis: asked.get(axis.lower(), 0) for axis in lead if axis not in long}
    for axis in long:
        is_channel = axis == "C" or (axis in "QI" and unnamed and lead[axis] <= MOST_CHANNELS)
        if not is_channel or (axis != "C" and len(long) > 1):
            name = TIFF.AXES_NAMES.get(axis, axis)
            raise SlideError(
                f"{path} has axes {''.join(sizes)} of sizes {tuple(sizes.values())}; gigafcn reads "
                f"one 2-D image with channels: choose one plane of axis {axis} ({name}), with "
                f"--plane {axis.lower()}=0 to {axis.lower()}={lead[axis] - 1}"
            )
    return chosen


def coarser_series(
    tif: TiffFile, series: TiffPageSeries, before: int | None = None
) -> list[TiffPageSeries]:
    """Candidates for the levels below ``series``, largest first.

    tifffile finds levels that follow one another by one factor.  Pages marked as reduced images
    whose size is a whole fraction of the slide's are levels too, whatever factors lie between.

    Parameters
    ----------
    before
        Page with which another image begins, whose reduced images follow it.
    """
    base, found = image_shape(series), list(series.levels[1:])
    known = {id(level) for level in (series, *found)}
    for other in tif.series:
        axes = other.get_axes(False)
        if is_mask(other.keyframe):
            continue
        if id(other) in known or not ("Y" in axes and "X" in axes and other.keyframe.is_tiled):
            continue
        if before is not None and not page_number(series) < page_number(other) < before:
            continue
        scale = downsample_of(base, image_shape(other))
        if other.keyframe.is_reduced and scale[0] == scale[1] and scale[0].is_integer():
            found.append(other)
    return sorted(found, key=lambda level: math.prod(image_shape(level)), reverse=True)


def page_number(series: TiffPageSeries) -> int:
    """Number of the page that a series begins with, or that its sub-directory belongs to."""
    return series.keyframe.treeindex[0]


def image_shape(series: TiffPageSeries) -> tuple[int, int]:
    """Height and width in px."""
    sizes = dict(zip(series.get_axes(False), series.get_shape(False), strict=True))
    return int(sizes["Y"]), int(sizes["X"])


def planes_of(series: TiffPageSeries, chosen: Mapping[str, int], path: str) -> tuple[Plane, ...]:
    """Planes of one level, in the order of their channels.

    Parameters
    ----------
    chosen
        Index along axes of which one plane is wanted.

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
    wanted = _wanted_pages(series, chosen, count, path)
    pages = list(series)
    if len(pages) != count and series.dataoffset is not None:
        starts = (series.dataoffset + index * keyframe.nbytes for index in wanted)
        return tuple(plane for start in starts for plane in _raw_planes(keyframe, start))
    present = [page for index, page in enumerate(pages) if page is not None and index in wanted]
    if len(present) != len(wanted):
        raise SlideError(
            f"{path} has {len(present)} of the {len(wanted)} planes that its metadata declares; "
            f"convert it to a single complete file"
        )
    return tuple(plane for page in present for plane in _page_planes(page, keyframe, path))


def _wanted_pages(
    series: TiffPageSeries, chosen: Mapping[str, int], count: int, path: str
) -> list[int]:
    """Numbers of the pages of the chosen plane, in the order of their channels."""
    sizes = zip(series.get_axes(False), series.get_shape(False), strict=True)
    lead = [(axis, int(size)) for axis, size in sizes if axis not in "YXS"]
    if math.prod(size for _, size in lead) != count:
        raise SlideError(
            f"{path} spreads its axes {series.get_axes(False)} over {count} pages in a way that "
            f"gigafcn does not read; convert it to a plain OME-TIFF"
        )
    numbers = np.arange(count).reshape([size for _, size in lead])
    where = tuple(chosen.get(axis, slice(None)) for axis, _ in lead)
    return [int(number) for number in np.atleast_1d(numbers[where]).ravel()]


def _check_page(page: TiffPage, path: str) -> None:
    """Refuse pixel types and colour models that are not read, and giant segments."""
    if page.dtype is None:
        raise SlideError(f"{path} holds {page.bitspersample} bit values of an unknown type")
    check_dtype(path, page.dtype)
    if page.photometric == _PALETTE:
        raise SlideError(f"{path} holds palette colours; convert it to RGB")
    if page.photometric in _OTHER_COLOURS:
        colours = _OTHER_COLOURS[page.photometric]
        raise SlideError(f"{path} holds {colours} colours; convert it to RGB")
    # Bio-Formats says YCbCr of channels stored apart, too, though each is red, green or blue.
    is_turned = page.compression in JPEG and page.samplesperpixel == 3
    if page.photometric == YCBCR and not is_turned:
        how = f"compression {page.compression}, {page.samplesperpixel} samples"
        raise SlideError(
            f"{path} holds YCbCr colours in a way that is not read ({how}); convert it to RGB"
        )
    if page.compression == WEBP and page.planarconfig != 1:
        raise SlideError(f"{path} holds WebP of channels stored apart; write them interleaved")
    if len(page.dataoffsets) == 0:
        raise SlideError(f"{path} has a page without tiles or strips; export it again")
    decoded = math.prod(_segment_shape(page)) * _samples(page) * page.dtype.itemsize
    if not _is_raw(page) and decoded > SEGMENT_LIMIT_BYTES:
        kind = "tiles" if page.is_tiled else "strips"
        raise SlideError(
            f"{path} is stored in compressed {kind} of {decoded >> 20} MiB decoded, above the "
            f"limit of {SEGMENT_LIMIT_BYTES >> 20} MiB; convert it to a TIFF tiled by 512 px"
        )


def is_mask(page: TiffPage) -> bool:
    """Whether a page is no picture but says where another holds data."""
    return bool(page.subfiletype & _IS_MASK)


def mask_planes(tif: TiffFile, shapes: Sequence[tuple[int, int]], path: str) -> list[Plane | None]:
    """The mask page of each level, found by its size; None for levels without one."""
    pages = [at.keyframe for s in tif.series if is_mask(s.keyframe) for at in s.levels]
    found: list[Plane | None] = []
    for shape in shapes:
        own = [p for p in pages if (p.imagelength, p.imagewidth) == shape and p.dataoffsets]
        found.append(_page_planes(own[0], own[0], path)[0] if own else None)
    return found


def blank_of(page: TiffPage) -> float:
    """Value for px without a value of their own: white in pictures, else 0."""
    picture = page.photometric in (_RGB, YCBCR) and page.dtype == np.uint8
    return 255.0 if picture and PIXEL_SCALE not in page.tags else 0.0


def no_data_of(page: TiffPage) -> float | None:
    """Value that means "no data", by GDAL's tag; None without it."""
    value = parse_number(page.tags.valueof(NO_DATA), finite=False)
    if value is None or page.dtype is None or page.dtype.kind == "b":
        return None
    fits = page.dtype.kind == "f" or (
        value == int(value) and np.iinfo(page.dtype).min <= value <= np.iinfo(page.dtype).max
    )
    return value if fits else None


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
    blank = blank_of(page)
    return [RawPlane(shape, samples, stored, start + i * plane_bytes, blank) for i in range(planes)]


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
    no_data = no_data_of(keyframe)
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
            fill=no_data if no_data is not None else blank_of(keyframe),
            absent=Mark.GAP if no_data is None else Mark.NO_DATA,
            blank=blank_of(keyframe),
        )
        for first in range(0, each * planes, each)
    ]


def _decoder(
    page: TiffPage | TiffFrame, keyframe: TiffPage, first: int
) -> Callable[[bytes, int], Pixels]:
    """Decode a segment of the plane whose first segment has index ``first`` in the page."""
    segment = _segment_shape(keyframe)
    if keyframe.compression in JPEG or keyframe.compression == LERC:
        is_jpeg = keyframe.compression in JPEG
        samples = jpeg_decoder(page, keyframe) if is_jpeg else lerc_decoder(keyframe)

        def run_fitted(data: bytes, index: int) -> Pixels:
            if is_jpeg:
                check_stream(data, segment)
            return _fitted(samples(data), index, keyframe)

        return run_fitted
    decode = keyframe.decode
    # Other codecs fill a buffer of the segment's size and may contain a stream's magic by chance.
    has_header = keyframe.compression in _JPEG_2000

    def run(data: bytes, index: int) -> Pixels:
        if has_header:
            check_stream(data, segment)
        array, _, _ = decode(data, first + index)
        if array is None:
            raise tifffile.TiffFileError(f"segment {index} decodes to nothing")
        pixels: Pixels = array[0]
        return pixels

    return run


def _fitted(pixels: Pixels, index: int, page: TiffPage) -> Pixels:
    """Pixels of a segment that may be larger than the image has room for, or end at its edge.

    Raises
    ------
    TiffFileError
        If they are of another size.
    """
    height, width = _segment_shape(page)
    if pixels.shape[:2] != (height, width) and pixels.size == height * width * _samples(page):
        return pixels.reshape(height, width, -1)  # lossless JPEG may pair columns
    down, across = divmod(index, -(-int(page.imagewidth) // width))
    least = (
        min(height, int(page.imagelength) - down * height),
        min(width, int(page.imagewidth) - across * width),
    )
    if pixels.shape[0] < least[0] or not least[1] <= pixels.shape[1] <= width:
        raise tifffile.TiffFileError(
            f"segment {index} of {pixels.shape[0]} x {pixels.shape[1]} px (y, x) does not fill its "
            f"{least[0]} x {least[1]} px"
        )
    return pixels[:height]
