"""How a slide in a bucket is read: Zarr and TIFF by ranges, without a copy.

OpenSlide reads files of a local disk only, so what needs it is refused with the remedy, and so are
pictures, which are decoded as a whole.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import tifffile

from gigafcn.errors import SlideError
from gigafcn.slide.tiff import TiffSlide
from gigafcn.slide.zarr import open_zarr

if TYPE_CHECKING:
    from gigafcn.slide.protocol import Slide
    from gigafcn.slide.wanted import Wanted
    from gigafcn.storage.url_path import UrlPath

_SCANNERS = ("svs", "ndpi", "scn", "bif", "philips", "ventana")
"""Kinds of TIFF that tifffile knows and OpenSlide reads better."""

_TIFF_HEADS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_ZARR_FILES = ("zarr.json", ".zarray", ".zgroup")


def open_remote(path: UrlPath, *, name: str, wanted: Wanted) -> Slide:
    """Open a Zarr image or a TIFF of a bucket.

    Raises
    ------
    SlideError
        If there is none, or it can only be read from a local disk.
    """
    if not path.key:
        raise SlideError(f"{path} is a bucket; name an object in it: {path}/NAME")
    try:
        if not path.is_file():
            if any((path / file).is_file() for file in _ZARR_FILES):
                return open_zarr(str(path), name=name, wanted=wanted)
            raise SlideError(f"{path}: no such object, and no Zarr image of that name")
        if not path.read_range(0, min(16, path.size)).startswith(_TIFF_HEADS):
            raise SlideError(_copy_first(path, "neither a TIFF nor a Zarr image"))
        with path.open("rb") as file, tifffile.TiffFile(file, _multifile=False) as tif:
            kind = next((k for k in _SCANNERS if getattr(tif, f"is_{k}", False)), None)
        if kind is not None:
            raise SlideError(_copy_first(path, f"a scanner's file ({kind}), which OpenSlide reads"))
        return TiffSlide(path, name=name, wanted=wanted)
    except SlideError:
        raise
    except (OSError, tifffile.TiffFileError) as error:
        reason = getattr(error, "strerror", None) or error
        raise SlideError(f"{path} cannot be opened: {reason}") from error


def _copy_first(path: UrlPath, what: str) -> str:
    return (
        f"{path} is {what}; from a bucket gigafcn reads TIFF and Zarr: copy it to a local disk "
        f"first (aws s3 cp {path} .)"
    )
