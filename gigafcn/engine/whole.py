"""The whole run: what exact means.  The untouched module on the whole padded image in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from gigafcn.engine.pixels import PRECISIONS, activated, to_input
from gigafcn.engine.precision import as_asked
from gigafcn.geometry import Box

if TYPE_CHECKING:
    from gigafcn.engine.reading import PaddedImage
    from gigafcn.plan.run_plan import RunPlan


def whole_run(module: nn.Module, image: PaddedImage, plan: RunPlan) -> Tensor:
    """Scores (1, c, y, x) of the plan's part of the map, computed without tiles.

    ``activation(model(normalise(pad(image))))``, cropped.  Needs memory for the whole image.
    """
    stored = image.read(Box.whole(plan.geometry.padded))
    device = torch.device(plan.device)
    dtype = PRECISIONS[plan.precision]
    pixels = to_input(stored, plan.scaling, device, dtype)
    with as_asked():
        scores = activated(module(pixels), plan.activation)
    rows, columns = plan.box.relative_to(Box(0, 0, 0, 0))
    return scores[:, :, rows, columns]
