"""Which of several outputs is the map: by name, by index, by default; and what each is."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gigafcn.analysis import analyze, analyze_outputs
from gigafcn.engine.forward import chosen_output
from gigafcn.errors import ModelError, NonLocalError, QuestionError
from gigafcn.graph import programs
from gigafcn.graph import trace as tracing
from gigafcn.graph.trace import trace
from tests.sweeping import placed, random_image, swept, whole

SIZE = (16, 24)
Pair = namedtuple("Pair", ["aux", "out"])


@dataclass
class Result:
    """An output class that torch knows nothing of."""

    logits: Tensor
    loss: Tensor | None
    heads: dict[str, Any]


class Several(nn.Module):
    """Two convolutions, whose results are returned in some structure."""

    def __init__(self, structure: Callable[[Tensor, Tensor], Any], classes: int = 2) -> None:
        super().__init__()
        self.structure = structure
        self.narrow, self.wide = nn.Conv2d(3, 2, 1), nn.Conv2d(3, classes, 5, padding=2)

    def forward(self, x: Tensor) -> Any:
        return self.structure(self.narrow(x), self.wide(x))


STRUCTURES: dict[str, tuple[Callable[[Tensor, Tensor], Any], tuple[str, str]]] = {
    "tuple": (lambda a, b: (a, b), ("0", "1")),
    "list with gaps": (lambda a, b: [None, a, 3, b], ("1", "3")),
    "dict": (lambda a, b: {"aux": a, "out": b}, ("aux", "out")),
    "nested": (lambda a, b: {"out": [{"x": a}, (b, None)]}, ("out.0.x", "out.1.0")),
    "named tuple": (Pair, ("aux", "out")),
    "dataclass": (lambda a, b: Result(a, None, {"b": b}), ("logits", "heads.b")),
}


@pytest.mark.parametrize("name", STRUCTURES)
def test_every_tensor_of_a_structure_has_a_name(name: str) -> None:
    structure, names = STRUCTURES[name]
    found = trace(Several(structure), 3, SIZE, -1)
    assert found.outputs == tuple((n, (1, 2, *SIZE)) for n in names)


@pytest.mark.parametrize("name", STRUCTURES)
def test_an_output_is_chosen_by_name_and_by_index(name: str) -> None:
    structure, names = STRUCTURES[name]
    module = Several(structure)
    for asked in (names[0], -2):
        found = trace(module, 3, SIZE, asked)
        assert found.output == names[0]
        assert found.graph is not None
        assert [node.layer for node in found.graph.nodes] == ["", "narrow"]


Named = Callable[[Tensor, Tensor], Any]

MAPS: dict[str, tuple[Named, str]] = {
    "torchvision": (lambda a, b: {"out": a, "aux": b}, "out"),
    "the other way round": (lambda a, b: {"aux": b, "out": a}, "out"),
    "MONAI, auxiliary last": (lambda a, b: {"seg": a, "aux_out": b}, "seg"),
    "segmentation_models_pytorch": (lambda a, b: {"masks": a, "labels": b}, "masks"),
    "transformers": (lambda a, b: {"logits": a, "hidden_states": (b, b)}, "logits"),
    "upper case": (lambda a, b: {"Aux1": b, "Logits": a}, "Logits"),
    "a lone head beside auxiliary ones": (lambda a, b: {"nuclei": a, "aux": [b, b]}, "nuclei"),
    "nested": (lambda a, b: {"out": {"nuclei": a}, "deep_supervision": [b]}, "out.nuclei"),
}


@pytest.mark.parametrize("name", MAPS)
@pytest.mark.parametrize("classes", [2, 5])
def test_of_several_outputs_the_one_called_the_map_is_taken(name: str, classes: int) -> None:
    structure, expected = MAPS[name]
    module = Several(lambda a, b: structure(b, a), classes).eval()
    found = trace(module, 3, SIZE)
    assert found.output == expected
    assert found.graph is not None
    assert found.graph.result.layer == "wide"
    pixels = torch.rand(1, 3, *SIZE)
    assert torch.equal(chosen_output(module(pixels), None), module.wide(pixels))


OPEN: dict[str, tuple[Named, list[str]]] = {
    "a tuple": (lambda a, b: (a, b), ["0", "1"]),
    "a list of heads": (lambda a, b: [a, b, b], ["0", "1", "2"]),
    "heads of one map": (lambda a, b: {"out": [a, b], "aux": a}, ["out.0", "out.1"]),
    "two that are called so": (lambda a, b: {"aux": a, "pred": a, "probs": b}, ["pred", "probs"]),
    "two that are not": (lambda a, b: {"nuclei": a, "tissue": b}, ["nuclei", "tissue"]),
    "auxiliary ones alone": (lambda a, b: {"aux1": a, "aux2": b}, ["aux1", "aux2"]),
}


@pytest.mark.parametrize("name", OPEN)
@pytest.mark.parametrize("classes", [2, 5])
def test_where_several_outputs_may_be_the_map_the_user_is_asked(name: str, classes: int) -> None:
    structure, possible = OPEN[name]
    module = Several(structure, classes).eval()
    for ask in (
        lambda: trace(module, 3, SIZE),
        lambda: analyze(module, size=64),
        lambda: chosen_output(module(torch.rand(1, 3, *SIZE)), None),
    ):
        with pytest.raises(QuestionError, match="nothing says which is the map") as caught:
            ask()
        assert [answer.option for answer in caught.value.answers] == ["output_name"] * len(possible)
        assert [answer.value for answer in caught.value.answers] == possible


def test_the_map_is_judged_and_not_the_auxiliary_head() -> None:
    module = Several(lambda a, b: {"out": a * b.mean((2, 3), keepdim=True), "aux": b})
    assert not analyze(module).local
    assert analyze(module).output == "out"
    assert analyze(Several(lambda a, b: {"out": a, "aux": b.mean((2, 3), keepdim=True)})).local


@pytest.mark.parametrize("asked", ["nuclei", 2, "-3", "out.0"])
def test_an_output_that_is_not_there_is_refused_with_those_that_are(asked: str | int) -> None:
    with pytest.raises(ModelError) as caught:
        trace(Several(lambda a, b: {"aux": a, "out": b}, classes=5), 3, SIZE, asked)
    assert "aux (1, 2, 16, 24), out (1, 5, 16, 24)" in str(caught.value)


def test_a_name_comes_before_an_index() -> None:
    found = trace(Several(lambda a, b: {"1": a, "0": b}, classes=5), 3, SIZE, 1)
    assert found.graph is not None
    assert found.graph.result.layer == "narrow"


def test_a_chosen_output_is_swept_like_the_module_computes_it() -> None:
    module = Several(lambda a, b: (a, b), classes=5).eval()
    graph = trace(module, 3, SIZE, 1).graph
    assert graph is not None
    image = random_image(SIZE, torch.float64)
    found = swept(placed(graph, torch.float64), image, (7, 9), strip=3, block=4)
    # Rounding of sums of 75 products, in double.
    assert (found - whole(module, image)[1]).abs().max() <= 1e-13


def test_what_stands_in_the_way_of_another_output_is_no_blocker() -> None:
    module = Several(lambda a, b: (a, b.mean((2, 3), keepdim=True) + a))
    assert analyze(module, output=0).local
    assert not analyze(module, output=1).local


def test_the_footprint_is_that_of_the_output_asked_for() -> None:
    module = Several(lambda a, b: {"aux": a, "out": b}, classes=5)
    assert analyze(module, output="aux").halo == (0, 0, 0, 0)
    found = analyze(module, output="out")
    assert (found.halo, found.output) == ((2, 2, 2, 2), "out")
    assert found.outputs == (("aux", (1, 2, 256, 256)), ("out", (1, 5, 256, 256)))
    assert found.need((8, 8, 9, 9), SIZE) == (6, 6, 11, 11)


def test_all_outputs_are_analysed_with_the_same_traces(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    right = tracing.traced_program

    def counted(*arguments: Any) -> Any:
        sizes.append(arguments[2])
        return right(*arguments)

    monkeypatch.setattr(programs, "traced_program", counted)
    module = Several(lambda a, b: (a, b, a.mean((2, 3)), b.permute(0, 2, 3, 1)), classes=5)
    found = analyze_outputs(module)
    assert [fp.output for fp in found] == ["0", "1", "2", "3"]
    assert [fp.local for fp in found] == [True, True, False, False]
    assert "whole image" in found[2].blockers[0].reason
    assert "expected (batch, channel, y, x)" in found[3].blockers[0].reason
    with pytest.raises(NonLocalError, match="expected"):
        found[3].require_local()
    assert sizes == [(256, 256), (288, 384), (672, 480)]  # what grows shows at other sizes


def test_a_model_without_any_map_is_refused_for_all_outputs() -> None:
    with pytest.raises(ModelError, match="none that depends on the image"):
        analyze_outputs(Several(lambda _a, _b: torch.ones(1, 1, 4, 4)))
