"""Run a module whole and as a sweep, for tests that compare the two."""

from __future__ import annotations

import copy
from functools import cache
from typing import TYPE_CHECKING

import torch

from gigafcn.engine.packed import pack_convolutions
from gigafcn.engine.sweep import Sweep
from gigafcn.engine.upsampled import convolve_before_enlarging
from gigafcn.geometry import Box, Span
from gigafcn.graph.fold import fold_norms
from gigafcn.graph.model_graph import ModelGraph, to_device
from gigafcn.graph.trace import trace
from gigafcn.plan.demand import cut
from gigafcn.plan.sweep_plan import plan_sweep
from tests.nets import NETS, randomised

if TYPE_CHECKING:
    from torch import Tensor, nn

    from gigafcn.engine.sweep import Observe
    from gigafcn.plan.sweep_plan import SweepPlan


def traced(module: nn.Module, size: tuple[int, int], channels: int = 3) -> ModelGraph:
    """Graph of a module that must be local."""
    found = trace(module.eval(), channels, size)
    assert found.graph is not None, [str(blocker) for blocker in found.blockers]
    return found.graph


@cache
def local_net(name: str, size: tuple[int, int]) -> tuple[nn.Module, ModelGraph]:
    """One of the shared nets with random weights, and its graph; made once per image size."""
    module = randomised(NETS[name]())
    return module, traced(module, size)


def placed(
    graph: ModelGraph, dtype: torch.dtype, *, fold: bool = True, pack: bool = True
) -> ModelGraph:
    """Graph ready to run on the CPU in one precision, by default as a run places it."""
    ready = fold_norms(graph) if fold else graph
    if pack and dtype == torch.float32:
        ready = convolve_before_enlarging(ready)
    ready = to_device(ready, torch.device("cpu"), dtype)
    return pack_convolutions(ready) if pack else ready


def whole(module: nn.Module, image: Tensor) -> Tensor:
    """What the untouched module says of the whole image, in the image's precision."""
    with torch.inference_mode():
        result: Tensor = copy.deepcopy(module).to(image.dtype)(image)
    return result


def random_image(size: tuple[int, int], dtype: torch.dtype, channels: int = 3) -> Tensor:
    """Normal noise, the same for each size, drawn in float32 so that precisions can be compared."""
    generator = torch.Generator().manual_seed(size[0] * 1009 + size[1])
    return torch.randn(1, channels, *size, generator=generator).to(dtype)


def tiles(grid: tuple[int, int], tile: tuple[int, int]) -> list[Box]:
    """Tiles that partition a map."""
    rows, columns = cut(Span(0, grid[0]), tile[0]), cut(Span(0, grid[1]), tile[1])
    return [Box.of(y, x) for y in rows for x in columns]


def planned(graph: ModelGraph, tile: Box, strip: int, block: int) -> SweepPlan:
    """Plan of one tile whose cuts are on no multiple of anything."""
    return plan_sweep(graph.nodes, graph.output, tile, strip=strip, block=block, period=(1, 1))


def swept(
    graph: ModelGraph,
    image: Tensor,
    tile: tuple[int, int],
    *,
    strip: int,
    block: int,
    observe: Observe | None = None,
) -> Tensor:
    """The map of an image by sweeps, tile by tile; each output pixel must be written once."""
    result = image.new_full((1, graph.result.channels, *graph.result.grid), float("nan"))
    written = torch.zeros(graph.result.grid, dtype=torch.int32)

    def read(box: Box) -> Tensor:
        rows, columns = box.relative_to(Box(0, 0, 0, 0))
        window = image[:, :, rows, columns]
        assert window.shape[2:] == box.shape, f"read {box} leaves the image"
        return window.contiguous(memory_format=torch.channels_last)

    def write(box: Box, pixels: Tensor) -> None:
        rows, columns = box.relative_to(Box(0, 0, 0, 0))
        result[:, :, rows, columns] = pixels
        written[rows, columns] += 1

    with torch.inference_mode():
        for part in tiles(graph.result.grid, tile):
            Sweep(graph, planned(graph, part, strip, block), observe).run(read, write)
    assert (written == 1).all()
    return result
