"""Do the pixels look like what the model was declared to take?

A few small windows of the level that is read, of tissue where some can be told, show how many
deviations the model's input lies from its mean, and whether anything is left of it.  What pixels
suggest is a doubt, not a proof: it is said, kept with the map and in the summary, and ends the run
only with ``--strict``.  An image of which every pixel is the same is refused.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from gigafcn.errors import SlideError
from gigafcn.geometry import Box, Span
from gigafcn.graph.own_scaling import OwnScaling, own_scaling
from gigafcn.plan.image_grid import micrometres
from gigafcn.run.colour_order import reversed_colours
from gigafcn.run.pixel_sample import WINDOWS, Sample, every_px_alike, sample_of

if TYPE_CHECKING:
    from gigafcn.plan.image_grid import ImageGrid
    from gigafcn.run.request import Request

log = logging.getLogger(__name__)

MOST_DEVIATIONS = 12
"""Further from its mean the median of no input lies that a model was meant for."""

LEAST_SPREAD = 0.02
"""Of what the model is fed, from the least to the largest; less is one grey level in fifty."""

MOST_MPP_OFF = 4
"""Times by which px may be larger or smaller than the model's."""

_NEARLY = 0.99  # of that factor: 0.2522 µm are a quarter of 1


@dataclass(frozen=True, slots=True)
class Doubt:
    """Something that suggests that the input is not what the model takes."""

    short: str
    """In a few words, for a closing line."""

    message: str
    """What was seen, with its numbers, and what to try."""


def doubts(request: Request) -> tuple[Doubt, ...]:
    """What of a run's input is doubtful.

    Raises
    ------
    SlideError
        If every pixel of the image is the same, or with ``--strict`` if anything is doubtful.
    """
    sample = sample_of(
        request.slide, request.grid.level, request.plan.channels, computed_areas(request)
    )
    if sample is not None and sample.flat and every_px_alike(request.slide, request.plan.channels):
        values = ", ".join(f"{value:g}" for value in sample.px[0])
        raise SlideError(
            f"every pixel of {request.slide.name} is the same ({values}), so there is nothing to "
            f"map; check the file, --channels and --plane"
        )
    found = [doubt for doubt in (_resolution(request), *_colours(request, sample)) if doubt]
    if sample is not None:
        found += [doubt for doubt in (_fed(request, sample),) if doubt]
    if found and request.options.strict:
        raise SlideError(f"{found[0].message}; without --strict it is mapped all the same")
    for doubt in found:
        log.warning("%s", doubt.message)
    return tuple(found)


def computed_areas(request: Request) -> list[Box]:
    """Where on the level that is read the run computes: all of it, or some chunks of tissue."""
    plan, grid = request.plan, request.grid
    boxes = [plan.box]
    if plan.tissue is not None:
        cells = np.argwhere(plan.tissue.cells())
        chosen = cells[np.linspace(0, len(cells) - 1, min(WINDOWS, len(cells))).astype(int)]
        y, x = (plan.spec.chunk * n for n in plan.averaged)
        boxes = [
            Box(r * y, c * x, (r + 1) * y, (c + 1) * x).shift(plan.box.y0, plan.box.x0)
            for r, c in chosen.tolist()
        ]
    return [_on_level(request, box.intersect(plan.box), grid) for box in boxes]


def _on_level(request: Request, box: Box, grid: ImageGrid) -> Box:
    """Px of the level that is read which a box of the map lies over, one at least."""
    geometry, spans = request.plan.geometry, []
    for axis, span in enumerate(box.spans):
        per_px = Fraction(grid.stored[axis], grid.shape[axis])
        start, stop = (
            int((geometry.offset[axis] + edge * geometry.stride[axis]) * per_px)
            for edge in (span.start, span.stop)
        )
        start = min(max(start, 0), grid.stored[axis] - 1)
        spans.append(Span(start, min(max(stop, start + 1), grid.stored[axis])))
    return Box.of(*spans)


def _resolution(request: Request) -> Doubt | None:
    """Px of another size than the model's, or than the slide's own statement."""
    trained, read = request.original.mpp, request.grid.mpp
    if trained is not None and read is not None and _far_off(read, (trained, trained)):
        return Doubt(
            "resolution far from the model's",
            f"model {request.original.name} was trained at {trained:g} µm/px and is fed px of "
            f"{micrometres(read)}, off by more than {MOST_MPP_OFF} times; leave --mpp and --level "
            f"out to map at the model's own",
        )
    own, told = request.slide.mpp, request.mpp
    if own is not None and told is not None and _far_off(told, own):
        return Doubt(
            "--slide-mpp far from the slide's own",
            f"{request.slide.name} says that its px have {micrometres(own)}, --slide-mpp says "
            f"{micrometres(told)}: off by more than {MOST_MPP_OFF} times",
        )
    return None


def _far_off(one: tuple[float, float], other: tuple[float, float]) -> bool:
    ratios = [a / b for a, b in zip(one, other, strict=True)]
    return max(*ratios, *(1 / r for r in ratios)) >= MOST_MPP_OFF * _NEARLY


def _colours(request: Request, sample: Sample | None) -> list[Doubt]:
    slide, plan = request.slide, request.plan
    reason = reversed_colours(slide, plan.channels, plan.scaling, sample)
    return [] if reason is None else [Doubt("red and blue may be swapped", reason)]


def _fed(request: Request, sample: Sample) -> Doubt | None:
    """Input far from its mean, or with nothing left in it."""
    scaling, own = request.plan.scaling, _own_scaling(request)
    fed = (sample.px * np.asarray(scaling.scale) - np.asarray(scaling.mean)) / np.asarray(
        scaling.std
    )
    if own is not None:
        fed = fed * np.asarray(own.factor) + np.asarray(own.offset)
    least, most = float(fed.min()), float(fed.max())
    spread = float((fed.max(axis=0) - fed.min(axis=0)).max())
    seen = (
        f"px of {request.slide.name} at level {request.grid.level} lie between "
        f"{float(sample.px.min()):.4g} and {float(sample.px.max()):.4g}, and the model is fed "
        f"{least:.3g} to {most:.3g}"
    )
    twice = "" if own is None else ", after its own first scaling"
    how = "the model is fed (stored * scale - mean) / std; check --scale, --mean and --std"
    if spread < LEAST_SPREAD and not sample.flat:
        return Doubt(
            "nearly nothing left of the input",
            f"{seen}{twice}, all within {LEAST_SPREAD:g}: scaled down twice? {how}",
        )
    deviations = float(np.median(np.abs(fed[sample.tissue]).max(axis=1)))
    if deviations > MOST_DEVIATIONS and _in_deviations(request):
        return Doubt(
            f"input {deviations:.0f} deviations from its mean",
            f"{seen}{twice}, in the middle {deviations:.0f} deviations from the mean, where "
            f"{MOST_DEVIATIONS} are the most that anything meant for it has: not scaled down? "
            f"{how}",
        )
    return None


def _in_deviations(request: Request) -> bool:
    """Whether what the model is fed is declared to be in deviations.

    A scale that was given and a std of 1 say that the model takes other units, such as 0 to 255.
    """
    given = request.options.scale is not None or request.original.scale is not None
    return not given or any(std != 1 for std in request.plan.scaling.std)


def _own_scaling(request: Request) -> OwnScaling | None:
    return None if request.footprint is None else own_scaling(request.graph)
