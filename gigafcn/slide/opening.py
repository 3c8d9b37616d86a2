"""Which backend reads a given image.

Arrays and open slides are taken as they are.  A path is looked at, not believed by its extension:
directories by what they hold, files by their first bytes.  TIFFs are first checked to be complete;
those that OpenSlide knows as a scanner's go to OpenSlide, all others to tifffile, so that
generic pyramids keep their 16 bits and channels.  What cannot be read is refused here, with the
reason, before a model is loaded or an output touched.
"""

from __future__ import annotations

import difflib
import logging
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import zarr

from gigafcn.errors import SlideError
from gigafcn.slide.array import ArraySlide
from gigafcn.slide.openslide import OpenSlideSlide, detect_vendor
from gigafcn.slide.orientation import upright
from gigafcn.slide.picture import is_picture, open_picture
from gigafcn.slide.protocol import Pixels, Slide, check_plane
from gigafcn.slide.remote import open_remote
from gigafcn.slide.tiff import TiffSlide
from gigafcn.slide.tiff_directory import Lacks, check_tiff
from gigafcn.slide.zarr import ZarrSlide, open_zarr
from gigafcn.storage.url_path import UrlPath, is_url, place_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

log = logging.getLogger(__name__)

Source: TypeAlias = str | os.PathLike[str] | Pixels | zarr.Array[Any] | zarr.Group | Slide
"""What :func:`open_slide` accepts."""

READABLE = (
    "SVS, NDPI, MRXS, SCN, BIF and DICOM slides, TIFF, BigTIFF and OME-TIFF, "
    "Zarr and OME-Zarr, PNG, JPEG, WebP, BMP"
)
"""What a path may be, for messages."""

TIFF_HEADS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
ZARR_FILES = ("zarr.json", ".zarray", ".zgroup")
_MOST_TRIED = 16
"""Files of a directory that are shown to OpenSlide, which needs one of a DICOM slide's."""


def open_slide(
    source: Source, *, plane: Mapping[str, int] | None = None, orient: bool = False
) -> Slide:
    """Open an image of any supported kind.

    Parameters
    ----------
    source
        Path or URL, numpy array (y, x) or (y, x, c), Zarr array or OME-Zarr group, or a slide,
        which is returned as it is.
    plane
        Of a stack the index along each further axis, such as ``{"t": 0, "z": 2}``.
    orient
        Turn the picture as TIFF's or EXIF's orientation says; otherwise it is read as stored.

    Returns
    -------
    Slide
        Open; close it when done.

    Raises
    ------
    SlideError
        If it cannot be opened; the message says why and what to do.
    UsageError
        If it has no such plane.

    Examples
    --------
    >>> open_slide(np.zeros((64, 48, 3), np.uint8)).levels
    (Level(shape=(64, 48), downsample=(1.0, 1.0), decoded_rows=0),)
    """
    slide = _opened(source, plane or {})
    return upright(slide) if orient else slide


def _opened(source: Source, plane: Mapping[str, int]) -> Slide:
    if isinstance(source, np.ndarray):
        check_plane("the array", plane, {})
        return ArraySlide(source)
    if isinstance(source, zarr.Array | zarr.Group):
        return ZarrSlide(source, plane=plane)
    if isinstance(source, str | os.PathLike):
        text = os.fspath(source)
        if is_url(text):
            return _open_url(text, plane)
        return _open_path(Path(text).expanduser(), plane)
    if isinstance(source, Slide):
        return source
    raise SlideError(
        f"cannot open a {type(source).__name__} as a slide; give a path, a numpy array (y, x, c) "
        f"or a Zarr array"
    )


def _open_url(text: str, plane: Mapping[str, int]) -> Slide:
    """Open what a URL names: a file, an object of a bucket, or Zarr that fsspec knows to read."""
    name = _stem(text.rstrip("/").rsplit("/", 1)[-1])
    if not text.lower().startswith(("s3:", "file:")):
        return open_zarr(text, name=name, plane=plane)
    place = place_of(text)
    if isinstance(place, UrlPath):
        return open_remote(place, name=name, plane=plane)
    return _open_path(place, plane)


def _open_path(path: Path, plane: Mapping[str, int]) -> Slide:
    """Open a file or directory."""
    try:
        if path.is_dir():
            return _open_directory(path, plane)
        if not path.exists():
            raise SlideError(f"{path}: no such file{_suggestion(path)}")
        with path.open("rb") as file:
            head = file.read(16)
        return _open_file(path, head, plane)
    except SlideError:
        raise
    except OSError as error:
        raise SlideError(f"{path} cannot be opened: {error.strerror or error}") from error


def _open_file(path: Path, head: bytes, plane: Mapping[str, int]) -> Slide:
    """Open a file by its first bytes."""
    name = _stem(path.name)
    is_tiff = head.startswith(TIFF_HEADS)
    vendor = detect_vendor(path)
    if vendor is not None and vendor != "generic-tiff":
        check_plane(str(path), plane, {})
        if is_tiff:
            return _scanner_tiff(path, name, vendor, check_tiff(path))
        return OpenSlideSlide(path, name=name)
    if is_tiff:
        return TiffSlide(path, name=name, plane=plane)
    check_plane(str(path), plane, {})
    if is_picture(head):
        return open_picture(path, name=name)
    what = "is empty" if not head else "is not an image that gigafcn knows"
    raise SlideError(f"{path} {what}; it reads {READABLE}")


def _scanner_tiff(path: Path, name: str, vendor: str, lacks: Lacks) -> OpenSlideSlide:
    """Open a scanner's TIFF with OpenSlide, which does not tell of what the file lacks."""
    if lacks.bytes:
        log.warning("%s is truncated: %d bytes or more are missing", path, lacks.bytes)
    # Only Aperio's first page is known to be the slide.
    absent = lacks.tiles if vendor == "aperio" else 0
    if absent:
        log.warning(
            "%s leaves out %d tiles of its finest level; they show the background or a coarser "
            "level",
            path, absent,
        )  # fmt: skip
    slide = OpenSlideSlide(path, name=name)
    slide.traits = replace(slide.traits, missing_bytes=lacks.bytes, absent_tiles=absent)
    return slide


def _open_directory(path: Path, plane: Mapping[str, int]) -> Slide:
    """Open a Zarr store, or a directory with the files of one slide."""
    name = _stem(path.resolve().name)
    if any((path / file).is_file() for file in ZARR_FILES):
        return open_zarr(str(path), name=name, plane=plane)
    check_plane(str(path), plane, {})
    files = sorted(child for child in path.iterdir() if child.is_file())[:_MOST_TRIED]
    for file in files:
        if detect_vendor(file) == "dicom":
            return OpenSlideSlide(file, name=name)
    raise SlideError(
        f"{path} is a directory that holds neither a Zarr image ({', '.join(ZARR_FILES)}) nor a "
        f"DICOM slide; give the path of a slide, or of a finished Zarr image"
    )


def _suggestion(path: Path) -> str:
    """The nearest name in the folder, or that there is no such folder."""
    if not path.parent.is_dir():
        return f", and no such directory {path.parent}"
    try:
        names: Iterable[str] = [child.name for child in path.parent.iterdir()]
    except OSError:
        return ""
    close = difflib.get_close_matches(path.name, list(names), n=1)
    return f"; did you mean {path.with_name(close[0])}?" if close else f" in {path.parent}"


def _stem(filename: str) -> str:
    """A file's name without its extension, nor the ".ome" before it.

    Examples
    --------
    >>> _stem("case 7.ome.tiff")
    'case 7'
    """
    stem = Path(filename).stem
    return stem[: -len(".ome")] if stem.lower().endswith(".ome") else stem
