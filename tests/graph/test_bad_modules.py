"""Modules that cannot be traced say why in one line."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from torch import Tensor, nn

from gigafcn.analysis import analyze
from gigafcn.errors import ModelError
from gigafcn.graph.trace import trace

if TYPE_CHECKING:
    from collections.abc import Callable

SIZE = (16, 24)


class Deciding(nn.Module):
    """A function whose Python depends on pixels."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def branch(x: Tensor) -> Tensor:
    return x * 2 if x.sum() > 0 else x


def loop(x: Tensor) -> Tensor:
    for _ in range(int(x.max())):
        x = x + 1
    return x


@pytest.mark.parametrize("function", [branch, loop])
def test_control_flow_that_depends_on_pixels_is_named_with_its_line(
    function: Callable[[Tensor], Tensor], capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ModelError) as caught:
        trace(Deciding(function), 3, SIZE)
    message = str(caught.value)
    assert "Deciding has data-dependent control flow at test_bad_modules.py:" in message
    assert "\n" not in message
    assert capfd.readouterr() == ("", "")


def test_mixed_precisions_are_refused_with_a_parameter_of_each() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 2, 1).half())
    with pytest.raises(ModelError) as caught:
        analyze(net)
    assert "0.weight is float32, 1.weight is float16" in str(caught.value)
    assert "module.float()" in str(caught.value)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_any_one_precision_will_do(dtype: torch.dtype) -> None:
    def truth(x: Tensor) -> Tensor:
        return (x > 0).to(x.dtype) + x

    net = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), Deciding(truth)).to(dtype)
    assert analyze(net).halo == (1, 1, 1, 1)


def test_a_tensor_that_leaves_torch_is_refused() -> None:
    with pytest.raises(ModelError, match="cannot be exported"):
        trace(Deciding(lambda x: torch.from_numpy(x.numpy())), 3, SIZE)
