"""What a model's output is, is proved by its ops: no activation is applied on top of another."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import gigafcn
from gigafcn.errors import ModelError, QuestionError, UsageError
from gigafcn.geometry import Box
from gigafcn.output.reading import read_labels
from tests.run.whole import scores_of, small_image

if TYPE_CHECKING:
    from pathlib import Path

OPTIONS: dict[str, Any] = {"tile": 64, "scale": 1 / 255, "verify": False, "dtype": "float32"}
Scores = Callable[[Tensor], Tensor]


class Net(nn.Module):
    """A convolution to four classes, far apart, and what comes after it."""

    def __init__(self, after: Scores) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.after = nn.Conv2d(3, 4, 3, padding=1), after
        with torch.no_grad():
            self.conv.weight.mul_(12)

    def forward(self, x: Tensor) -> Tensor:
        return self.after(self.conv(x))


def soft(y: Tensor) -> Tensor:
    return y.softmax(1)


SAME: dict[str, Scores] = {
    "plain": soft,
    "cast": lambda y: soft(y).float(),
    "clamp": lambda y: soft(y).clamp(1e-6, 1 - 1e-6),
    "resize": lambda y: functional.interpolate(soft(y), scale_factor=2, mode="bilinear"),
    "mean of two": lambda y: (soft(y) + soft(-y)) / 2,
    "slice": lambda y: soft(y)[:, 1:],
    "flip": lambda y: soft(y).flip(1),
    "concatenation": lambda y: torch.cat([soft(y)[:, 2:], soft(y)[:, :2]], 1),
    "product": lambda y: soft(y) * y[:, :1].sigmoid(),
    "exp": lambda y: torch.exp(y) / torch.exp(y).sum(1, keepdim=True),
    "sigmoid": lambda y: y.sigmoid(),
    "sigmoid, written": lambda y: 1 / (1 + torch.exp(-y)),
    "tanh as sigmoid": lambda y: (torch.tanh(y) + 1) / 2,
    "tanh": torch.tanh,
    "relu": functional.relu,
    "softplus": functional.softplus,
    "clamped": lambda y: y.clamp(0, 1),
    "hardtanh": functional.hardtanh,
    "exp alone": lambda y: (y / 8).exp(),
    "mean of a stack": lambda y: torch.stack([soft(y), soft(2 * y)]).mean(0),
    "one and its rest": lambda y: torch.cat([y[:, :1].sigmoid(), 1 - y[:, :1].sigmoid()], 1),
}
"""Outputs that are the map as they are."""


class Residual(Net):
    """What is added to the image."""

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = x + 0.1 * self.conv(x)[:, :3]
        return result


@pytest.mark.parametrize("mode", ["exact", "blend"])
def test_a_residual_to_the_image_is_no_logit(mode: str, tmp_path: Path) -> None:
    net, image = Residual(soft).eval(), small_image(96, 96)
    how: dict[str, Any] = {} if mode == "exact" else {"mode": "blend", "window": 96}
    found = gigafcn.infer(image, net, tmp_path / "m.zarr", **OPTIONS | how)
    # Sums of 27 products of up to 4, in single precision.
    np.testing.assert_allclose(scores_of(found.path), answer(net, image), atol=2e-5)


@pytest.mark.parametrize("end", [None, nn.Softmax(1)], ids=["logits", "probabilities"])
def test_global_pooling_at_the_end_is_followed(end: nn.Module | None, tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), *([end] if end else []))
    pooled = nn.Sequential(net, nn.AdaptiveAvgPool2d(1)).eval()
    image = small_image(96, 64)
    how = OPTIONS | {"mode": "patch", "window": 32, "tile": None}
    found = scores_of(gigafcn.infer(image, pooled, tmp_path / "m.zarr", **how).path)
    expected = answer(pooled, image[32:64, :32])[:, 0, 0]
    if end is None:
        expected = np.exp(expected) / np.exp(expected).sum()
    # Means of 1024 px in single precision.
    np.testing.assert_allclose(found[:, 1, 0], expected, atol=1e-5)


def answer(net: nn.Module, image: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    pixels = torch.from_numpy(image.astype(np.float32) / 255).permute(2, 0, 1)[None]
    with torch.no_grad():
        found: np.ndarray[Any, Any] = net(pixels)[0].numpy()
    return found


@pytest.mark.parametrize("mode", ["exact", "blend"])
@pytest.mark.parametrize("name", SAME)
def test_what_gives_scores_itself_is_mapped_as_it_is(name: str, mode: str, tmp_path: Path) -> None:
    net, image = Net(SAME[name]).eval(), small_image(96, 96)
    how: dict[str, Any] = {} if mode == "exact" else {"mode": "blend", "window": 96}
    found = gigafcn.infer(image, net, tmp_path / "m.zarr", **OPTIONS | how)
    # Sums of 27 products of up to 4, in single precision.
    np.testing.assert_allclose(scores_of(found.path), answer(net, image), atol=2e-5, rtol=2e-5)


LOGARITHMS: dict[str, Scores] = {
    "log_softmax": lambda y: y.log_softmax(1),
    "logsigmoid": functional.logsigmoid,
    "log of softmax": lambda y: torch.log(soft(y) + 1e-8),
}


@pytest.mark.parametrize("name", LOGARITHMS)
def test_exp_is_applied_to_logarithms_of_probabilities(name: str, tmp_path: Path) -> None:
    net, image = Net(LOGARITHMS[name]).eval(), small_image(96, 96)
    found = gigafcn.infer(image, net, tmp_path / "m.zarr", **OPTIONS)
    expected = np.exp(answer(net, image))
    np.testing.assert_allclose(scores_of(found.path), expected, atol=2e-5)


def test_a_class_that_is_missing_is_other_in_labels(tmp_path: Path) -> None:
    net, image = Net(SAME["slice"]).eval(), small_image(96, 96)
    found = gigafcn.infer(image, net, tmp_path / "m.zarr", **OPTIONS)
    stored = gigafcn.open_map(found.path)
    assert stored.spec.classes[-1] == "other"
    own = answer(net, image)
    every = np.concatenate([own, 1 - own.sum(0, keepdims=True)])
    labels = read_labels(stored, Box(0, 0, 96, 96))
    assert (labels == every.argmax(0)).all()
    assert (labels == 3).any()


def test_a_softmax_along_another_axis_is_refused(tmp_path: Path) -> None:
    net = Net(lambda y: y.softmax(3).float()).eval()
    with pytest.raises(ModelError, match="runs along x"):
        gigafcn.infer(
            small_image(96, 96), net, tmp_path / "m.zarr", mode="blend", window=32, **OPTIONS
        )


def test_where_nothing_proves_what_it_is_the_user_is_asked(tmp_path: Path) -> None:
    net, image = Net(lambda y: torch.cat([soft(y), y], 1)).eval(), small_image(96, 96)
    with pytest.raises(QuestionError) as asked:
        gigafcn.infer(image, net, tmp_path / "m.zarr", **OPTIONS)
    assert [one.value for one in asked.value.answers] == ["none", "softmax", "sigmoid"]
    found = gigafcn.infer(image, net, tmp_path / "m.zarr", activation="none", **OPTIONS)
    np.testing.assert_allclose(scores_of(found.path), answer(net, image), atol=2e-4)


def test_a_second_activation_is_refused_unless_forced(tmp_path: Path) -> None:
    net = Net(SAME["clamp"]).eval()
    with pytest.raises(UsageError, match="squash its scores twice"):
        gigafcn.infer(
            small_image(96, 96), net, tmp_path / "m.zarr", activation="softmax", **OPTIONS
        )
