"""Tracing: outputs, failures in one line, constants, layers, casts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from gigafcn.errors import ModelError, QuestionError
from gigafcn.graph.trace import trace
from tests.sweeping import placed, random_image, swept, traced, whole

if TYPE_CHECKING:
    from collections.abc import Callable

SIZE = (16, 24)


class Function(nn.Module):
    """A function of an image as a model."""

    def __init__(self, function: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Any:
        return self.function(x)


def error_of(module: nn.Module, size: tuple[int, int] = SIZE) -> str:
    """What tracing says when it fails."""
    with pytest.raises(ModelError) as caught:
        trace(module.eval(), 3, size)
    return str(caught.value)


@pytest.mark.parametrize(
    "function",
    [lambda x: (x, x[:, :1]), lambda x: {"a": x, "b": x[:, :1]}, lambda x: [x, x[:, :1]]],
    ids=["tuple", "dict", "list"],
)
def test_several_outputs_are_asked_about_with_their_shapes(
    function: Callable[[Tensor], Any],
) -> None:
    with pytest.raises(QuestionError) as caught:
        trace(Function(function).eval(), 3, SIZE)
    message = str(caught.value)
    assert "2 tensors" in message
    assert "(1, 3, 16, 24)" in message
    assert "(1, 1, 16, 24)" in message


def test_one_output_in_a_list_is_the_output() -> None:
    assert traced(Function(lambda x: [x * 2]), SIZE).result.grid == SIZE


def test_a_model_that_ignores_the_image_is_refused() -> None:
    assert "none that depends on the image" in error_of(Function(lambda _x: torch.ones(1, 1, 4, 4)))


@pytest.mark.parametrize(
    "function",
    [lambda x: x.permute(0, 2, 3, 1), lambda x: x.transpose(2, 3)],
    ids=["channels last", "transposed"],
)
def test_an_output_in_another_layout_is_refused(function: Callable[[Tensor], Tensor]) -> None:
    assert "expected (batch, channel, y, x)" in error_of(Function(function))


@pytest.mark.parametrize(
    ("module", "part"),
    [
        (nn.Conv2d(3, 4, 40), "Kernel size can't be greater than actual input size"),
        (nn.Conv2d(1, 4, 3), "expected input[1, 3, 16, 24] to have 1 channels"),
    ],
    ids=["kernel", "channels"],
)
def test_a_failed_export_is_one_line_and_nothing_on_the_console(
    module: nn.Module, part: str, capfd: pytest.CaptureFixture[str]
) -> None:
    message = error_of(module)
    assert part in message
    assert type(module).__name__ in message
    assert "(1, 3, 16, 24)" in message
    assert "\n" not in message
    assert capfd.readouterr() == ("", "")


def test_a_huge_image_is_traced_without_allocating_it() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.Upsample(scale_factor=2))
    assert traced(net, (100_000, 120_000)).result.shape == (1, 4, 100_000, 120_000)


def test_a_constant_that_grows_with_the_image_is_refused_not_allocated() -> None:
    def coordinates(x: Tensor) -> Tensor:
        rows = torch.arange(x.shape[2], device=x.device).view(1, 1, -1, 1)
        return x + (rows + torch.arange(x.shape[3], device=x.device))

    found = trace(Function(coordinates), 3, (100_000, 100_000))
    assert found.graph is None
    assert "grows with the image" in found.blockers[0].reason


def test_layers_carry_their_module_path() -> None:
    net = nn.Sequential(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()), nn.Conv2d(4, 2, 1))
    assert [node.layer for node in traced(net, SIZE).nodes] == ["", "0.0", "0.1", "1"]


def test_what_the_output_does_not_depend_on_is_left_out() -> None:
    class Unused(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.unused = nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 5)

        def forward(self, x: Tensor) -> Tensor:
            self.unused(x)
            result: Tensor = self.used(x)
            return result

    assert [node.layer for node in traced(Unused(), SIZE).nodes] == ["", "used"]


def test_a_tensor_made_in_the_forward_keeps_its_values() -> None:
    module = Function(lambda x: x * torch.tensor([1.0, 2.0, 3.0], device=x.device).view(1, 3, 1, 1))
    image = random_image(SIZE, torch.float64)
    graph = placed(traced(module, SIZE), torch.float64)
    assert torch.equal(swept(graph, image, (7, 9), strip=3, block=4), whole(module, image))


@pytest.mark.parametrize(
    "function",
    [
        lambda x: 1 - (x > 0).float(),
        lambda x: (x > 0) + x,
        lambda x: functional.avg_pool2d((x > 0.3).to(x.dtype), 2),
        lambda x: torch.where(x > 0, x, x * 0.5) + (x.abs() > 1).to(x.dtype).mean(1, keepdim=True),
    ],
)
def test_truth_values_become_numbers_of_the_computing_precision(
    function: Callable[[Tensor], Tensor],
) -> None:
    module = Function(function)
    image = random_image(SIZE, torch.float64)
    graph = placed(traced(module, SIZE), torch.float64)
    found = swept(graph, image, (7, 9), strip=3, block=4)
    assert (found - whole(module, image)).abs().max() <= 1e-15  # order of additions


def test_the_size_of_another_tensor_may_be_asked_for() -> None:
    class Resized(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.down = nn.Conv2d(3, 3, 3, 2)

        def forward(self, x: Tensor) -> Tensor:
            return functional.interpolate(self.down(x), size=x.shape[2:])

    assert traced(Resized(), (100_001, 77)).result.grid == (100_001, 77)
