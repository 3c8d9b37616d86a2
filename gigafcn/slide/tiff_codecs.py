"""Which samples does an encoded segment of a TIFF hold: colours of JPEG, what LERC leaves out?

PhotometricInterpretation says what the components of JPEG are: YCbCr becomes RGB, and of all else
the samples are what is stored, for they may be bands of any kind.  What a JPEG decoder would guess
from their number plays no part.  One marker says more than the tag: JFIF, whose three components
are YCbCr by definition.  Bio-Formats and tifffile write such streams in pages that say RGB or
min-is-black.  JPEG 2000 says itself whether its decoder turns it; the number 33003, which is YCbCr
in Aperio's files, says nothing elsewhere, for Bio-Formats uses it for RGB.

LERC notes px without a value in a mask of its own: there floats are NaN, and an alpha that the
codec left out is 0, as GDAL reads them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import imagecodecs
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from tifffile import TiffFrame, TiffPage

    from gigafcn.slide.protocol import Pixels

JPEG = frozenset({6, 7, 33007, 34892})
"""Kinds of compression that are JPEG."""

LERC = 34887
WEBP = 50001

YCBCR = 6
"""PhotometricInterpretation of YCbCr."""

_UNKNOWN, _GREY, _RGB, _YCBCR, _CMYK = range(5)
"""Colour spaces by libjpeg's numbers."""

_SPACE_OF = {1: _GREY, 3: _RGB, 4: _CMYK}
"""Space that is left as it is, by the number of components."""


def jpeg_decoder(page: TiffPage | TiffFrame, keyframe: TiffPage) -> Callable[[bytes], Pixels]:
    """Samples (y, x, c) of JPEG segments of a page, with as many rows as the stream has."""
    tables, header = page.jpegtables, keyframe.jpegheader
    samples = int(keyframe.samplesperpixel) if keyframe.planarconfig == 1 else 1
    turned = keyframe.photometric == YCBCR and samples == 3
    signed = keyframe.dtype == np.int8  # which JPEG does not know
    # Of streams that begin with the whole slide's header (NDPI), which is too large for one.
    shape = None if header is None else (int(keyframe.tilelength), int(keyframe.tilewidth))

    def run(data: bytes) -> Pixels:
        ycbcr = turned or (samples == 3 and data[6:10] == b"JFIF")
        own = _SPACE_OF.get(samples, _UNKNOWN)
        array: Pixels = imagecodecs.jpeg_decode(
            data,
            tables=tables,
            header=header,
            colorspace=_YCBCR if ycbcr else own,
            outcolorspace=_RGB if ycbcr else own,
            shape=shape,
        )
        if signed:
            array = array.view(np.int8)
        return array if array.ndim == 3 else array[..., np.newaxis]

    return run


def lerc_decoder(keyframe: TiffPage) -> Callable[[bytes], Pixels]:
    """Samples (y, x, c) of LERC segments, with NaN or alpha 0 where the codec has no value."""
    samples = int(keyframe.samplesperpixel) if keyframe.planarconfig == 1 else 1
    width = int(keyframe.tilewidth if keyframe.is_tiled else keyframe.imagewidth)
    # LERC has an order of its own, but GDAL encodes values in that of the file.
    swapped = keyframe.parent.byteorder == ">"

    def channels_last(found: Pixels) -> Pixels:
        """Bands that leave out different px are stored one after the other."""
        if found.ndim == 3 and found.shape[0] == samples and found.shape[2] == width != samples:
            return np.moveaxis(found, 0, -1)
        return found if found.ndim == 3 else found[..., np.newaxis]

    def run(data: bytes) -> Pixels:
        found, valid = imagecodecs.lerc_decode(data, masks=True)
        if swapped:
            found = found.byteswap()
        pixels = channels_last(found)
        held = np.ones((*pixels.shape[:2], 1), bool) if valid is None else channels_last(valid)
        if pixels.dtype.kind == "f":
            pixels = np.where(held, pixels, np.array(np.nan, pixels.dtype))
        if pixels.dtype == np.uint8 and pixels.shape[2] == samples - 1:
            alpha = np.where(held, np.uint8(255), np.uint8(0))
            pixels = np.concatenate([pixels, alpha], axis=2)
        return pixels

    return run
