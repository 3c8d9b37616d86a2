"""Within a tile no node computes a pixel twice, and it computes just what the plan says."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import pytest
import torch

from gigafcn.engine.sweep import Sweep
from gigafcn.geometry import Box, Span
from gigafcn.plan.demand import axis_demand, cut
from tests.nets import NETS
from tests.sweeping import local_net, placed, planned

if TYPE_CHECKING:
    from gigafcn.graph.model_graph import ModelGraph
    from gigafcn.plan.sweep_plan import SweepPlan

SIZE = (160, 224)
TILE, STRIP, BLOCK = Box(37, 41, 125, 170), 21, 29


def computed(graph: ModelGraph, plan: SweepPlan) -> dict[int, list[Box]]:
    """Boxes that each node computes while a tile is swept, as the executor reports them."""
    found: dict[int, list[Box]] = defaultdict(list)

    def read(box: Box) -> torch.Tensor:
        return torch.zeros(1, 3, *box.shape).contiguous(memory_format=torch.channels_last)

    def observe(node: int, box: Box) -> None:
        found[node].append(box)

    with torch.inference_mode():
        Sweep(graph, plan, observe).run(read, lambda _box, _pixels: None)
    return found


def count_of_each_pixel(boxes: list[Box], hull: Box) -> torch.Tensor:
    """How often each pixel of a hull was computed."""
    count = torch.zeros(hull.shape, dtype=torch.int32)
    for box in boxes:
        assert hull.contains(box)
        rows, columns = box.relative_to(hull)
        count[rows, columns] += 1
    return count


@pytest.mark.parametrize("name", NETS)
def test_every_node_computes_its_hull_once(name: str) -> None:
    _, graph = local_net(name, SIZE)
    graph = placed(graph, torch.float32)
    plan = planned(graph, TILE, STRIP, BLOCK)
    assert len(plan.strips) > 3
    assert len(plan.blocks) > 3
    found = computed(graph, plan)
    for node in range(len(graph.nodes)):
        hull = plan.hull(node)
        assert (count_of_each_pixel(found[node], hull) == 1).all(), graph.nodes[node].name
        assert sum(box.area for box in found[node]) == hull.area


@pytest.mark.parametrize("name", ["unet_r18", "border"])
def test_the_output_is_computed_strip_by_strip_and_block_by_block(name: str) -> None:
    _, graph = local_net(name, SIZE)
    graph = placed(graph, torch.float32)
    plan = planned(graph, TILE, STRIP, BLOCK)
    boxes = computed(graph, plan)[graph.output]
    assert boxes == [Box.of(y, x) for y in plan.strips for x in plan.blocks]


@pytest.mark.parametrize("name", ["unet_r18", "monai_unet", "dilated"])
def test_strips_of_whole_periods_repeat_their_shapes(name: str) -> None:
    _, graph = local_net(name, (9600, 9600))
    for node in axis_demand(graph.nodes, graph.output, cut(Span(3200, 6400), 64), 0):
        assert len({span.size for span in node.new[40:-1]}) == 1


def test_a_node_that_nothing_waits_for_is_not_carried() -> None:
    _, graph = local_net("border", SIZE)
    graph = placed(graph, torch.float32)
    plan = planned(graph, TILE, STRIP, BLOCK)
    carried = {graph.nodes[i].op for i in range(len(graph.nodes)) if plan.carried(i)}
    assert "aten.sigmoid.default" not in carried
    assert len(carried) < len(graph.nodes)
