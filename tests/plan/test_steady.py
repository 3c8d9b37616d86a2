"""Which strips are alike follows from what their nodes read and keep."""

from __future__ import annotations

import pytest
from torch import nn

from gigafcn.geometry import Box
from gigafcn.plan.steady import shift, steady_strips
from gigafcn.plan.sweep_plan import SweepPlan, plan_sweep
from tests.sweeping import traced

HIGH = 160


def planned(net: nn.Module, rows: tuple[int, int] = (0, HIGH)) -> tuple[range, SweepPlan]:
    """Steady strips of 16 rows of a tile of an image of 160 rows."""
    graph = traced(net, (HIGH, 32))
    tile = Box(rows[0], 0, rows[1], 32)
    plan = plan_sweep(graph.nodes, graph.output, tile, strip=16, block=32, period=(4, 4))
    return steady_strips(graph.nodes, plan.rows), plan


def test_all_but_those_at_the_edges_are_steady() -> None:
    # The first reads a row more than the others and the last a row less; the second keeps its rows
    # at another place than the first did.
    assert planned(nn.Conv2d(3, 3, 3, padding=1))[0] == range(2, 9)


def test_a_wider_kernel_meets_the_edge_for_longer() -> None:
    assert planned(nn.Conv2d(3, 3, 41, padding=20))[0] == range(3, 8)


def test_nothing_is_steady_in_two_strips() -> None:
    assert planned(nn.Conv2d(3, 3, 3, padding=1), (32, 64))[0] == range(0)


@pytest.mark.parametrize("stride", [2, 4])
def test_steady_strips_are_shifted_by_whole_strides(stride: int) -> None:
    net = nn.Sequential(
        nn.Conv2d(3, 3, stride, stride), nn.Upsample(scale_factor=stride), nn.Conv2d(3, 3, 3, 1, 1)
    )
    steady, plan = planned(net)
    assert len(steady) >= 5
    down, up = plan.rows[1], plan.rows[2]
    assert shift(up, steady[-1], steady[0]) == stride * shift(down, steady[-1], steady[0])


def test_strips_that_no_period_fits_are_not_steady() -> None:
    graph = traced(nn.Sequential(nn.MaxPool2d(3), nn.Upsample(scale_factor=3)), (156, 30))
    plan = plan_sweep(
        graph.nodes, graph.output, Box(0, 0, 156, 30), strip=16, block=30, period=(1, 1)
    )
    assert len(steady_strips(graph.nodes, plan.rows)) <= 1
