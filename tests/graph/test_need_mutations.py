"""A ``need`` that is wrong by one is found by brute force and by poison, for every rule."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from gigafcn.geometry import Box
from gigafcn.graph.rules.regroup import (
    PixelShuffle,
    PixelUnshuffle,
    PixelView,
    RepeatPixels,
    Windows,
)
from gigafcn.graph.rules.resample import Bilinear, Nearest
from gigafcn.graph.rules.shape import BorderPad, ConstantPad, Crop
from gigafcn.graph.rules.taps import TapResize
from gigafcn.graph.rules.unpool import MaxPoolIndices, MaxUnpool
from gigafcn.graph.rules.window import AveragePool, Convolution, MaxPool, TransposedConvolution
from tests.graph.brute_force import check_need
from tests.graph.op_uses import USES
from tests.mutations import TOO_LARGE, TOO_SMALL, WRONG_PHASE, mutated
from tests.poison import check_poison, moves, poisons
from tests.sweeping import local_net

if TYPE_CHECKING:
    from torch import nn

    from gigafcn.graph.model_graph import ModelGraph
    from tests.graph.use import Use

CHANGES = {**TOO_SMALL, **WRONG_PHASE, **TOO_LARGE}
NET_OF = {
    AveragePool: "border",
    Bilinear: "aligned",
    BorderPad: "border",
    ConstantPad: "border",
    Convolution: "border",
    Crop: "border",
    MaxPool: "border",
    MaxPoolIndices: "located",
    MaxUnpool: "unpooled",
    Nearest: "doubled",
    PixelShuffle: "regrouped",
    PixelUnshuffle: "regrouped",
    PixelView: "viewed",
    RepeatPixels: "viewed",
    TapResize: "bicubic",
    TransposedConvolution: "border",
    Windows: "halo_attention",
}
"""A shared net that holds the rule, by rule class that moves or widens spans."""


def found_by_brute_force(uses: tuple[Use, ...]) -> bool:
    """Whether comparing with torch's own dependencies objects to any use."""
    try:
        for use in uses:
            check_need(use)
    except AssertionError:
        return True
    return False


def check_every_phase(module: nn.Module, graph: ModelGraph) -> None:
    """Poison tiles that start and end at every phase of a period of 4 px."""
    unpools = any(isinstance(node.rule, MaxUnpool) for node in graph.nodes)
    for phase in range(4):
        tile = Box(21, 25, 37, 36).shift(phase, phase)
        check_poison(module, graph, tile, moves if unpools else poisons)


@pytest.mark.parametrize("name", sorted(set(NET_OF.values())))
def test_poison_finds_nothing_wrong_with_the_true_need(name: str) -> None:
    check_every_phase(*local_net(name, (64, 78)))


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("rule", USES, ids=lambda rule: str(rule.__name__))
def test_brute_force_finds_a_need_that_is_wrong_by_one(
    rule: type[Any], change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rule, "need", mutated(rule, CHANGES[change]))
    assert found_by_brute_force(USES[rule])


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("rule", NET_OF, ids=lambda rule: str(rule.__name__))
def test_poison_finds_a_need_that_is_wrong_by_one(
    rule: type[Any], change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, graph = local_net(NET_OF[rule], (64, 78))
    assert any(isinstance(node.rule, rule) for node in graph.nodes)
    monkeypatch.setattr(rule, "need", mutated(rule, CHANGES[change]))
    with pytest.raises(AssertionError, match=r"reads beyond|does not read"):
        check_every_phase(module, graph)
