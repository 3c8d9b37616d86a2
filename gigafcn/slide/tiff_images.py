"""Which images does a TIFF hold, and which of them is the slide?

In OME-TIFF each Image with planes in this file is one.  In other TIFFs each series of pages is one
that is neither a mask nor marked as a reduced version of another; what tifffile calls it, or a line
of its description, tells label, macro and thumbnail, as Aperio and others write them.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gigafcn.errors import SlideError
from gigafcn.slide.images import ImageEntry, choose_image, kind_of
from gigafcn.slide.tiff_metadata import tiff_mpp
from gigafcn.slide.tiff_series import image_shape, is_mask, page_number

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tifffile import TiffFile, TiffPageSeries

    from gigafcn.slide.ome_xml import OmeImage, OmeView
    from gigafcn.slide.wanted import Wanted

_KIND_LINE = re.compile(
    r"^\W*(label|macro|overview|thumbnail)(?: image)?(?: \d+ ?x ?\d+)?\W*$",
    re.IGNORECASE | re.MULTILINE,
)
_SMALL = 10
"""How many times as many px a slide in tiles has as a picture in strips beside it."""

_DESCRIPTION = 4096
"""Characters of a page's description that are looked at."""


@dataclass(frozen=True, slots=True)
class TiffImage:
    """One image of a TIFF."""

    entry: ImageEntry
    series: TiffPageSeries
    owner: OmeImage | None
    """Image of the OME-XML that owns its pages."""

    before: int | None
    """Page with which the next image begins; None for the last."""

    alone: bool
    """Whether the file holds no other image."""


def choose_series(tif: TiffFile, ome: OmeView | None, path: str, wanted: Wanted) -> TiffImage:
    """The image that is the slide, checked to be one 2-D image.

    Raises
    ------
    SlideError
        If there is none, or what it holds cannot be read as (y, x, c).
    UsageError
        If the user must say which, or asked for one that there is not.
    """
    found = list(_images(tif, ome))
    if not found:
        raise SlideError(f"{path} holds no image")
    entries = [entry for entry, _, _ in found]
    chosen = choose_image(path, entries, wanted)
    _, series, owner = found[entries.index(chosen)]
    if series.transform is not None:
        raise SlideError(
            f"{path} stores encoded {series.kind} values; convert it to a plain or OME-TIFF"
        )
    later = [page_number(other) for entry, other, _ in found if entry.kind is None]
    before = min((page for page in later if page > page_number(series)), default=None)
    return TiffImage(chosen, series, owner, before, len(found) == 1)


def _images(
    tif: TiffFile, ome: OmeView | None
) -> Iterator[tuple[ImageEntry, TiffPageSeries, OmeImage | None]]:
    """Every image, with its series and the OME Image that owns its pages."""
    pictures = [s for s in tif.series if _is_picture(s)]
    whole = [s for s in pictures if not s.keyframe.is_reduced]
    for series in tif.series:
        if not any(series is one for one in (whole or pictures)):
            continue
        owner = ome.owner(page_number(series)) if ome and series.kind == "ome" else None
        name = series.name if owner is None else owner.name
        kind = kind_of(name)
        if kind is None and owner is None and len(pictures) > 1:
            kind = _kind_of_page(series, pictures)
        entry = ImageEntry(
            page_number(series) if owner is None else owner.index,
            image_shape(series),
            tiff_mpp(tif, series, owner),
            name,
            kind,
        )
        yield entry, series, owner


def _is_picture(series: TiffPageSeries) -> bool:
    """Whether a series is an image of its own: neither mask nor sub-directory of another page."""
    axes = series.get_axes(False)
    return (
        "Y" in axes
        and "X" in axes
        and not is_mask(series.keyframe)
        and len(series.keyframe.treeindex) == 1
    )


def _kind_of_page(series: TiffPageSeries, all_series: Sequence[TiffPageSeries]) -> str | None:
    """What a page is by a line of its description; small ones in strips beside tiles are pictures.

    Scanners store the slide in tiles, and label, macro and thumbnail in strips.
    """
    found = _KIND_LINE.search(series.keyframe.description[:_DESCRIPTION])
    if found is not None:
        return found.group(1).lower()
    px = math.prod(image_shape(series))
    tiled = [math.prod(image_shape(s)) for s in all_series if s.keyframe.is_tiled]
    is_small = not series.keyframe.is_tiled and px * _SMALL < max(tiled, default=0)
    return "thumbnail" if is_small else None
