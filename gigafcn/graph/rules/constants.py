"""Constants that meet pixels: the same everywhere in space, or a blocker.

A constant of the image's size that holds one value per channel (zeros to pad channels with, say)
is as good as that value; one that varies over y or x would have to be cut for every box, and
grows with the image.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gigafcn.graph.rules.registry import Axes, Blocked

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

aten = torch.ops.aten

FILLED: dict[Callable[..., Any], Callable[[dict[str, Any]], float]] = {
    aten.zeros.default: lambda arguments: 0.0,
    aten.new_zeros.default: lambda arguments: 0.0,
    aten.ones.default: lambda arguments: 1.0,
    aten.new_ones.default: lambda arguments: 1.0,
    aten.full.default: lambda arguments: float(arguments["fill_value"]),
    aten.new_full.default: lambda arguments: float(arguments["fill_value"]),
}
"""Ops that fill a tensor with one value, and how to find it; pixels give them a size at most."""


def filled(shape: tuple[int, ...], value: float, dtype: torch.dtype) -> Tensor:
    """A tensor of one value that takes no memory of its size."""
    return torch.full((), value, dtype=dtype).expand(shape)


def one_per_channel(name: str, constant: Tensor, axes: Axes) -> Tensor:
    """The constant with size 1 along y, x and the batch.

    Raises
    ------
    Blocked
        If it varies along one of them, or has more dimensions than the pixels.
    """
    shape = tuple(constant.shape)
    if len(shape) > len(axes):
        raise Blocked(f"constant {name!r} of shape {shape} adds a dimension")
    for label, dim in zip(reversed(axes), range(len(shape) - 1, -1, -1), strict=False):
        if label == "c" or constant.shape[dim] == 1:
            continue
        first = constant.narrow(dim, 0, 1)
        if constant.stride(dim) != 0 and not bool((constant == first).all()):
            where = "the batch" if label == "b" else "space"
            raise Blocked(f"constant {name!r} of shape {shape} varies over {where}")
        if label == "b":
            raise Blocked(f"constant {name!r} of shape {shape} adds images to the batch")
        constant = first
    return constant
