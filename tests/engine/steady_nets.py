"""Nets whose strips are mostly alike, and their sweeps, for tests of what is played back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from gigafcn.engine.playback import playable
from gigafcn.engine.sweep import Sweep
from gigafcn.geometry import Box
from gigafcn.plan.sweep_plan import plan_sweep
from tests.nets import NETS, randomised
from tests.sweeping import placed, traced

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor, nn

    from gigafcn.engine.playback import Record
    from gigafcn.engine.sweep import Observe
    from gigafcn.graph.model_graph import ModelGraph
    from gigafcn.plan.sweep_plan import SweepPlan

SIZE = (640, 96)
STRIP, BLOCK, PERIOD = 32, 32, 32


def op_by_op(graph: ModelGraph, image: Tensor) -> Tensor:
    """The map of the whole image with nothing played: what watches is told of every box."""
    return swept(graph, image, observe=lambda _node, _box: None)


def swept(
    graph: ModelGraph,
    image: Tensor,
    record: Record | None = None,
    observe: Observe | None = None,
    turn: Callable[[Tensor], Tensor] = torch.clone,
) -> Tensor:
    """The map of the whole image."""
    plan = plan_of(graph)
    blocks: list[tuple[Box, Tensor]] = []
    with torch.inference_mode():
        Sweep(graph, plan, observe, record).run(
            lambda box: turn(image[:, :, box.y0 : box.y1, box.x0 : box.x1]),
            lambda box, tensor: blocks.append((box, tensor.clone())),
        )
    found = torch.full((1, blocks[0][1].shape[1], *graph.result.grid), torch.nan)
    for box, tensor in blocks:
        found[:, :, box.y0 : box.y1, box.x0 : box.x1] = tensor
    return found


def plan_of(graph: ModelGraph) -> SweepPlan:
    return plan_sweep(
        graph.nodes, graph.output, Box.whole(graph.result.grid),
        strip=STRIP, block=BLOCK, period=(PERIOD, PERIOD),
    )  # fmt: skip


def graph_of(net: nn.Module, *, pack: bool = False) -> ModelGraph:
    return placed(traced(randomised(net), SIZE), torch.float32, pack=pack)


def image() -> Tensor:
    return torch.rand(1, 3, *SIZE, generator=torch.Generator().manual_seed(1))


def names_of_playable() -> list[str]:
    found = []
    for name, make in NETS.items():
        try:
            graph = graph_of(make())
        except (AssertionError, RuntimeError, ValueError):  # other channels or sizes, or not local
            continue
        if playable(graph, plan_of(graph)):
            found.append(name)
    return found


PLAYABLE = names_of_playable()
