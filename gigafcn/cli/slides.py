"""Which slides is a command given, and what is said of each?

Words are files, folders, patterns, URLs and lists of slides (see :mod:`gigafcn.slide.finding` and
:mod:`gigafcn.config.manifest`).  What gigafcn itself wrote into a folder (maps, exports) is no
slide there, so the same command can be given again.
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gigafcn.cli.naming import stem_of
from gigafcn.cli.reporting import warn
from gigafcn.config.manifest import Entry, is_manifest, read_manifest
from gigafcn.errors import SlideError, UsageError
from gigafcn.pseudonym import Disguise, pseudonym, read_key

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gigafcn.config import InferOptions


@dataclass(frozen=True, slots=True)
class Listed:
    """One slide to map."""

    slide: str
    """Path or URL."""

    name: str | None = None
    """Of its map; None is the slide's stem."""

    where: str = ""
    """File and line that named it, for messages."""

    options: dict[str, Any] = field(default_factory=dict)
    """What holds for this slide alone."""

    disguise: Disguise | None = None
    """If it shall not be named."""

    image: int | None = None
    """Number of the image, where each of a file is mapped."""

    @property
    def shown(self) -> str:
        """What it is called in all that is said."""
        name = self.slide if self.disguise is None else self.disguise.name
        return name if self.image is None else f"{name} image {self.image}"

    @property
    def missing(self) -> bool:
        """Whether it is plain already that there is no such file."""
        return "://" not in self.slide and not Path(self.slide).expanduser().exists()


@dataclass(frozen=True, slots=True)
class Listing:
    """All slides of a command."""

    slides: tuple[Listed, ...]
    searched: bool
    """Whether a folder, a pattern or a list was given, so that their number was not plain."""

    @property
    def many(self) -> bool:
        """Whether there is something to sum up."""
        return self.searched or len(self.slides) > 1


def disguised(slides: Sequence[Listed], options: InferOptions) -> tuple[Listed, ...]:
    """The slides, under pseudonyms if they shall not be named.

    Raises
    ------
    UsageError
        If there is no key for pseudonyms.
    """
    if not options.deidentify:
        return tuple(slides)
    key = read_key(options.deidentify_key)
    names = (pseudonym(one.slide, key) for one in slides)
    return tuple(
        replace(one, name=one.name or name, disguise=Disguise(one.slide, name))
        for one, name in zip(slides, names, strict=True)
    )


def each_image(slides: Sequence[Listed], options: InferOptions) -> tuple[Listed, ...]:
    """The slides; if each image is asked for, one for each image of a file that holds several."""
    if options.image != "all":
        return tuple(slides)
    return tuple(each for one in slides for each in _images_of(one, options))


def _images_of(one: Listed, options: InferOptions) -> list[Listed]:
    from gigafcn.slide.opening import image_numbers  # loads zarr, tifffile

    numbers = [] if one.missing else image_numbers(one.slide, options.plane or {})
    if not numbers:
        return [replace(one, options=one.options | {"image": None})]
    name = one.name or stem_of(one.slide)
    return [
        replace(one, name=f"{name}-image{n}", image=n, options=one.options | {"image": n})
        for n in numbers
    ]


@contextmanager
def worn_by_all(slides: Sequence[Listed]) -> Iterator[None]:
    """Name none of some slides meanwhile that shall not be named."""
    with ExitStack() as stack:
        for one in slides:
            if one.disguise is not None:
                stack.enter_context(one.disguise.worn())
        yield


def listed_slides(words: Sequence[str]) -> Listing:
    """Find the slides that words stand for; each counts once.

    Raises
    ------
    SlideError
        If there is none.
    UsageError
        If a list of slides cannot be read, or asks for what a run cannot do.
    """
    from gigafcn.slide.finding import find_slides, one_per_series  # loads zarr, pydicom

    found: list[Listed] = []
    searched = False
    for word in words:
        if is_manifest(word):
            searched = True
            found += [_of_entry(entry) for entry in read_manifest(word)]
            continue
        slides = find_slides(word, skip=_is_own)
        searched |= slides != [word]
        if not slides:
            warn(f"no slide in {word}")
        found += [Listed(slide) for slide in slides]
    kept = set(one_per_series([one.slide for one in found]))
    unique = {one.slide: one for one in reversed(found) if one.slide in kept}
    slides_in_order = tuple(one for one in found if unique.get(one.slide) is one)
    if not slides_in_order:
        raise SlideError(
            f"no slide found in {', '.join(words)}; folders are searched for SVS, TIFF, NDPI, "
            f"MRXS, SCN, BIF, DICOM and Zarr; name pictures one by one or by a pattern"
        )
    return Listing(slides_in_order, searched)


def _of_entry(entry: Entry) -> Listed:
    options: dict[str, Any] = {}
    if entry.mpp is not None:
        options["slide_mpp"] = entry.mpp
    if entry.mask is not None:
        options["tissue"] = entry.mask
    return Listed(entry.slide, entry.name, entry.where, options)


def options_for(one: Listed, options: InferOptions) -> dict[str, Any]:
    """Arguments of a run: those of the command, and what a list says of this slide.

    Raises
    ------
    UsageError
        If the list says something that a run has no option for.
    """
    for name in one.options:
        if name not in type(options).model_fields:
            raise UsageError(f"{one.where}: this version has no option {name!r}; leave it out")
    return options.arguments() | one.options


def _is_own(path: Path) -> bool:
    """Whether gigafcn wrote what was found in a folder: a map, its receipts, an export."""
    from gigafcn.export.places import is_own
    from gigafcn.output.ownership import is_ours

    if path.is_dir():
        return path.name.endswith(".zarr.run") or is_ours(path)
    return path.name.lower().endswith((".ome.tif", ".ome.tiff")) and is_own(path, "ome-tiff")
