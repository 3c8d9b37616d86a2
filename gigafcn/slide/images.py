"""Which of the images in a file is the slide, and which are never looked at?

Scanners store pictures of the slide's paper label, of the whole glass (macro, overview) and
thumbnails beside the scan.  They may show a patient's name, so they are known by what they are
called and are never mapped, drawn or logged.  One image that is left is the slide; of several the
user says which.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gigafcn.errors import Answer, QuestionError, SlideError, UsageError
from gigafcn.slide.wanted import EVERY

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gigafcn.slide.wanted import Wanted

log = logging.getLogger(__name__)

_KINDS = {
    "barcode": "label",
    "slidepreview": "overview",
    "preview": "overview",
    "thumb": "thumbnail",
}
"""What other words stand for."""

_WORD = r"(label|macro|overview|thumbnail|thumb|barcode|slide\s?preview|preview)"
_MORE = r"(?:[\W_\d]|image|img|picture|mask|camera|px|x(?=\s*\d))*"
_LAST = re.compile(rf"(?:^|[\W_\d]|slide|scan){_WORD}{_MORE}$", re.IGNORECASE)
_FIRST = re.compile(
    rf"^[\W_\d]*{_WORD}(?=$|[\W_\d]|image)(?![\W_]*(?:free|retain|less))", re.IGNORECASE
)
_LONGEST_NAME = 60


@dataclass(frozen=True, slots=True)
class ImageEntry:
    """One image of a file."""

    index: int
    """Its number, as the file counts."""

    shape: tuple[int, int]
    """Height and width in px."""

    mpp: tuple[float, float] | None
    """Micrometres per px (y, x)."""

    name: str = ""
    """Free text of the file."""

    kind: str | None = None
    """Of what is not the scan: label, macro, overview, thumbnail."""

    def described(self, *, named: bool) -> str:
        """Size, resolution and, if it may be shown, name."""
        parts = [f"{self.shape[0]} x {self.shape[1]} px (y, x)"]
        if self.mpp is None:
            parts.append("of unknown resolution")
        else:
            parts.append(f"{self.mpp[0]:.4g} x {self.mpp[1]:.4g} µm/px")
        name = "".join(c for c in " ".join(self.name.split()) if c.isprintable())
        if named and name:
            parts.append(f"named {name[:_LONGEST_NAME]}")
        return ", ".join(parts)


def kind_of(name: str) -> str | None:
    """What an image is by its name, if it is not the scan.

    A whole word at the beginning or the end counts, before or after words that add nothing.

    Examples
    --------
    >>> kind_of("label image"), kind_of("CMU-1.svs - macro"), kind_of("LABELIMAGE")
    ('label', 'macro', 'label')
    >>> kind_of("Series 0"), kind_of("label-free imaging"), kind_of("macrophages")
    (None, None, None)
    """
    found = _LAST.search(name.strip()) or _FIRST.search(name.strip())
    if found is None:
        return None
    word = re.sub(r"\s", "", found.group(1).lower())
    return _KINDS.get(word, word)


def choose_image(where: str, entries: Sequence[ImageEntry], wanted: Wanted) -> ImageEntry:
    """The image that is the slide.

    Raises
    ------
    QuestionError
        If several may be.
    UsageError
        If there is no such image, or it is one that is never mapped.
    SlideError
        If nothing but such images is there.
    """
    scans = [one for one in entries if one.kind is None or wanted.mask]
    if wanted.image is not None:
        return _asked(where, entries, scans, wanted.image)
    if not scans:
        raise SlideError(
            f"{where} holds no scan but {_counted(entries)}, which may show a patient's name and "
            f"is never mapped; if that is what the scan is called, rename it in the file"
        )
    if len(scans) > 1 and wanted.mask:
        raise SlideError(f"{where} holds {len(scans)} images; a mask is a file with one")
    if len(scans) > 1:
        raise _question(where, scans, wanted)
    if len(entries) > 1:
        left_out = [one for one in entries if one is not scans[0]]
        log.info("%s: image %d is read, not %s", where, scans[0].index, _counted(left_out))
    return scans[0]


def refuse_kind(where: str, kind: str | None) -> None:
    """Refuse what is no scan.

    Raises
    ------
    SlideError
        If it is of one of the kinds that are never mapped.
    """
    if kind is not None:
        raise SlideError(
            f"{where} is a {kind}, which may show a patient's name and is never mapped; give the "
            f"path of a scan"
        )


def check_image(where: str, wanted: Wanted) -> None:
    """Refuse another image than the only one of a file.

    Raises
    ------
    UsageError
        If one is wanted.
    """
    if wanted.image not in (None, 0):
        raise UsageError(f"{where} has no image {wanted.image}; it holds one, image 0")


def _asked(
    where: str, entries: Sequence[ImageEntry], scans: Sequence[ImageEntry], index: int
) -> ImageEntry:
    for one in entries:
        if one.index == index and one not in scans:
            raise UsageError(
                f"{where}: image {index} is a {one.kind}, which may show a patient's name and is "
                f"never mapped; leave --image out, or choose another"
            )
    found = next((one for one in scans if one.index == index), None)
    if found is None:
        known = ", ".join(str(one.index) for one in scans) or "none"
        raise UsageError(f"{where} has no image {index}; its images are {known}")
    return found


def _question(where: str, scans: Sequence[ImageEntry], wanted: Wanted) -> QuestionError:
    named = wanted.named
    answers = [Answer("image", str(one.index), one.described(named=named)) for one in scans]
    if wanted.every:
        answers.append(Answer("image", EVERY, "a map of each"))
    question = f"{where} holds {len(scans)} images, of which one is mapped at a time"
    return QuestionError(question, answers)


def _counted(entries: Iterable[ImageEntry]) -> str:
    """Kinds of images, without their names."""
    kinds = [f"its {one.kind}" for one in entries]
    return " and ".join(dict.fromkeys(kinds))
