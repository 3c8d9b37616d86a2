"""Poison: what a tile of an untouched module truly depends on, checked against a graph.

NaN reaches wherever its pixel is read, whatever the weights, unless it is compared or moved: a
max pool with NaN in its window puts the maximum there, and unpooling then writes zero elsewhere.
For nets that unpool, two images that differ outside a box are compared instead.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from gigafcn.certificate.poison import nan_in_tile
from gigafcn.geometry import Box

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import nn

    from gigafcn.graph.model_graph import ModelGraph

    Reaches = Callable[[nn.Module, tuple[int, int], Box, Box], bool]

SIDES = ("top", "left", "bottom", "right")


def poisons(module: nn.Module, size: tuple[int, int], clean: Box, tile: Box) -> bool:
    """Whether NaN everywhere outside the box ``clean`` of the image reaches the tile."""
    generator = torch.Generator().manual_seed(0)
    image = torch.rand((1, 3, *size), generator=generator)
    return nan_in_tile(module, image, clean, tile) > 0


def moves(module: nn.Module, size: tuple[int, int], clean: Box, tile: Box) -> bool:
    """Whether large values of either sign outside the box ``clean`` change the tile."""
    generator = torch.Generator().manual_seed(0)
    inside = torch.rand(1, 3, *clean.shape, generator=generator)
    rows, columns = clean.relative_to(Box(0, 0, 0, 0))
    part = tile.relative_to(Box(0, 0, 0, 0))
    found = []
    for outside in (-100.0, 100.0, 30.0):
        image = torch.full((1, 3, *size), outside)
        image[:, :, rows, columns] = inside
        with torch.inference_mode():
            found.append(module(image)[:, :, part[0], part[1]])
    return any(not torch.equal(found[0], other) for other in found[1:])


def one_further_in(need: Box, size: tuple[int, int]) -> Iterator[tuple[str, Box]]:
    """The need with one row or column less, for each side that the image does not clip."""
    if need.is_empty:
        return
    inner = (
        Box(need.y0 + 1, need.x0, need.y1, need.x1),
        Box(need.y0, need.x0 + 1, need.y1, need.x1),
        Box(need.y0, need.x0, need.y1 - 1, need.x1),
        Box(need.y0, need.x0, need.y1, need.x1 - 1),
    )
    clipped = (need.y0 == 0, need.x0 == 0, need.y1 == size[0], need.x1 == size[1])
    for side, box, at_edge in zip(SIDES, inner, clipped, strict=True):
        if not at_edge:
            yield side, box


def check_poison(
    module: nn.Module, graph: ModelGraph, tile: Box, reaches: Reaches = poisons
) -> list[str]:
    """Assert that a tile's need suffices and is minimal; return the sides that were tried."""
    need = graph.need_box(tile)
    assert not reaches(module, graph.size, need, tile), f"{tile} reads beyond {need}"
    tried = []
    for side, box in one_further_in(need, graph.size):
        assert reaches(module, graph.size, box, tile), f"{tile} does not read the {side} of {need}"
        tried.append(side)
    return tried
