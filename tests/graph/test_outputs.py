"""Which of several outputs is the map: by name, by index, by default; and what each is."""

from __future__ import annotations

from collections import namedtuple
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor, nn

from gigafcn.analysis import analyze, analyze_outputs
from gigafcn.errors import ModelError, NonLocalError
from gigafcn.graph import programs
from gigafcn.graph import trace as tracing
from gigafcn.graph.trace import trace
from tests.sweeping import placed, random_image, swept, whole

if TYPE_CHECKING:
    from collections.abc import Callable

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
    found = trace(Several(structure), 3, SIZE)
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


def test_of_several_outputs_of_one_shape_the_last_is_taken_and_said(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level("INFO", logger="gigafcn"):
        found = trace(Several(lambda a, b: {"aux": a, "out": b}).eval(), 3, SIZE)
    assert found.output == "out"
    assert found.graph is not None
    assert found.graph.result.layer == "wide"
    assert "taking the last, 'out'" in caplog.text


def test_of_several_shapes_none_is_guessed() -> None:
    with pytest.raises(ModelError, match="--output-name NAME"):
        trace(Several(lambda a, b: {"aux": a, "out": b}, classes=5), 3, SIZE)


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
    assert not analyze(module).local


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
