"""How much hangs on the padding, measured at the far edge of a slide or on noise."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from gigafcn.certificate.compare import noise_window
from gigafcn.certificate.far_edge import FarEdge, far_corner, far_edge
from gigafcn.engine.forward import Forward
from gigafcn.engine.pixels import to_input
from gigafcn.geometry import Box
from gigafcn.run.slide_windows import window_of_image

if TYPE_CHECKING:
    from gigafcn.analysis import Footprint
    from gigafcn.model.loading import LoadedModel
    from gigafcn.run.options import Options
    from gigafcn.run.request import Request
    from gigafcn.slide.protocol import Slide

NOISE_PX = 256
SEED = 5


def may_be_padded(footprint: Footprint) -> bool:
    """Whether both are possible: the image padded to the period, and the image itself."""
    return not (footprint.blockers or footprint.no_period or any(footprint.lost))


def far_edge_of(request: Request) -> FarEdge | None:
    """Of a run's image, in the scores of the run; None where padding changes nothing.

    Raises
    ------
    UnreadableError
        If the image cannot be read there and the run is strict.
    """
    plan = request.plan
    if plan.windows is not None or request.classifier or not may_be_padded(request.exact):
        return None
    corner = far_corner(plan.geometry.image, request.exact.period)
    if corner is None:
        return None
    stored = request.image.read(Box(*corner, *plan.geometry.image))
    pixels = to_input(stored, plan.scaling, torch.device("cpu"), torch.float32)
    run = Forward(request.model.module, request.exact.output or None)
    return far_edge(
        run, pixels, request.exact.period, activation=plan.activation, source="of the image"
    )


def far_edge_on(
    footprint: Footprint,
    slide: Slide | None,
    model: LoadedModel,
    options: Options,
    channels: tuple[int, ...],
) -> FarEdge | None:
    """Of a slide, or of noise if there is none, in the model's own output."""
    if not may_be_padded(footprint):
        return None
    run = Forward(footprint.module, footprint.output or None)
    if slide is None:
        y, x = (-(-NOISE_PX // p) * p - (p + 1) // 2 for p in footprint.period)
        if footprint.period == (1, 1):
            return None
        pixels = noise_window(len(channels), (y, x), SEED).pixels.float()
        return far_edge(run, pixels, footprint.period, source="of noise")
    window = window_of_image(
        slide, model, options, channels, lambda image: far_corner(image, footprint.period)
    )
    if window is None:
        return None
    return far_edge(run, window.pixels.float(), footprint.period, source="of the image")
