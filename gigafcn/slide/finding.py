"""Which slides does a word of the user stand for: a file, a folder, or a pattern?

A folder is searched with its subfolders for files with the suffixes of slide formats; a folder that
holds Zarr metadata is one image and is not searched, nor is the data folder beside an MRXS file.
Pictures (PNG, JPEG) are slides only when they are named or match a pattern, since folders of slides
are full of thumbnails.  Many files of DICOM make one slide: of each series the first file counts.
"""

from __future__ import annotations

import glob
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pydicom
from pydicom.errors import InvalidDicomError

from gigafcn.slide.opening import ZARR_FILES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

SUFFIXES = (
    ".svs", ".tif", ".tiff", ".ndpi", ".mrxs", ".scn", ".bif", ".svslide", ".vms", ".vmu", ".dcm",
)  # fmt: skip
"""Of the files that are taken for slides in a folder."""

_DICOM = (".dcm", ".dicom", "")
_DICOM_MARK = slice(128, 132)


def find_slides(place: str, skip: Callable[[Path], bool] = lambda path: False) -> list[str]:
    """Slides at a place, in natural order (case 9 before case 10).

    Parameters
    ----------
    place
        File, folder, pattern such as ``scans/*.svs`` or ``scans/**/*.tif``, or URL. What is there
        is taken by its name before it is taken for a pattern.
    skip
        Whether something found in a folder is no slide, but a map for instance.

    Returns
    -------
    list of str
        Empty when a folder or a pattern holds none. What is no folder and no pattern is given back
        as it is, there or not.
    """
    path = Path(place).expanduser()
    if "://" in place or path.is_file():
        return [place]
    if path.is_dir():
        return [place] if _is_zarr(path) else list(_searched(path, skip))
    if not glob.has_magic(place):
        return [place]
    matches = sorted(glob.glob(str(path), recursive=True), key=_natural)  # noqa: PTH207 - ** too
    return [
        match
        for match in matches
        if (Path(match).is_file() or _is_zarr(Path(match)))
        and not _within_zarr(Path(match))
        and not skip(Path(match))
    ]


def one_per_series(slides: Iterable[str]) -> list[str]:
    """The slides without those DICOM files whose series is there already, and without repeats."""
    kept: dict[object, str] = {}
    for slide in slides:
        kept.setdefault(_identity(slide), slide)
    return list(kept.values())


def _identity(slide: str) -> object:
    if "://" in slide:
        return slide
    path = Path(slide).expanduser()
    series = series_of(path) if path.suffix.lower() in _DICOM else None
    return path.resolve() if series is None else (path.resolve().parent, series)


def series_of(path: Path) -> str | None:
    """Series that a DICOM file belongs to; None for any other file."""
    try:
        with path.open("rb") as file:
            if file.read(_DICOM_MARK.stop)[_DICOM_MARK] != b"DICM":
                return None
        found = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=["SeriesInstanceUID"])
    except (OSError, InvalidDicomError, ValueError, AttributeError):
        return None
    return str(found.get("SeriesInstanceUID", "")) or None


def _searched(folder: Path, skip: Callable[[Path], bool]) -> Iterator[str]:
    """Slides in a folder and its subfolders."""
    if _is_mrxs_data(folder):
        return
    try:
        children = sorted(folder.iterdir(), key=lambda child: _natural(child.name))
    except OSError:
        return
    for child in children:
        if child.name.startswith(".") or skip(child):
            continue
        if child.is_dir():
            if _is_zarr(child):
                yield str(child)
            elif not child.is_symlink():  # a link to a folder above would never end
                yield from _searched(child, skip)
        elif child.suffix.lower() in SUFFIXES or (not child.suffix and series_of(child)):
            yield str(child)


def _is_zarr(path: Path) -> bool:
    return path.is_dir() and any((path / name).is_file() for name in ZARR_FILES)


def _within_zarr(path: Path) -> bool:
    return any(_is_zarr(parent) for parent in path.parents)


def _is_mrxs_data(folder: Path) -> bool:
    return any(folder.with_name(folder.name + suffix).is_file() for suffix in (".mrxs", ".MRXS"))


def _natural(name: str | os.PathLike[str]) -> list[tuple[int, str]]:
    """Sort key in which numbers count as numbers.

    Examples
    --------
    >>> sorted(["case 10", "case 9"], key=_natural)
    ['case 9', 'case 10']
    """
    parts = re.split(r"(\d+)", os.fspath(name).lower())
    return [(int(part), "") if part.isdigit() else (-1, part) for part in parts]
