"""Does a classifier of patches become a network that is local, and equal on the patch?"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn

from gigafcn.analysis import analyze
from gigafcn.convert.conversion import to_fully_convolutional
from gigafcn.errors import GigafcnError

PATCH = 224
"""Px of the patches that classifiers are converted for."""


def converted(model: nn.Module, channels: int) -> dict[str, Any]:
    """Convert, analyse, and compare on one patch of noise in fp64."""
    try:
        dense = to_fully_convolutional(model, PATCH, channels)
        found = analyze(dense, channels)
        halo = found.halo
    except GigafcnError as error:
        return {"local": False, "error": str(error)[:200]}
    if not found.local:
        return {"local": False, "error": str(found.blockers[0])}
    patch = torch.randn(1, channels, PATCH, PATCH, generator=torch.Generator().manual_seed(5))
    patch = patch.double()
    with torch.inference_mode():
        one = copy.deepcopy(model).double()(patch)
        cell = copy.deepcopy(dense).double()(patch)
    difference = float((cell.flatten() - one.flatten()).abs().max() / one.abs().max())
    stride = [str(s) for s in found.stride]
    return {"local": True, "halo": halo, "stride": stride, "patch": PATCH, "difference": difference}
