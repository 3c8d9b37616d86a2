"""How a small PNG, JPEG, WebP or BMP picture is read as a slide.

It is decoded whole when it is opened, so its size is limited, and checked against its header
first.  Transparency is laid on white, and what is wholly transparent holds no data; palettes become
RGB, 16-bit grey stays 16 bit.  Pixels are taken as stored: what EXIF says of their orientation is
noted, and applied by :func:`open_slide` when asked to.  Resolution is not read: such files rarely
know it.
"""

from __future__ import annotations

import math
import warnings
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from gigafcn.errors import SlideError
from gigafcn.geometry import Box
from gigafcn.slide.array import ArraySlide
from gigafcn.slide.declared import masks_beside, refuse_without_data
from gigafcn.slide.orientation import TAG, orientation_of
from gigafcn.slide.protocol import cause
from gigafcn.slide.tiff import TiffSlide
from gigafcn.slide.tiff_directory import RATIO_LIMIT
from gigafcn.slide.traits import Traits

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from gigafcn.slide.protocol import Pixels

MOST_PX = 89_478_485
"""Largest picture, in px: Pillow's own guard against decompression bombs."""

FORMATS = ("PNG", "JPEG", "WEBP", "BMP")
_SIXTEEN_BIT = {"I;16", "I;16B", "I;16L"}
_AS_STORED = {"L", "RGB"} | _SIXTEEN_BIT


def is_picture(head: bytes) -> bool:
    """Whether a file's first 16 bytes are those of a picture that is read here.

    Examples
    --------
    >>> is_picture(bytes([0x89]) + b"PNG and more bytes")
    True
    """
    signatures = (b"\x89PNG", b"\xff\xd8\xff", b"BM")
    return head.startswith(signatures) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")


def open_picture(path: Path, *, name: str | None = None) -> ArraySlide:
    """Decode a picture into a slide of one level.

    Raises
    ------
    SlideError
        If it is too large, damaged, or of a kind that would lose precision.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path, formats=FORMATS) as image:
                check_picture_size(path, image)
                pixels, empty = _pixels(path, image), _transparent(image)
                profile = "icc_profile" in image.info
                kind = f"picture {str(image.format).lower()}"
                orientation = orientation_of(image.getexif().get(TAG))
    except SlideError:
        raise
    # Pillow raises OSError, SyntaxError, ValueError and others on damaged files
    except Exception as error:
        raise SlideError(
            f"{path} cannot be read as a picture: {cause(error)}; copy or export it again"
        ) from error
    name = path.stem if name is None else name
    declared = None if empty is None else "alpha"
    whole = Box(0, 0, *pixels.shape[:2])
    masks = masks_beside(path, [whole.shape], TiffSlide)
    if masks is not None:
        held = masks.held(whole, 0)
        if held.boxes:
            raise SlideError(f"the mask beside {path} is damaged; make it anew")
        empty, declared = ~held.px, masks.kind
    traits = Traits(kind, icc_profile=profile, mask=declared, orientation=orientation)
    blank = 255 if pixels.ndim == 3 else 0
    slide = ArraySlide(pixels, name=name, source=str(path), traits=traits, empty=empty, blank=blank)
    if declared is not None:
        refuse_without_data(slide, "alpha" if declared == "alpha" else "its mask")
    return slide


def check_picture_size(path: Path, image: Image.Image) -> None:
    """Refuse before decoding what would not fit."""
    height, width = image.height, image.width
    size = path.stat().st_size
    decoded = height * width * len(image.getbands())
    if math.prod(image.size) > MOST_PX:
        raise SlideError(
            f"{path} is {height} x {width} px (y, x), above the limit of {MOST_PX} px for a "
            f"{image.format} picture, which is decoded whole; convert it to a tiled TIFF"
        )
    if decoded > RATIO_LIMIT * size:
        raise SlideError(
            f"{path} declares {height} x {width} px (y, x), {decoded} bytes decoded, in a file of "
            f"{size} bytes, above the limit of {RATIO_LIMIT}:1; the header is damaged or it is a "
            f"decompression bomb"
        )


def _pixels(path: Path, image: Image.Image) -> Pixels:
    """Decode to (y, x) or (y, x, 3)."""
    encodings = [str(tile[3]) for tile in getattr(image, "tile", ())]
    if image.mode not in _SIXTEEN_BIT and any("16" in encoding for encoding in encodings):
        raise SlideError(
            f"{path} is a 16-bit colour picture, of which 8 bits would be lost; "
            f"convert it to a 16-bit TIFF"
        )
    if image.mode in _SIXTEEN_BIT or (image.mode in _AS_STORED and not image.has_transparency_data):
        return np.asarray(image)
    if image.mode == "1":
        return np.asarray(image.convert("L"))
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        flat = Image.new("RGB", image.size, "white")
        flat.paste(layer, mask=layer)
        return np.asarray(flat)
    return np.asarray(image.convert("RGB"))


def _transparent(image: Image.Image) -> NDArray[np.bool_] | None:
    """Px (y, x) that are wholly transparent; None if the picture knows no transparency."""
    if image.mode in _SIXTEEN_BIT:
        value = image.info.get("transparency")
        return None if value is None else np.asarray(np.asarray(image) == value)
    if not image.has_transparency_data:
        return None
    return np.asarray(np.asarray(image.convert("RGBA"))[:, :, 3] == 0)
