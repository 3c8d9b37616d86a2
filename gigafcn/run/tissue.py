"""Which chunks of a map show tissue: by the slide's own colours, a mask, or drawn polygons?

A chunk counts as soon as anything within its cell on the slide does.  Masks cover the whole slide,
at any size of its shape; polygons are GeoJSON in QuPath's coordinates, level-0 px from the corner
of what viewers show.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely

from gigafcn.errors import SlideError, UsageError
from gigafcn.geometry import Span
from gigafcn.plan.projection import Demand
from gigafcn.plan.tissue import Tissue
from gigafcn.run.choices import mpp
from gigafcn.run.window_cells import WindowCells, any_per_chunk
from gigafcn.slide.annotations import read_areas, told_apart
from gigafcn.slide.fingerprint import hash_file
from gigafcn.slide.mask_file import read_mask
from gigafcn.slide.protocol import colours_of
from gigafcn.slide.thumbnail import read_thumbnail
from gigafcn.slide.tissue import tissue_mask

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gigafcn.plan.run_plan import RunPlan
    from gigafcn.plan.window_layout import WindowDemand
    from gigafcn.run.options import Options
    from gigafcn.slide.protocol import Slide

Pair = tuple[float, float]

log = logging.getLogger(__name__)

THUMBNAIL_PX = 2048
MOST_SHARE = 0.995
"""A mask that marks more is likely to be meant another way."""

POLYGON_SUFFIXES = (".geojson", ".json")
_OTHER_SHAPE = 0.02  # relative difference between the shapes of mask and slide


@dataclass(frozen=True, slots=True)
class Cells:
    """Where the chunks of a map lie, in level-0 px of the slide."""

    rows: NDArray[np.float64]
    """Edges, one more than chunks."""

    columns: NDArray[np.float64]

    @classmethod
    def of(cls, plan: RunPlan) -> Cells:
        """Chunks of a plan's store."""
        edges = []
        for axis in (0, 1):
            step = plan.spec.chunk * plan.averaged[axis]
            span, count = plan.box.spans[axis], plan.spec.status_shape[axis]
            place = np.minimum(span.start + np.arange(count + 1) * step, span.stop)
            stride, offset = plan.geometry.stride[axis], plan.geometry.offset[axis]
            edges.append((float(offset) + place * float(stride)) * float(plan.pixel[axis]))
        return cls(edges[0], edges[1])

    def under(self, mask: NDArray[np.bool_], px: tuple[float, float]) -> NDArray[np.bool_]:
        """Chunks (y, x) with a px of a mask of the whole slide; ``px`` is level-0 px per its px."""
        first, stop = [], []
        for edges, size, scale in zip((self.rows, self.columns), mask.shape, px, strict=True):
            low = np.floor(edges[:-1] / scale + 1e-6).astype(int)
            high = np.ceil(edges[1:] / scale - 1e-6).astype(int)
            first.append(np.clip(low, 0, size))
            stop.append(np.clip(high, 0, size))
        sums = np.zeros((mask.shape[0] + 1, mask.shape[1] + 1), np.int64)
        sums[1:, 1:] = mask.cumsum(axis=0, dtype=np.int64).cumsum(axis=1)
        y0, y1, x0, x1 = first[0][:, None], stop[0][:, None], first[1], stop[1]
        found: NDArray[np.bool_] = sums[y1, x1] - sums[y0, x1] - sums[y1, x0] + sums[y0, x0] > 0
        return found

    def touching(self, areas: NDArray[Any]) -> NDArray[np.bool_]:
        """Chunks (y, x) that share an area with polygons, not an edge alone."""
        x0, y0 = np.meshgrid(self.columns[:-1], self.rows[:-1])
        x1, y1 = np.meshgrid(self.columns[1:], self.rows[1:])
        boxes = shapely.box(x0.ravel(), y0.ravel(), x1.ravel(), y1.ravel())
        shapely.prepare(areas)
        area, box = shapely.STRtree(boxes).query(areas, predicate="intersects")
        found = np.zeros(x0.size, bool)
        found[box[~shapely.touches(areas[area], boxes[box])]] = True
        return found.reshape(x0.shape)


def with_tissue(
    plan: RunPlan, slide: Slide, options: Options, demand: Demand | WindowDemand
) -> RunPlan:
    """The plan with the chunks that are computed.

    Raises
    ------
    UsageError
        If mask or polygons cannot be read or do not fit the slide.
    """
    asked = options.tissue
    polygons = Path(str(asked)).suffix.lower() in POLYGON_SUFFIXES
    if options.tissue_class is not None and not polygons:
        raise UsageError(
            f"tissue-class names classes of polygons, but tissue is {asked or 'none'}; give "
            f"--tissue FILE.geojson"
        )
    if asked in (None, "none"):
        return plan
    by_window = plan.mode == "patch" and plan.averaged == (1, 1)
    cells = WindowCells.of(plan, options.min_tissue) if by_window else Cells.of(plan)
    if asked == "auto":
        found = _by_colour(slide, cells)
    elif polygons:
        found = _by_polygons(slide, cells, Path(str(asked)), options)
    else:
        found = _by_mask(slide, cells, Path(str(asked)), orient=options.orient)
    if by_window:
        return _with_windows(plan, slide, options, found, _margin(plan, demand))
    if not found.any():
        if asked != "auto":
            raise UsageError(f"tissue {asked} marks nothing in the mapped part of {slide.name}")
        log.warning("%s shows nothing that looks like tissue, so all of it is background",
                    slide.name)  # fmt: skip
    spec = replace(plan.spec, leaves_out="chunks")
    return replace(plan, spec=spec, tissue=Tissue.of(found, _margin(plan, demand)))


def _with_windows(
    plan: RunPlan, slide: Slide, options: Options, kept: NDArray[np.bool_], margin: Pair
) -> RunPlan:
    """The plan with the windows of patch that are computed, and the chunks that hold them."""
    if not kept.any():
        raise SlideError(
            f"{slide.name}: none of {kept.size} windows holds {options.min_tissue:.0%} of tissue "
            f"(by --tissue {options.tissue}), so there is nothing to compute; lower --min-tissue "
            f"or give another --tissue"
        )
    chunks = Tissue.of(any_per_chunk(kept, plan.spec.chunk), margin)
    spec = replace(plan.spec, leaves_out="px")
    return replace(plan, spec=spec, tissue=chunks, kept=Tissue.of(kept))


def kept_windows(plan: RunPlan) -> tuple[int, int]:
    """Windows of patch that are computed, and all of the mapped part."""
    total = plan.box.area
    return total if plan.kept is None else int(plan.kept.cells().sum()), total


def uncovered(plan: RunPlan) -> str:
    """What no window of patch reaches at right and below, in words; "" if nothing."""
    windows = plan.windows
    if windows is None or windows.mode != "patch":
        return ""
    beyond = []
    for axis, where in ((1, "at right"), (0, "below")):
        stop = windows.window(axis, windows.count[axis] - 1).stop - plan.geometry.origin[axis]
        rest = plan.geometry.image[axis] - stop
        if rest > 0 and plan.box.spans[axis].stop == plan.geometry.shape[axis]:
            beyond.append(f"{rest} px {where}")
    return f"{' and '.join(beyond)} lie in no window (--border cover)" if beyond else ""


def _margin(plan: RunPlan, demand: Demand | WindowDemand) -> tuple[float, float]:
    """Chunks (y, x) beside a box that the model sees, both sides together."""
    sides = []
    for axis in (0, 1):
        stride = float(plan.geometry.stride[axis])
        if isinstance(demand, Demand):
            middle = plan.box.spans[axis].start + plan.box.spans[axis].size // 2
            own = Span(middle, middle + plan.period[axis])
            beyond = demand.graph.need(own, axis, clip=False).size - own.size * stride
        else:
            beyond = demand.windows.size[axis]
        sides.append(max(0.0, beyond / (stride * plan.spec.chunk * plan.averaged[axis])))
    return sides[0], sides[1]


def tissue_identity(options: Options) -> str:
    """What was asked for, a file by its bytes."""
    if options.tissue in (None, "none", "auto"):
        return str(options.tissue or "none")
    return hash_file(Path(str(options.tissue)))


def described_tissue(plan: RunPlan, options: Options) -> dict[str, Any]:
    """What a map records of it; names of files are left out."""
    if plan.tissue is None:
        return {"by": "none"}
    is_file = options.tissue != "auto"
    suffix = Path(str(options.tissue)).suffix.lower()
    by = ("polygons" if suffix in POLYGON_SUFFIXES else "mask") if is_file else "auto"
    return {
        "by": by,
        "chunks": int(plan.tissue.cells().sum()),
        "share": round(plan.tissue.share, 6),
        "computed_share": round(plan.computed_share, 6),
        **_described_windows(plan, options),
    }


def _described_windows(plan: RunPlan, options: Options) -> dict[str, Any]:
    if plan.kept is None:
        return {}
    kept, total = kept_windows(plan)
    return {"windows": kept, "of_windows": total, "min_tissue": options.min_tissue}


def looks_stained(slide: Slide) -> bool:
    """Whether tissue can be told by colour at all."""
    return len(colours_of(slide)) == 3 and slide.dtype == np.uint8


def _by_colour(slide: Slide, cells: Cells | WindowCells) -> NDArray[np.bool_]:
    if not looks_stained(slide):
        raise UsageError(
            f"tissue auto needs a slide of three channels of 8 bit, {slide.name} has "
            f"{slide.channels} of {slide.dtype}; give a mask or polygons, or leave it out"
        )
    mask = tissue_mask(read_thumbnail(slide, THUMBNAIL_PX))
    return cells.under(mask, _scale(slide, mask.shape))


def _scale(slide: Slide, shape: tuple[int, ...]) -> tuple[float, float]:
    """Level-0 px per px of a picture of the whole slide; its last px may be smaller."""
    height, width = slide.levels[0].shape
    return height / shape[0], width / shape[1]


def _by_mask(
    slide: Slide, cells: Cells | WindowCells, path: Path, *, orient: bool
) -> NDArray[np.bool_]:
    try:
        mask = read_mask(path, orient=orient)
    except SlideError as error:
        raise UsageError(f"tissue mask {error}; give a file, auto or none") from error
    (height, width), full = mask.shape, slide.levels[0].shape
    far_off = abs(height * full[1] / (width * full[0]) - 1) > _OTHER_SHAPE
    if far_off and min(abs(height - full[0] * width / full[1]),
                       abs(width - full[1] * height / full[0])) > 1:  # fmt: skip
        raise UsageError(
            f"tissue mask {path} of {height} x {width} px (y, x) has another shape than "
            f"{slide.name} of {full[0]} x {full[1]} px; it must cover the whole slide"
        )
    share = float(mask.mean())
    log.info("mask: %.3g %% of it is tissue", 100 * share)
    if share >= MOST_SHARE:
        log.warning(
            "tissue mask %s marks %.4g %% of itself as tissue, so it leaves out nothing; tissue is "
            "what is white, coloured or numbered, on black, index 0 or transparent ground",
            path, 100 * share,
        )  # fmt: skip
    return cells.under(mask, _scale(slide, mask.shape))


def _by_polygons(
    slide: Slide, cells: Cells | WindowCells, path: Path, options: Options
) -> NDArray[np.bool_]:
    told = told_apart(read_areas(path), options.tissue_class, path)
    log.info("polygons: %s", told.described(mpp(slide, options.slide_mpp)))
    areas = np.array(told.polygons())
    if not areas.size:
        raise UsageError(
            f"tissue {path}: what is cut out of its polygons leaves nothing; see --tissue-class"
        )
    bounds = slide.traits.bounds
    if options.crop and bounds is not None:
        areas = shapely.transform(areas, lambda points: points + np.array((bounds.x0, bounds.y0)))
    height, width = slide.levels[0].shape
    whole = shapely.box(0, 0, width, height)
    outside = ~shapely.intersects(areas, whole)
    if outside.all():
        raise UsageError(
            f"tissue {path}: all {len(areas)} polygons lie outside {slide.name} of {height} x "
            f"{width} px (y, x); coordinates are x, y in level-0 px"
        )
    beyond = ~shapely.covers(whole, areas)
    if beyond.any():
        log.warning("%s: %d of %d polygons reach beyond the slide and are cut there",
                    path, int(beyond.sum()), len(areas))  # fmt: skip
    return cells.touching(areas[~outside])
