"""Models that tiles cannot reproduce are refused, naming layer, op and reason."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from gigafcn.graph.trace import trace

if TYPE_CHECKING:
    from collections.abc import Callable

    from gigafcn.graph.model_graph import Blocker

SIZE = (16, 24)


class Inner(nn.Module):
    """A function of an image and of some layers, under the name "inner" of the model."""

    def __init__(self, function: Callable[..., Tensor], *layers: nn.Module) -> None:
        super().__init__()
        self.function = function
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x, *self.layers)


class Model(nn.Module):
    """Convolution, the part in question, convolution."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.inner = inner
        self.last = nn.Conv2d(4, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.last(self.inner(self.first(x)))
        return result


class PositionalEmbedding(nn.Module):
    """A learned value per pixel."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.ones(1, 4, *SIZE))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.table


def squeeze_excite(x: Tensor, down: nn.Module, up: nn.Module) -> Tensor:
    gate: Tensor = up(torch.relu(down(functional.adaptive_avg_pool2d(x, 1))))
    return x * torch.sigmoid(gate)


def attention(x: Tensor) -> Tensor:
    tokens = x.flatten(2)
    weights = torch.softmax(tokens.transpose(1, 2) @ tokens, dim=-1)
    return (tokens @ weights).reshape(x.shape)


def flattened(x: Tensor, linear: nn.Module) -> Tensor:
    logits: Tensor = linear(x.flatten(1))
    return logits.view(1, 4, 1, 1).expand(1, 4, *SIZE) + x


def part(function: Callable[..., Tensor], *layers: nn.Module) -> Callable[[], nn.Module]:
    """Maker of a part built from a function."""
    return lambda: Inner(function, *layers)


FAR: dict[str, tuple[Callable[[], nn.Module], str, str]] = {
    "group norm": (lambda: nn.GroupNorm(2, 4), "group_norm", "whole image"),
    "instance norm": (lambda: nn.InstanceNorm2d(4), "instance_norm", "whole image"),
    "batch statistics": (
        lambda: nn.BatchNorm2d(4, track_running_stats=False),
        "batch_norm",
        "statistics of the batch",
    ),
    "layer norm over pixels": (lambda: nn.LayerNorm((4, *SIZE)), "layer_norm", "whole image"),
    "global pooling": (
        part(lambda x: x + functional.adaptive_avg_pool2d(x, 1)),
        "adaptive_avg_pool2d",
        "grow with the image",
    ),
    "mean over pixels": (part(lambda x: x - x.mean((2, 3), keepdim=True)), "mean", "y, x"),
    "squeeze and excite": (
        part(squeeze_excite, nn.Conv2d(4, 2, 1), nn.Conv2d(2, 4, 1)),
        "adaptive_avg_pool2d",
        "grow with the image",
    ),
    "softmax over rows": (part(lambda x: x.softmax(2)), "softmax", "reduces over y"),
    "circular padding": (
        lambda: nn.Conv2d(4, 4, 3, padding=1, padding_mode="circular"),
        "pad",
        "opposite edge",
    ),
    "attention": (part(attention), "view", "would mix"),
    "flatten and linear": (
        part(flattened, nn.Linear(4 * SIZE[0] * SIZE[1], 4)),
        "view",
        "would mix",
    ),
    "roll": (part(lambda x: x.roll((8, 12), (2, 3))), "roll", "no footprint rule"),
    "flip": (part(lambda x: x.flip((2, 3))), "flip", "no footprint rule"),
    "cumulative sum": (part(lambda x: x.cumsum(3).cumsum(2)), "cumsum", "no footprint rule"),
}
"""Parts through which far pixels act: maker, op of the blocker, part of its reason."""

OTHER: dict[str, tuple[Callable[[], nn.Module], str, str]] = {
    "positional embedding": (PositionalEmbedding, "add", "varies over space"),
    "coordinates as channels": (
        part(lambda x: torch.cat([x[:, 1:], torch.ones_like(x[:, :1]).cumsum(2)], 1)),
        "ones_like",
        "no footprint rule",
    ),
    "row of weights": (part(lambda x: x * torch.arange(24.0)), "mul", "varies over space"),
    "constant for a batch": (
        part(lambda x: (x + torch.ones(2, 1, 1, 1))[:1]),
        "add",
        "varies over the batch",
    ),
    "constant of five dimensions": (
        part(lambda x: (x + torch.ones(1, 1, 1, 1, 1))[0]),
        "add",
        "adds a dimension",
    ),
    "constant joined to pixels": (
        part(lambda x: torch.cat([x[:, 1:], torch.ones(1, 1, *SIZE)], 1)),
        "cat",
        "constants with pixels",
    ),
    "weights from the image": (
        part(lambda x: functional.conv2d(x, x[:, :, :1, :1].expand(4, 4, 1, 1))),
        "expand",
        "no footprint rule",
    ),
    "broadcast row": (part(lambda x: x + x[:, :, :1]), "add", "different grids"),
    "joined along rows": (part(lambda x: torch.cat([x, x], 2)), "cat", "along 'y'"),
    "indices of pooling": (
        part(lambda x: nn.MaxUnpool2d(2)(*functional.max_pool2d(x, 2, return_indices=True))),
        "max_pool2d_with_indices",
        "indices",
    ),
    "cast to double": (part(lambda x: x.double().float()), "_to_copy", "torch.float64"),
    "an op nobody has heard of": (part(torch.special.i0), "i0", "no footprint rule"),
    "nearest by a factor that hardly counts": (
        part(lambda x: functional.interpolate(x, scale_factor=1.01, mode="nearest")),
        "upsample_nearest2d",
        "memory layout",
    ),
}
"""Parts that are refused though far pixels may not act."""


def only_blocker(model: nn.Module) -> Blocker:
    """The one reason for which a model is refused."""
    found = trace(model, 3, SIZE)
    assert found.graph is None
    assert len(found.blockers) == 1, [str(blocker) for blocker in found.blockers]
    return found.blockers[0]


@pytest.mark.parametrize("name", [*FAR, *OTHER])
def test_a_part_that_is_not_local_is_refused_by_layer_op_and_reason(name: str) -> None:
    make, op, reason = {**FAR, **OTHER}[name]
    blocker = only_blocker(Model(make()).eval())
    assert blocker.layer == "inner"
    assert op in blocker.op
    assert reason in blocker.reason
    assert "\n" not in str(blocker)


@pytest.mark.parametrize("name", FAR)
def test_a_far_pixel_does_act_through_that_part(name: str) -> None:
    torch.manual_seed(0)
    model = Model(FAR[name][0]()).eval()
    for weight in model.parameters():
        # Some layers above were made at import, before the seed; and no ReLU must be dead,
        # no sigmoid saturated.
        nn.init.uniform_(weight, 0.02, 0.2)
    image = torch.rand(1, 3, *SIZE)
    changed = 0.0
    for corner in (0, -1):
        moved = image.clone()
        moved[:, :, corner, corner] += 10
        with torch.no_grad():
            change = (model(moved) - model(image)).abs()
        near = slice(0, 5) if corner == 0 else slice(-5, None)
        change[:, :, near, near] = 0
        changed = max(changed, float(change.max()))
    assert changed > 0


def test_batch_norm_in_training_mode_is_refused_once() -> None:
    model = Model(nn.BatchNorm2d(4)).train()
    blocker = only_blocker(model)
    assert blocker.layer == "inner"
    assert "statistics of the batch" in blocker.reason


def test_dropout_in_training_mode_is_refused() -> None:
    assert "dropout" in only_blocker(Model(nn.Dropout(0.5)).train()).op


def test_a_blocker_in_a_nested_layer_is_named_by_its_full_path() -> None:
    model = Model(nn.Sequential(nn.ReLU(), nn.Sequential(nn.Identity(), nn.GroupNorm(2, 4)))).eval()
    assert only_blocker(model).layer == "inner.1.1"


class Both(nn.Module):
    """Two norms side by side, neither of which follows from the other."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.GroupNorm(1, 3), nn.InstanceNorm2d(3)
        self.after = nn.GroupNorm(1, 3)

    def forward(self, x: Tensor) -> Any:
        return self.after(self.left(x) + self.right(x))


def test_blockers_that_follow_from_no_other_are_all_named() -> None:
    found = trace(Both().eval(), 3, SIZE)
    assert [blocker.layer for blocker in found.blockers] == ["left", "right"]
