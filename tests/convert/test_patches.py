"""Classifiers are told from other models, their patch size guessed, differences measured."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from torch import nn

from gigafcn.convert import convert, guess_patch, is_patch_classifier, measure_difference
from gigafcn.errors import SlideError
from tests.convert.nets import HEADS, Gated, LeNet, ResNet18, TinyVit, Vgg16
from tests.convert.patchwise import patch_by_patch
from tests.convert.test_conversion import noise
from tests.nets import DoubledNet, randomised

if TYPE_CHECKING:
    from collections.abc import Callable


def unusual(side: int) -> nn.Module:
    """A classifier of patches of ``side`` px."""
    return nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten(), nn.Linear(2 * (side - 2) ** 2, 3))


@pytest.mark.parametrize(
    ("make", "channels", "patch"),
    [
        (Vgg16, 3, 224),
        (ResNet18, 3, 224),
        (LeNet, 1, 32),
        (Gated, 3, 224),
        (TinyVit, 3, 32),
        (lambda: unusual(150), 3, 150),
        (lambda: unusual(21), 3, 21),
        (HEADS["1 x 1 convolution after pooling"], 3, 224),
        (HEADS["scores as a map"], 3, 224),
    ],
)
def test_the_patch_size_of_a_classifier_is_guessed(
    make: Callable[[], nn.Module], channels: int, patch: int
) -> None:
    assert guess_patch(randomised(make()), channels) == (patch, patch)


@pytest.mark.parametrize("make", [DoubledNet, lambda: nn.Conv2d(3, 2, 9), lambda: nn.Identity()])
def test_a_model_that_gives_a_map_is_no_classifier(make: Callable[[], nn.Module]) -> None:
    assert guess_patch(make(), 3) is None


def test_a_fully_convolutional_net_is_no_classifier_although_a_patch_gives_one_px() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 2, 222))
    assert is_patch_classifier(net, 3, 224)
    assert guess_patch(net, 3) is None


def test_what_timm_notes_is_the_guess() -> None:
    net = ResNet18()
    net.pretrained_cfg = {"input_size": (3, 96, 128)}  # type: ignore[assignment]  # as timm has it
    assert guess_patch(net, 3) == (96, 128)


def test_guessing_allocates_nothing_and_leaves_the_model_as_it_was() -> None:
    net = Vgg16(width=64, hidden=4096).to("meta")
    assert guess_patch(net, 3) == (224, 224)
    assert all(not layer._forward_pre_hooks for layer in net.modules())


class Keeping(nn.Module):
    """Keeps a tensor of its last run, in an attribute and in a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3, 2)
        self.last: torch.Tensor | None = None
        self.register_buffer("ramp", None)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.ramp = self.last = torch.arange(x.shape[2])
        result: torch.Tensor = self.fc(x.mean((2, 3)))
        return result


def test_nothing_fake_stays_in_a_model_that_keeps_tensors() -> None:
    net = Keeping()
    assert guess_patch(net, 3) == (224, 224)
    assert net.last is None
    assert net.ramp is None


def test_without_padding_map_and_patches_differ_by_rounding_only() -> None:
    found = measure_difference(convert(randomised(HEADS["flatten"]()).double(), 28))
    assert found.largest <= 1e-12 * found.scale
    assert (found.labels, found.patches) == (0, 81)


def test_with_padding_the_difference_is_that_of_the_patches_from_the_map() -> None:
    net = randomised(ResNet18()).double()
    found = convert(net, 64)
    image = noise(1, 3, 64 + 32, 64 + 64)
    measured = measure_difference(found, image)
    with torch.inference_mode():
        apart = (found.module(image)[0] - patch_by_patch(net, image, 64, 32)).abs()
    assert measured.patches == 6
    assert measured.largest == pytest.approx(float(apart.max()), rel=1e-9)
    assert measured.largest > 1e-6 * measured.scale
    assert "6 patches" in str(measured)


def test_an_image_smaller_than_a_patch_cannot_be_measured() -> None:
    with pytest.raises(SlideError, match="nothing to compare"):
        measure_difference(convert(randomised(HEADS["flatten"]()), 28), torch.zeros(1, 3, 28, 20))
