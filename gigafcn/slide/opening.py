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

from gigafcn.errors import GigafcnError, QuestionError, SlideError, UsageError
from gigafcn.slide.array import ArraySlide
from gigafcn.slide.images import check_image
from gigafcn.slide.openslide import OpenSlideSlide, detect_vendor
from gigafcn.slide.orientation import upright
from gigafcn.slide.picture import is_picture, open_picture
from gigafcn.slide.protocol import Pixels, Slide, check_plane
from gigafcn.slide.remote import open_remote
from gigafcn.slide.tiff import TiffSlide
from gigafcn.slide.tiff_directory import Lacks, check_tiff
from gigafcn.slide.wanted import Wanted
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
    source: Source,
    *,
    plane: Mapping[str, int] | None = None,
    image: int | None = None,
    levels_from: str | None = None,
    orient: bool = False,
) -> Slide:
    """Open an image of any supported kind.

    Parameters
    ----------
    source
        Path or URL, numpy array (y, x) or (y, x, c), Zarr array or OME-Zarr group, or a slide,
        which is returned as it is.
    plane
        Of a stack the index along each further axis, such as ``{"t": 0, "z": 2}``.
    image
        Number of the image, of a file that holds several.
    levels_from
        "sizes" or "metadata" decide how large the px of coarser levels are; None leaves what they
        contradict each other in open, as ``Level.stated``.
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
        If it has no such plane or image.
    QuestionError
        If it holds several images and none was chosen.

    Examples
    --------
    >>> open_slide(np.zeros((64, 48, 3), np.uint8)).levels
    (Level(shape=(64, 48), downsample=(1.0, 1.0), decoded_rows=0, stated=None),)
    """
    return open_wanted(source, Wanted(plane or {}, image, levels_from, orient=orient))


def open_wanted(source: Source, wanted: Wanted) -> Slide:
    """As :func:`open_slide`, with all that can be said of what is wanted."""
    slide = _opened(source, wanted)
    return upright(slide) if wanted.orient else slide


def _opened(source: Source, wanted: Wanted) -> Slide:
    """Open an image as it is stored."""
    if isinstance(source, np.ndarray):
        _check_only("the array", wanted)
        return ArraySlide(source)
    if isinstance(source, zarr.Array | zarr.Group):
        return ZarrSlide(source, wanted=wanted)
    if isinstance(source, str | os.PathLike):
        text = os.fspath(source)
        if is_url(text):
            return _open_url(text, wanted)
        return _open_path(Path(text).expanduser(), wanted)
    if isinstance(source, Slide):
        if wanted.image not in (None, source.traits.image or 0):
            raise UsageError(
                f"{source.name} is open with another image than {wanted.image}; open it with that"
            )
        return source
    raise SlideError(
        f"cannot open a {type(source).__name__} as a slide; give a path, a numpy array (y, x, c) "
        f"or a Zarr array"
    )


def open_mask(source: Source, *, orient: bool = False) -> Slide:
    """Open a mask of tissue or truth, which may well be called a label.

    Raises
    ------
    SlideError
        If it cannot be opened, or holds several images.
    """
    return open_wanted(source, Wanted(mask=True, orient=orient))


def image_numbers(source: Source, plane: Mapping[str, int]) -> list[int]:
    """Numbers of the images that may be the slide; none where there is nothing to choose.

    What cannot be opened has none either: a run says what is wrong with it.
    """
    try:
        open_wanted(source, Wanted(plane)).close()
    except QuestionError as question:
        return [int(one.value) for one in question.answers if one.option == "image"]
    except GigafcnError:
        return []
    return []


def _check_only(where: str, wanted: Wanted) -> None:
    """Refuse planes and images that a file of one image does not have."""
    check_plane(where, wanted.plane, {})
    check_image(where, wanted)


def _open_url(text: str, wanted: Wanted) -> Slide:
    """Open what a URL names: a file, an object of a bucket, or Zarr that fsspec knows to read."""
    name = _stem(text.rstrip("/").rsplit("/", 1)[-1])
    if not text.lower().startswith(("s3:", "file:")):
        return open_zarr(text, name=name, wanted=wanted)
    place = place_of(text)
    if isinstance(place, UrlPath):
        return open_remote(place, name=name, wanted=wanted)
    return _open_path(place, wanted)


def _open_path(path: Path, wanted: Wanted) -> Slide:
    """Open a file or directory."""
    try:
        if path.is_dir():
            return _open_directory(path, wanted)
        if not path.exists():
            raise SlideError(f"{path}: no such file{_suggestion(path)}")
        with path.open("rb") as file:
            head = file.read(16)
        return _open_file(path, head, wanted)
    except SlideError:
        raise
    except OSError as error:
        raise SlideError(f"{path} cannot be opened: {error.strerror or error}") from error


def _open_file(path: Path, head: bytes, wanted: Wanted) -> Slide:
    """Open a file by its first bytes."""
    name = _stem(path.name)
    is_tiff = head.startswith(TIFF_HEADS)
    vendor = detect_vendor(path)
    if vendor is not None and vendor != "generic-tiff":
        _check_only(str(path), wanted)
        if is_tiff:
            return _scanner_tiff(path, name, vendor, check_tiff(path))
        return OpenSlideSlide(path, name=name)
    if is_tiff:
        return TiffSlide(path, name=name, wanted=wanted)
    _check_only(str(path), wanted)
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


def _open_directory(path: Path, wanted: Wanted) -> Slide:
    """Open a Zarr store, or a directory with the files of one slide."""
    name = _stem(path.resolve().name)
    if any((path / file).is_file() for file in ZARR_FILES):
        return open_zarr(str(path), name=name, wanted=wanted)
    _check_only(str(path), wanted)
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
