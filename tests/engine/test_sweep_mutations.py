"""A plan that is wrong by one row is found by comparing the sweep with the whole run."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from gigafcn.graph.rules.channels import ChannelSlice, Expand
from gigafcn.graph.rules.merge import Concatenation
from gigafcn.graph.rules.pointwise import Cast, Pointwise, ScaleShift
from gigafcn.graph.rules.regroup import (
    ChannelView,
    PixelShuffle,
    PixelUnshuffle,
    PixelView,
    RepeatPixels,
    Windows,
)
from gigafcn.graph.rules.resample import Bilinear, Nearest
from gigafcn.graph.rules.shape import BorderPad, ConstantPad, Crop, Permute
from gigafcn.graph.rules.taps import TapResize
from gigafcn.graph.rules.unpool import MaxPoolIndices, MaxUnpool
from gigafcn.graph.rules.window import AveragePool, Convolution, MaxPool, TransposedConvolution
from gigafcn.plan import demand
from tests.graph.op_uses import USES
from tests.mutations import TOO_SMALL, WRONG_PHASE, mutated
from tests.sweeping import local_net, placed, random_image, swept, whole

SIZE = (64, 78)
CHANGES = {**TOO_SMALL, **WRONG_PHASE}
NET_OF = {
    AveragePool: "border",
    Bilinear: "aligned",
    BorderPad: "border",
    Cast: "pixelwise",
    ChannelSlice: "pixelwise",
    ChannelView: "regrouped",
    Concatenation: "doubled",
    ConstantPad: "border",
    Convolution: "border",
    Crop: "border",
    Expand: "tokens",
    MaxPool: "border",
    MaxPoolIndices: "located",
    MaxUnpool: "unpooled",
    Nearest: "doubled",
    Permute: "pixelwise",
    PixelShuffle: "regrouped",
    PixelUnshuffle: "regrouped",
    PixelView: "viewed",
    Pointwise: "border",
    RepeatPixels: "viewed",
    ScaleShift: "pixelwise",
    TapResize: "resampled",
    TransposedConvolution: "border",
    Windows: "halo_attention",
}
"""A shared net that holds the rule, by rule class."""


def sweeps_right(name: str) -> bool:
    """Whether a net's sweep runs through and equals the whole run."""
    module, graph = local_net(name, SIZE)
    image = random_image(SIZE, torch.float64)
    try:
        found = swept(placed(graph, torch.float64), image, (25, 33), strip=10, block=13)
    except (AssertionError, IndexError, KeyError, RuntimeError, ValueError):
        return False  # a rule was handed fewer pixels than it reads
    return bool((found - whole(module, image)).abs().max() <= 1e-12)


@pytest.mark.parametrize("name", sorted(set(NET_OF.values())))
def test_an_unchanged_sweep_is_right(name: str) -> None:
    assert sweeps_right(name)


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("rule", NET_OF, ids=lambda rule: str(rule.__name__))
def test_a_sweep_finds_a_need_that_is_wrong_by_one(
    rule: type[Any], change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, graph = local_net(NET_OF[rule], SIZE)
    assert any(isinstance(node.rule, rule) for node in graph.nodes)
    monkeypatch.setattr(rule, "need", mutated(rule, CHANGES[change]))
    assert not sweeps_right(NET_OF[rule])


def test_a_sweep_finds_a_row_that_is_dropped_too_early(monkeypatch: pytest.MonkeyPatch) -> None:
    right = demand._keep

    def keep(*arguments: Any) -> tuple[int, ...]:
        return tuple(position + 1 for position in right(*arguments))

    monkeypatch.setattr(demand, "_keep", keep)
    assert not sweeps_right("doubled")


def test_a_sweep_finds_rows_that_were_never_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    right = demand._Progress.advance

    def advance(self: Any, index: int, need: Any) -> Any:
        fresh = right(self, index, need)
        return fresh._replace(stop=fresh.stop - 1) if fresh.size > 1 else fresh

    monkeypatch.setattr(demand._Progress, "advance", advance)
    assert not sweeps_right("doubled")


def test_every_rule_class_is_mutated() -> None:
    assert set(NET_OF) == set(USES)
