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
        values = torch.randn(1, 4, *SIZE, generator=torch.Generator().manual_seed(0))
        self.table = nn.Parameter(values)

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


def fused_attention(x: Tensor) -> Tensor:
    tokens = x.flatten(2).transpose(1, 2)
    mixed = functional.scaled_dot_product_attention(tokens, tokens, tokens)
    return mixed.transpose(1, 2).reshape(x.shape)


def pooled(x: Tensor, kernel: int, stride: int | None = None, padding: int = 0) -> Any:
    return functional.max_pool2d(x, kernel, stride, padding, return_indices=True)


def unpooled(
    x: Tensor,
    *,
    kernel: int = 2,
    stride: int = 2,
    padding: int = 0,
    shift: int = 0,
    size: tuple[int, int] | None = None,
) -> Tensor:
    values, indices = pooled(x, kernel, stride, padding)
    where = indices + shift if shift else indices
    return nn.MaxUnpool2d(kernel, stride, padding)(values, where, size)  # type: ignore[no-any-return]


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
        "pools over the whole image",
    ),
    "pyramid pooling": (
        part(
            lambda x: x + functional.adaptive_avg_pool2d(x, 2).repeat_interleave(8, 2).mean(3, True)
        ),
        "adaptive_avg_pool2d",
        "to 2 x 2 px: its windows grow with the image",
    ),
    "global maximum": (
        part(lambda x: x + functional.adaptive_max_pool2d(x, 1)),
        "adaptive_max_pool2d",
        "pools over the whole image",
    ),
    "global response norm": (
        part(lambda x: x / torch.linalg.vector_norm(x, dim=(2, 3), keepdim=True)),
        "linalg_vector_norm",
        "takes the norm over y, x",
    ),
    "mean over pixels": (part(lambda x: x - x.mean((2, 3), keepdim=True)), "mean", "y, x"),
    "squeeze and excite": (
        part(squeeze_excite, nn.Conv2d(4, 2, 1), nn.Conv2d(2, 4, 1)),
        "adaptive_avg_pool2d",
        "pools over the whole image",
    ),
    "softmax over rows": (part(lambda x: x.softmax(2)), "softmax", "softmax over y"),
    "circular padding": (
        lambda: nn.Conv2d(4, 4, 3, padding=1, padding_mode="circular"),
        "pad",
        "opposite edge",
    ),
    "attention": (part(attention), "matmul", "as in attention"),
    "fused attention": (part(fused_attention), "scaled_dot_product_attention", "every pixel"),
    "token mixing": (
        part(lambda x: (x.flatten(2) @ torch.ones(384, 384)).view(x.shape)),
        "matmul",
        "over 'yx' mixes pixels",
    ),
    "flatten and linear": (
        part(flattened, nn.Linear(4 * SIZE[0] * SIZE[1], 4)),
        "flatten",
        "would mix",
    ),
    "roll": (part(lambda x: x.roll((8, 12), (2, 3))), "roll", "opposite edge"),
    "flip": (part(lambda x: x.flip((2, 3))), "flip", "flip over y, x"),
    "cumulative sum": (part(lambda x: x.cumsum(3).cumsum(2)), "cumsum", "cumsum over x"),
}
"""Parts through which far pixels act: maker, op of the blocker, part of its reason."""

OTHER: dict[str, tuple[Callable[[], nn.Module], str, str]] = {
    "positional embedding": (PositionalEmbedding, "add", "varies over space"),
    "coordinates as channels": (
        part(lambda x: torch.cat([x[:, 1:], torch.ones_like(x[:, :1]).cumsum(2)], 1)),
        "cumsum",
        "cumsum over y",
    ),
    "row of weights": (part(lambda x: x * torch.arange(24.0)), "mul", "varies over space"),
    "constant for a batch": (
        part(lambda x: (x + torch.ones(2, 1, 1, 1))[:1]),
        "add",
        "adds images to the batch",
    ),
    "constant of five dimensions": (
        part(lambda x: (x + torch.ones(1, 1, 1, 1, 1))[0]),
        "add",
        "adds a dimension",
    ),
    "constant joined to pixels": (
        part(lambda x: torch.cat([x[:, 1:], torch.arange(24.0).expand(1, 1, *SIZE)], 1)),
        "cat",
        "varies over space",
    ),
    "weights from the image": (
        part(lambda x: functional.conv2d(x, x[:, :, :1, :1].expand(4, 4, 1, 1))),
        "expand",
        "one pixel would act everywhere",
    ),
    "broadcast row": (part(lambda x: x + x[:, :, :1]), "add", "different grids"),
    "joined along rows": (part(lambda x: torch.cat([x, x], 2)), "cat", "along 'y'"),
    "indices that are computed with": (
        part(lambda x: unpooled(x, shift=1)),
        "max_unpool2d",
        "straight from a max pool",
    ),
    "unpooled windows that overlap": (
        part(lambda x: unpooled(x, kernel=3, stride=2, padding=1)),
        "max_unpool2d",
        "which value wins",
    ),
    "unpooled to another width": (
        part(lambda x: unpooled(x, size=(16, 23))),
        "max_unpool2d",
        "pixels would move",
    ),
    "picked by their values": (part(lambda x: x + x[x > 0].sum()), "index", "by their values"),
    "a value read into Python": (part(lambda x: x * x.max().item()), "max", "all pixels"),
    "random": (part(lambda x: x + torch.rand_like(x)), "rand_like", "random"),
    "sampled at computed positions": (
        part(
            lambda x: functional.grid_sample(x, x[:, :2].permute(0, 2, 3, 1), align_corners=False)
        ),
        "grid_sampler",
        "no bound",
    ),
    "cast to double": (part(lambda x: x.double().float()), "to", "torch.float64"),
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


def framed(write: Callable[[Tensor], object]) -> nn.Module:
    """Times ones as large as the image, of which ``write`` changes some."""

    def function(x: Tensor) -> Tensor:
        ones = torch.ones(x.shape[2:])
        write(ones)
        return x * ones

    return Model(Inner(function)).eval()


@pytest.mark.parametrize("size", [SIZE, (4128, 4128)])
@pytest.mark.parametrize(
    "write",
    [
        lambda ones: ones[:1].fill_(0),
        lambda ones: ones[:1].add_(1),
        lambda ones: ones[:, 3:4].copy_(torch.zeros(1)),
        lambda ones: ones.__setitem__((slice(2), slice(2)), 0),
    ],
)
def test_a_constant_that_is_written_into_is_refused_at_any_size(
    write: Callable[[Tensor], object], size: tuple[int, int]
) -> None:
    found = trace(framed(write), 3, size)
    assert found.graph is None
    reasons = str(found.blockers[0])
    assert "varies over space" in reasons or "grows with the image" in reasons


def test_a_constant_of_the_images_size_is_none_if_nobody_writes_into_it() -> None:
    assert trace(framed(lambda _ones: None), 3, (4128, 4128)).graph is not None


def test_batch_norm_told_to_train_is_refused_in_eval_mode_too() -> None:
    def normalised(x: Tensor) -> Tensor:
        return functional.batch_norm(x, None, None, training=True)

    blocker = only_blocker(Model(Inner(normalised)).eval())
    assert blocker.layer == "inner"
    assert "statistics of the batch" in blocker.reason


def test_dropout_told_to_train_is_refused_in_eval_mode_too() -> None:
    model = Model(Inner(lambda x: functional.dropout(x, 0.5, training=True)))
    assert "dropout" in only_blocker(model.eval()).op


def test_a_module_in_training_mode_is_switched_to_eval_and_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    model = Model(nn.Sequential(nn.BatchNorm2d(4), nn.Dropout(0.5))).eval()
    model.inner.train()
    with caplog.at_level("INFO", logger="gigafcn"):
        assert trace(model, 3, SIZE).blockers == ()
    assert not any(layer.training for layer in model.modules())
    assert ["switched to eval mode" in message for message in caplog.messages] == [True]


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
