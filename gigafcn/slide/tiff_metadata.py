"""What a TIFF says about its pixel size and channels, and what else it says of itself.

In this order: OME-XML, ImageJ's unit, Aperio's ``MPP =``, the resolution tags.  A value outside
the plausible range counts as not said, and the next place is asked.  Names of channels come from
OME-XML alone; no other text of the file is kept, since it may name a patient.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from gigafcn.slide.georeference import TAGS, georeference
from gigafcn.slide.mpp import in_micrometres, parse_number, plausible_mpp
from gigafcn.slide.orientation import TAG, orientation_of
from gigafcn.slide.protocol import default_channel_names
from gigafcn.slide.tiff_plane import SegmentPlane
from gigafcn.slide.tiff_series import no_data_of
from gigafcn.slide.traits import Traits

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tifffile import TiffFile, TiffPage, TiffPageSeries

    from gigafcn.slide.ome_xml import OmeImage
    from gigafcn.slide.protocol import Factors
    from gigafcn.slide.tiff_plane import Plane

_X_RESOLUTION, _Y_RESOLUTION, _RESOLUTION_UNIT = 282, 283, 296
_ICC_PROFILE = 34675
_UNITS = {2: "inch", 3: "cm"}
_GDAL_METADATA = 42112
_ALPHA = (1, 2)
"""ExtraSamples: associated (premultiplied) and unassociated alpha."""
_APERIO_MPP = re.compile(r"\bMPP\s*=\s*([0-9]+(?:[.,][0-9]+)?)")


def tiff_mpp(
    tif: TiffFile, series: TiffPageSeries, owner: OmeImage | None
) -> tuple[float, float] | None:
    """Micrometres per px (y, x) at level 0, None when unknown or implausible.

    Parameters
    ----------
    owner
        The Image of OME-XML that owns the pages of the series.
    """
    page = series.keyframe
    return (
        _ome_mpp(None if owner is None else owner.pixels)
        or _imagej_mpp(tif, page)
        or _aperio_mpp(page)
        or _resolution_mpp(page, _UNITS.get(int(page.tags.valueof(_RESOLUTION_UNIT, 2))))
    )


def tiff_traits(
    tif: TiffFile, series: TiffPageSeries, planes: Sequence[Plane], chosen: Mapping[str, int]
) -> Traits:
    """What the file says beside pixels, sizes and names."""
    page = series.keyframe
    absent = planes[0].absent_count if isinstance(planes[0], SegmentPlane) else 0
    geo = georeference({code: page.tags.valueof(code) for code in TAGS})
    kind = "bigtiff" if tif.is_bigtiff else "tiff"
    alpha = alpha_of(page) if sum(plane.samples for plane in planes) == _samples(page) else None
    return Traits(
        f"{'geo' if geo is not None else ''}{kind} {series.kind}",
        icc_profile=_ICC_PROFILE in page.tags,
        geo=geo,
        no_data=no_data_of(page),
        alpha=alpha,
        mask=None if alpha is None else "alpha",
        orientation=orientation_of(page.tags.valueof(TAG)),
        absent_tiles=absent,
        plane=tuple((axis.lower(), index) for axis, index in chosen.items()),
    )


def _samples(page: TiffPage) -> int:
    return int(page.samplesperpixel)


def alpha_of(page: TiffPage) -> int | None:
    """Sample that is declared to be alpha, by ExtraSamples or GDAL's colour interpretation."""
    extra = [int(kind) for kind in page.extrasamples]
    declared = [_samples(page) - len(extra) + n for n, kind in enumerate(extra) if kind in _ALPHA]
    try:
        root = ElementTree.fromstring(str(page.tags.valueof(_GDAL_METADATA) or "<none/>"))
    except ElementTree.ParseError:
        return declared[0] if declared else None
    declared += [
        int(item.get("sample", ""))
        for item in root
        if item.get("role") == "colorinterp"
        and (item.text or "").strip().lower() == "alpha"
        and item.get("sample", "").isdigit()
    ]
    return next((sample for sample in declared if 0 <= sample < _samples(page)), None)


def is_premultiplied(page: TiffPage) -> bool:
    """Whether colours are stored multiplied by alpha."""
    first = next((int(kind) for kind in page.extrasamples if int(kind) in _ALPHA), None)
    return first == _ALPHA[0]


def tiff_channel_names(owner: OmeImage | None, channels: int, alpha: int | None) -> tuple[str, ...]:
    """OME channel names when there is one per channel, else defaults; "alpha" only if declared."""
    names = () if owner is None else owner.channel_names
    if len(names) == channels and all(names):
        return names
    if alpha is None:
        usual = default_channel_names(channels)
        return tuple(f"channel {n}" if name == "alpha" else name for n, name in enumerate(usual))
    colours = list(default_channel_names(channels - 1))
    return (*colours[:alpha], "alpha", *colours[alpha:])


def _ome_mpp(pixels: ElementTree.Element | None) -> tuple[float, float] | None:
    if pixels is None:
        return None
    y, x = (
        in_micrometres(
            pixels.get(f"PhysicalSize{axis}"), pixels.get(f"PhysicalSize{axis}Unit", "um")
        )
        for axis in "YX"
    )
    return plausible_mpp(y, x)


def stated_factors(base: TiffPage, level: TiffPage) -> Factors | None:
    """How much larger a level's px are than level 0's by the resolution tags of both pages.

    None where they say nothing: without tags that can be believed, or where a level repeats those
    of level 0, as many writers do.
    """
    full, own = (
        _resolution_mpp(page, _UNITS.get(int(page.tags.valueof(_RESOLUTION_UNIT, 2))))
        for page in (base, level)
    )
    if full is None or own is None or own == full:
        return None
    return own[0] / full[0], own[1] / full[1]


def _imagej_mpp(tif: TiffFile, page: TiffPage) -> tuple[float, float] | None:
    """ImageJ writes px per unit into the resolution tags and names the unit in the text."""
    metadata = tif.imagej_metadata or {}
    return _resolution_mpp(page, metadata.get("unit"))


def _aperio_mpp(page: TiffPage) -> tuple[float, float] | None:
    found = _APERIO_MPP.search(page.description)
    value = None if found is None else parse_number(found.group(1))
    return plausible_mpp(value, value)


def _resolution_mpp(page: TiffPage, unit: object) -> tuple[float, float] | None:
    """Invert px per unit; None without unit, tags, or a positive resolution."""
    sizes: list[float | None] = []
    for code in (_Y_RESOLUTION, _X_RESOLUTION):
        ratio = page.tags.valueof(code)
        if not isinstance(ratio, tuple) or len(ratio) != 2 or min(ratio) <= 0:
            return None
        sizes.append(in_micrometres(ratio[1] / ratio[0], unit))
    return plausible_mpp(sizes[0], sizes[1])
