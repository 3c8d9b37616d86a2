"""Which slides does a list in a file name, and what does it say of each?

A text file holds one path per line; ``#`` begins a comment.  A CSV (or TSV) file has a header with
the column ``slide`` and, as needed, ``mpp`` (micrometres per px at level 0, or two as y;x),
``mask`` (the slide's tissue) and ``name`` (of its map).  Empty cells say nothing.  Other columns
are left alone, and named once.  Relative paths are relative to the list's own folder.
"""

from __future__ import annotations

import csv
import io
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gigafcn.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

log = logging.getLogger(__name__)

COLUMNS = {
    "slide": ("slide", "path", "file", "image"),
    "mpp": ("mpp", "slide_mpp"),
    "mask": ("mask", "tissue"),
    "name": ("name",),
}
"""What a list may say of a slide, and how its column may be called."""

_DELIMITERS = {".csv": ",", ".tsv": "\t"}
_SUFFIXES = (*_DELIMITERS, ".txt", ".lst")


@dataclass(frozen=True, slots=True)
class Entry:
    """One slide of a list."""

    slide: str
    """Path or URL."""

    where: str
    """File and line, for messages."""

    mpp: tuple[float, float] | None = None
    """Micrometres (y, x) per px at level 0."""

    mask: str | None = None
    """Path of its tissue mask."""

    name: str | None = None
    """Of its map."""


def is_manifest(place: str) -> bool:
    """Whether a word names a list of slides."""
    return Path(place).suffix.lower() in _SUFFIXES and Path(place).expanduser().is_file()


def read_manifest(place: str) -> list[Entry]:
    """Read a list of slides.

    Raises
    ------
    UsageError
        If it cannot be read, names no column of slides, or holds a value that is none.
    """
    path = Path(place).expanduser()
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise UsageError(f"list of slides {place} cannot be read: {reason}") from error
    delimiter = _DELIMITERS.get(path.suffix.lower())
    rows = _lines(text) if delimiter is None else _cells(text, delimiter, place)
    return [_entry(row, f"{place} line {line}", path.parent) for line, row in rows]


def _lines(text: str) -> Iterator[tuple[int, dict[str, str]]]:
    for number, line in enumerate(text.splitlines(), start=1):
        named = line.strip()
        if named and not named.startswith("#"):
            yield number, {"slide": named}


def _cells(text: str, delimiter: str, place: str) -> Iterator[tuple[int, dict[str, str]]]:
    reader = csv.reader(io.StringIO(text), delimiter=delimiter)
    header = [cell.strip().lower() for cell in next(reader, [])]
    known = {
        what: next((header.index(name) for name in names if name in header), None)
        for what, names in COLUMNS.items()
    }
    if known["slide"] is None:
        raise UsageError(
            f"list of slides {place} has no column 'slide'; its first line is "
            f"{', '.join(header)[:80] or 'empty'}"
        )
    others = [name for index, name in enumerate(header) if index not in known.values()]
    if others:
        log.info("%s: columns that say nothing to gigafcn: %s", place, ", ".join(others))
    for row in reader:
        cells = {
            what: row[index].strip()
            for what, index in known.items()
            if index is not None and index < len(row) and row[index].strip()
        }
        if cells and not cells.get("slide", "").startswith("#"):
            yield reader.line_num, cells


def _entry(cells: dict[str, str], where: str, folder: Path) -> Entry:
    if "slide" not in cells:
        raise UsageError(f"{where} names no slide")
    name = cells.get("name")
    if name is not None and Path(name).name != name:
        raise UsageError(f"{where}: name {name!r} must be a name without a folder")
    mask = cells.get("mask")
    return Entry(
        slide=_placed(cells["slide"], folder),
        where=where,
        mpp=_mpp(cells["mpp"], where) if "mpp" in cells else None,
        mask=None if mask is None else _placed(mask, folder),
        name=name,
    )


def _placed(name: str, folder: Path) -> str:
    return name if "://" in name else str(folder / Path(name).expanduser())


def _mpp(text: str, where: str) -> tuple[float, float]:
    """One number for both axes or two as y;x, the decimal sign a point or a comma."""
    try:
        numbers = [float(part.replace(",", ".")) for part in text.split(";")]
    except ValueError:
        numbers = []
    if len(numbers) not in (1, 2) or not all(0 < number < float("inf") for number in numbers):
        raise UsageError(f"{where}: mpp {text!r} is no size in µm/px; write 0.25, or y;x")
    return numbers[0], numbers[-1]
