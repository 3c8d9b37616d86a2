"""How large the image inside an encoded segment is, before anything decodes it.

A TIFF tile of 256 px can hold a JPEG or JPEG 2000 stream that declares 65 535 px a side, and a
decoder believes the stream.  Reading the stream's own header costs microseconds.  Formats without
such a header are decoded into a buffer of the segment's size and need no check.
"""

from __future__ import annotations

import struct

_JPEG_START, _JP2_START = b"\xff\xd8", b"\xff\x4f\xff\x51"
_JP2_SEARCH_BYTES = 4096
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
"""JPEG markers that start a frame and give its size."""
_ALONE = {0x01, *range(0xD0, 0xD9)}
"""JPEG markers without a length."""


def declared_shape(data: bytes) -> tuple[int, int] | None:
    """Height and width in px that a JPEG or JPEG 2000 stream declares; None for anything else.

    Examples
    --------
    >>> declared_shape(b"not a stream") is None
    True
    """
    try:
        if data.startswith(_JPEG_START):
            return _jpeg_shape(data)
        start = data.find(_JP2_START, 0, _JP2_SEARCH_BYTES)
        return None if start < 0 else _jpeg2000_shape(data, start)
    except (struct.error, IndexError):
        return None


def _jpeg_shape(data: bytes) -> tuple[int, int] | None:
    """Walk the markers up to the first frame header."""
    at = 2
    while data[at] == 0xFF:
        marker = data[at + 1]
        if marker in _FRAMES:
            height, width = struct.unpack_from(">HH", data, at + 5)
            return int(height), int(width)
        if marker == 0xFF:  # padding before a marker
            at += 1
        elif marker in _ALONE:
            at += 2
        else:
            at += 2 + struct.unpack_from(">H", data, at + 2)[0]
    return None


def _jpeg2000_shape(data: bytes, start: int) -> tuple[int, int]:
    """Extent of the image on the reference grid, from the SIZ segment."""
    x1, y1, x0, y0 = struct.unpack_from(">4I", data, start + 8)
    return int(y1 - y0), int(x1 - x0)
