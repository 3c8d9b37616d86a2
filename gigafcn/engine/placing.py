"""The traced graph as it runs on a device: rewritten where that is faster and says the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gigafcn.engine.packed import pack_convolutions, packable
from gigafcn.engine.upsampled import convolve_before_enlarging
from gigafcn.graph.fold import fold_norms
from gigafcn.graph.model_graph import ModelGraph, to_device

if TYPE_CHECKING:
    import torch


def placed_on(graph: ModelGraph, device: torch.device, dtype: torch.dtype) -> ModelGraph:
    """Norms folded into convolutions, weights on the device; on the CPU in fp32 also laid out.

    Equal to the traced graph up to rounding: the sums of weights are made in double precision.
    """
    folded = fold_norms(graph)
    if device.type == "cpu" and dtype in packable():
        folded = convolve_before_enlarging(folded)
    return pack_convolutions(to_device(folded, device, dtype))
