"""Images that are long along one axis and narrow across it, of sizes that a model takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from gigafcn.errors import GigafcnError
from gigafcn.graph.trace import trace

if TYPE_CHECKING:
    from gigafcn.analysis import Footprint
    from gigafcn.graph.model_graph import ModelGraph


def probe(
    model: nn.Module, found: Footprint, axis: int, sides: tuple[int, tuple[int, ...]]
) -> tuple[ModelGraph, Tensor]:
    """Graph and noise of the narrowest image that the model takes, at worst the one analysed.

    Parameters
    ----------
    model, found
        A local model and its analysis.
    axis
        The long one, 0 for y.
    sides
        Px along the axis, and px to try across it; rounded up to sizes that differ from the
        analysed one by whole periods.
    """
    long = _admissible(found, axis, sides[0])
    assert found.graph is not None
    narrow = [_admissible(found, 1 - axis, px) for px in sides[1]]
    sizes = [(long, across) if axis == 0 else (across, long) for across in narrow]
    for size in (*sizes, found.graph.size):  # some models take one size alone
        image = torch.randn(1, found.channels, *size, generator=torch.Generator().manual_seed(3))
        try:
            graph = trace(model, found.channels, size).graph
            with torch.inference_mode():
                model(image)
        except (GigafcnError, RuntimeError, ValueError, AssertionError):
            continue  # too narrow for this model
        if graph is not None:
            return graph, image
    raise RuntimeError(f"the model takes no image it was analysed for: {found.graph.size} px")


def _admissible(found: Footprint, axis: int, px: int) -> int:
    """The next size that differs from the analysed one by whole periods."""
    assert found.graph is not None
    base, period = found.graph.size[axis], found.period[axis]
    if any(found.lost):  # smaller images may leave no map at all
        px = max(px, base)
    return base + -(-(px - base) // period) * period
