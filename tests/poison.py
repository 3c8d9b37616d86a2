"""NaN poison: what a tile of an untouched module truly depends on, checked against a graph."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from gigafcn.geometry import Box

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import nn

    from gigafcn.graph.model_graph import ModelGraph

SIDES = ("top", "left", "bottom", "right")


def poisons(module: nn.Module, size: tuple[int, int], clean: Box, tile: Box) -> bool:
    """Whether NaN everywhere outside the box ``clean`` of the image reaches the tile."""
    generator = torch.Generator().manual_seed(0)
    image = torch.full((1, 3, *size), float("nan"))
    rows, columns = clean.relative_to(Box(0, 0, 0, 0))
    image[:, :, rows, columns] = torch.rand(1, 3, *clean.shape, generator=generator)
    with torch.inference_mode():
        rows, columns = tile.relative_to(Box(0, 0, 0, 0))
        return bool(module(image)[:, :, rows, columns].isnan().any())


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


def check_poison(module: nn.Module, graph: ModelGraph, tile: Box) -> list[str]:
    """Assert that a tile's need suffices and is minimal; return the sides that were tried."""
    need = graph.need_box(tile)
    assert not poisons(module, graph.size, need, tile), f"{tile} reads beyond {need}"
    tried = []
    for side, box in one_further_in(need, graph.size):
        assert poisons(module, graph.size, box, tile), f"{tile} does not read the {side} of {need}"
        tried.append(side)
    return tried
