"""What cannot be converted is refused, and the layer is named."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from gigafcn.convert import to_fully_convolutional
from gigafcn.errors import ModelError, UsageError
from tests.convert.nets import Gated, Headed, TinyVit
from tests.nets import randomised


def refusal(net: nn.Module, patch: int = 28) -> str:
    with pytest.raises(ModelError) as caught:
        to_fully_convolutional(randomised(net), patch)
    return str(caught.value)


def test_a_vision_transformer_is_refused_and_sent_to_patch_mode() -> None:
    said = refusal(TinyVit(), 32)
    assert "model: aten.cat.default: concatenates a constant, such as a class token" in said
    assert said.endswith("classify patch by patch: --mode patch --window 32")


def test_squeeze_and_excitation_is_refused() -> None:
    assert "aten.mul.Tensor: joins a value of the whole patch with its map of 26 x 26 px" in (
        refusal(Gated())
    )


@pytest.mark.parametrize(
    ("layer", "said"),
    [
        (nn.GroupNorm(2, 6), "layers.0: aten.group_norm.default: group norm uses statistics"),
        (nn.InstanceNorm2d(6), "layers.0: aten.instance_norm.default: instance norm uses"),
        (nn.LayerNorm([6, 6, 6]), "layers.0: aten.layer_norm.default: "),
    ],
)
def test_a_norm_over_the_patch_is_refused(layer: nn.Module, said: str) -> None:
    assert said in refusal(Headed(lambda x: x, layer, nn.Flatten(), nn.Linear(216, 2)))


def test_a_norm_of_every_element_of_a_flattened_map_is_refused() -> None:
    net = Headed(lambda x: x.flatten(1), nn.BatchNorm1d(216), nn.Linear(216, 2))
    assert "normalises every element of a flattened map on its own" in refusal(net)


def test_an_activation_between_unequal_adaptive_pooling_and_its_layer_is_refused() -> None:
    net = Headed(nn.AdaptiveAvgPool2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(96, 2))
    assert "layers.0: aten.relu.default: stands between adaptive pooling of 6 x 6" in refusal(net)


def test_a_constant_that_varies_over_the_patch_is_refused() -> None:
    ramp = torch.arange(36.0).view(1, 1, 6, 6)
    net = Headed(lambda x: (x + ramp).flatten(1), nn.Linear(216, 2))
    assert "aten.add.Tensor: " in refusal(net)


def test_a_resize_to_a_size_of_one_patch_is_refused() -> None:
    net = Headed(lambda x: functional.interpolate(x, size=9).flatten(1), nn.Linear(486, 2))
    assert "resizes to a size in px that is written down for one patch" in refusal(net)


def test_a_resize_after_a_stride_that_became_dilation_is_refused() -> None:
    net = Headed(lambda x: functional.interpolate(x, scale_factor=2.0).mean((2, 3)))
    to_fully_convolutional(randomised(net), 28)
    with pytest.raises(ModelError, match="changes the resolution after a stride that became"):
        to_fully_convolutional(randomised(net), 28, output_stride=1)


def test_a_network_that_gives_a_map_is_no_classifier() -> None:
    assert "returns shape (1, 6, 6, 6) for one patch" in refusal(Headed(lambda x: x))


def test_a_network_that_returns_split_channels_is_no_classifier() -> None:
    net = Headed(lambda x: x.view(1, 2, 3, 6, 6))
    assert "returns shape (1, 2, 3, 6, 6) for one patch" in refusal(net)


class TwoHeads(nn.Module):
    """Returns two tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3 * 16, 2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        scores = self.fc(x.flatten(1))
        return scores, scores.softmax(1)


def test_several_outputs_are_refused() -> None:
    assert "returns one tensor of scores, this model returns 2" in refusal(TwoHeads(), 4)


class Devious(nn.Module):
    """Shows export something else than it computes."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3 * 16, 2)

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.fc(x.flatten(1))
        return scores if torch.compiler.is_exporting() else 2 * scores


def test_a_network_that_computes_something_else_than_it_exports_is_refused() -> None:
    assert "Devious and its converted network differ by" in refusal(Devious(), 4)


def test_averages_over_parts_of_windows_cannot_be_dilated() -> None:
    pool = nn.AvgPool2d(3, 2, 1, count_include_pad=False)
    net = nn.Sequential(pool, nn.Flatten(), nn.Linear(3 * 16, 2))
    to_fully_convolutional(randomised(net), 8)
    with pytest.raises(ModelError, match="averages over parts of windows"):
        to_fully_convolutional(randomised(net), 8, output_stride=1)


def test_a_patch_of_another_size_than_the_network_takes_is_refused() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4 * 36, 2))
    assert "cannot be exported for an input of shape (1, 3, 9, 9)" in refusal(net, 9)


@pytest.mark.parametrize("patch", [0, (4, -1)])
def test_a_patch_without_pixels_is_refused(patch: int | tuple[int, int]) -> None:
    with pytest.raises(UsageError, match="patch must be one or two positive numbers"):
        to_fully_convolutional(nn.Flatten(), patch)
