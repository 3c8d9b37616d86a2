"""A graph enlarged on paper asks for the same pixels as one traced at that size."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from gigafcn.analysis import analyze
from gigafcn.geometry import Span
from gigafcn.graph import programs
from gigafcn.graph import trace as tracing
from gigafcn.graph.model_graph import ModelGraph
from gigafcn.graph.reach import enlarged, layer_footprints
from gigafcn.graph.strides import period
from gigafcn.graph.trace import trace
from tests.nets import NETS
from tests.sweeping import local_net


@pytest.mark.parametrize("name", NETS)
def test_an_enlarged_graph_has_the_sizes_and_needs_of_a_traced_one(name: str) -> None:
    small = analyze(local_net(name, (160, 224))[0]).graph  # at a multiple of the period
    assert small is not None
    size = (small.size[0] + 3 * period(small, 0), small.size[1] + 2 * period(small, 1))
    found = enlarged(small, size)
    _, large = local_net(name, size)
    assert found is not None
    assert [node.shape for node in found.nodes] == [node.shape for node in large.nodes]
    for axis in (0, 1):
        for start in (0, 41, 77, large.result.grid[axis] - 13):
            for clip in (True, False):
                out = Span(start, start + 13)
                assert found.need(out, axis, clip=clip) == large.need(out, axis, clip=clip)


def test_a_slice_that_counts_from_the_end_is_not_enlarged() -> None:
    class Tail(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x[:, :, -16:]

    found = trace(Tail(), 3, (64, 64)).graph
    assert found is not None
    assert enlarged(found, (128, 128)) is None


def test_a_deep_net_is_analysed_with_three_exports(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    right = tracing.traced_program

    def counted(*arguments: object) -> object:
        sizes.append(arguments[2])
        return right(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(programs, "traced_program", counted)
    found = analyze(NETS["unet_r18"]())
    assert found.halo_aligned == (281, 250, 281, 250)
    assert found.layers
    assert sizes == [(256, 256), (288, 384), (672, 480)]


def test_a_size_that_failed_is_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    class Fixed(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            assert x.shape[2] == 65
            return functional.interpolate(functional.max_pool2d(x, 4), size=x.shape[2:])

    sizes = []
    right = tracing.traced_program

    def counted(*arguments: object) -> object:
        sizes.append(arguments[2])
        return right(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(programs, "traced_program", counted)
    analyze(Fixed(), size=65)
    assert len(sizes) == len(set(sizes))


@pytest.mark.parametrize("name", ["unet_r18", "border", "unpooled", "viewed"])
def test_footprints_of_layers_are_needs_of_their_middle_pixel(name: str) -> None:
    _, graph = local_net(name, (160, 224))
    for index, found in enumerate(layer_footprints(graph)):
        part = ModelGraph(graph.nodes[: index + 1], index, graph.size)
        middles = [n // 2 for n in graph.nodes[index].grid]
        sizes = [part.need(Span(m, m + 1), axis, clip=False).size for axis, m in enumerate(middles)]
        assert found == tuple(sizes)
