"""The picture beside a map: the slide, and the map laid over it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from gigafcn.geometry import Box
from gigafcn.output.picture import Thumbnail, write_picture
from gigafcn.run.places import picture_of
from gigafcn.run.telling import described_mode
from gigafcn.run.tissue import looks_stained
from gigafcn.slide.thumbnail import read_thumbnail
from gigafcn.slide.tissue import tissue_mask

if TYPE_CHECKING:
    from pathlib import Path

    from gigafcn.run.request import Request

THUMBNAIL_PX = 1600


def draw_picture(request: Request, path: Path) -> float | None:
    """Draw it; of a region alone, nothing else of the slide is read.

    Returns which part of the picture looks like tissue, 0 to 1, if all of the slide was mapped and
    its colours can tell.
    """
    slide, spec, region = request.slide, request.plan.spec, request.options.region
    pixel = [float(p) for p in request.plan.pixel]
    start = [spec.offset[a] * pixel[a] for a in (0, 1)]
    stop = [start[a] + float(spec.shape[a] * spec.stride[a]) * pixel[a] for a in (0, 1)]
    covered = Box(round(start[0]), round(start[1]), round(stop[0]), round(stop[1]))
    shown = whole = Box.whole(slide.levels[0].shape)
    caption = f"model {request.model.name} · {described_mode(request)}"
    if region is not None:
        shown = covered.hull(Box(*region)).intersect(whole)
        if Box(*region) != slide.traits.bounds:
            caption += f" · region y {region[0]} to {region[2]}, x {region[1]} to {region[3]} px"
    pixels = read_thumbnail(
        slide, THUMBNAIL_PX, box=None if region is None else shown, threads=request.plan.threads
    )
    tells = request.plan.tissue is None and region is None and looks_stained(slide)
    with ThreadPoolExecutor(1, "gigafcn-tissue") as beside:
        mask = beside.submit(tissue_mask, pixels[::2, ::2]) if tells else None
        write_picture(
            picture_of(path),
            path,
            Thumbnail(pixels, shown, request.mpp),
            map_box=covered,
            title=slide.name,
            caption=caption,
        )
        return None if mask is None else float(mask.result().mean())
