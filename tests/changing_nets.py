"""Nets that write what they compute with in ``forward``, and nets that are random."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Callable


class Net(nn.Module):
    """A 3 x 3 convolution to two channels, then ``after(self, convolved, image)``."""

    def __init__(self, after: Callable[..., Any], **kept: Any) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.c = nn.Conv2d(3, 2, 3, padding=1)
        self.e = nn.Conv2d(3, 2, 3, padding=1)
        self.after = after
        for name, value in kept.items():
            if isinstance(value, Tensor):
                self.register_buffer(name, value)
            else:
                setattr(self, name, value)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.after(self, self.c(x), x)
        return result


def _data_replaced(net: Any, y: Any, x: Any) -> Any:
    net.e.weight.data, net.e.bias.data = net.c.weight * 2, net.c.bias * 2
    return net.e(x)


def _copied_into(net: Any, y: Any, x: Any) -> Any:
    with torch.no_grad():
        net.e.weight.copy_(net.c.weight * 2)
        net.e.bias.copy_(net.c.bias * 2)
    return net.e(x)


def _data_written(net: Any, y: Any, x: Any) -> Any:
    net.e.weight.data.copy_(net.c.weight * 2)
    return net.e(x)


def _fused_once(net: Any, y: Any, x: Any) -> Any:
    if not net.fused:
        net.e.weight.data = net.e.weight.data * 3
        net.norm, net.fused = nn.Identity(), True
        return net.e(x)
    return net.norm(net.e(x))


def _buffer_made(net: Any, y: Any, x: Any) -> Any:
    if net.gain is None:
        net.gain = net.c.weight.sum((1, 2, 3)).view(1, 2, 1, 1) * 3
    return y * net.gain


def _columns(net: Any, y: Any, x: Any) -> Any:
    """A table as wide as the image, kept until another is needed."""
    if net.table is None or net.table.shape[-1] != x.shape[-1]:
        net.table = torch.ones(1, 1, 1, x.shape[-1], device=x.device, dtype=x.dtype) * 0.5
    return y * net.table


def _counted(net: Any, y: Any, x: Any) -> Any:
    net.calls += 1
    net.seen = net.seen + 1
    return y


def _kept_features(net: Any, y: Any, x: Any) -> Any:
    net.last = y.detach()
    return y


def _iterated(net: Any, y: Any, x: Any) -> Any:
    """Spectral norm whose power iteration goes on in eval mode."""
    matrix = net.c.weight.flatten(1)
    with torch.no_grad():
        v = functional.normalize(matrix.T @ net.u, dim=0)
        net.u.copy_(functional.normalize(matrix @ v, dim=0))
    return y / (net.u @ matrix @ v)


def _averaged(net: Any, y: Any, x: Any) -> Any:
    with torch.no_grad():
        net.mean.mul_(0.9).add_(0.1 * y.mean((0, 2, 3)))
    return y - net.mean.view(1, 2, 1, 1)


def _initialised_by_pixels(net: Any, y: Any, x: Any) -> Any:
    """Activation norm: the first image that it sees sets its scale."""
    if not bool(net.ready):
        net.scale.data = 1 / y.std((0, 2, 3), keepdim=True)
        net.ready.fill_(True)
    return y * net.scale


def _warmed_up(net: Any, y: Any, x: Any) -> Any:
    net.calls += 1
    return y * min(net.calls, 3)


SETTLING: dict[str, Callable[[], nn.Module]] = {
    "data replaced": lambda: Net(_data_replaced),
    "weights copied": lambda: Net(_copied_into),
    "data written": lambda: Net(_data_written),
    "fused at the first call": lambda: Net(_fused_once, fused=False, norm=_Tripled()),
    "buffer made at the first call": lambda: Net(_buffer_made, gain=None),
    "calls counted": lambda: Net(_counted, calls=0, seen=torch.zeros((), dtype=torch.int64)),
    "features kept": lambda: Net(_kept_features, last=torch.zeros(1)),
}
"""Write in forward, and answer alike each time."""

OWN_EACH_SIZE: dict[str, Callable[[], nn.Module]] = {
    "table of columns": lambda: Net(_columns, table=None),
    "table of columns in a buffer": lambda: Net(_columns, table=torch.zeros(1, 1, 1, 1)),
}
"""Keep something of the image's size."""

CHANGING: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "power iteration": (lambda: Net(_iterated, u=functional.normalize(torch.ones(2), dim=0)), "u"),
    "running mean": (lambda: Net(_averaged, mean=torch.zeros(2)), "mean"),
    "set by the first image": (
        lambda: Net(
            _initialised_by_pixels,
            ready=torch.tensor(data=False),
            scale=nn.Parameter(torch.ones(1, 2, 1, 1)),
        ),
        "scale",
    ),
    "warm-up": (lambda: Net(_warmed_up, calls=0), "calls"),
}
"""Answer differently from call to call, and what they write."""


class _Tripled(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * 3


def _drawing(draw: Callable[[Tensor], Any]) -> Callable[[], nn.Module]:
    return lambda: Net(lambda net, y, x: draw(y))


def _seeded(y: Tensor) -> Tensor:
    torch.manual_seed(1)
    return y + torch.randn(1, 2, 1, 1)


def _own_generator(y: Tensor) -> Tensor:
    return y + torch.randn(1, 2, 1, 1, generator=torch.Generator().manual_seed(3))


def _chosen(y: Tensor) -> Tensor:
    order = torch.multinomial(torch.ones(2), 2)
    return y + order.view(1, 2, 1, 1)


RANDOM: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "randn": (_drawing(lambda y: y + torch.randn(1, 2, 1, 1)), "randn"),
    "rand": (_drawing(lambda y: y * torch.rand(2, 1, 1)), "rand"),
    "rand_like": (_drawing(lambda y: y + torch.rand_like(y)), "rand_like"),
    "randn_like": (_drawing(lambda y: y + 0.1 * torch.randn_like(y)), "randn_like"),
    "randint": (_drawing(lambda y: y + torch.randint(0, 9, (1, 2, 1, 1))), "randint"),
    "randperm": (_drawing(lambda y: y[:, torch.randperm(2)]), "randperm"),
    "bernoulli": (_drawing(lambda y: y * torch.bernoulli(torch.full_like(y, 0.5))), "bernoulli"),
    "multinomial": (_drawing(_chosen), "multinomial"),
    "normal": (_drawing(lambda y: torch.normal(y, 0.1)), "normal"),
    "normal_": (_drawing(lambda y: y + torch.empty(1, 2, 1, 1).normal_()), "normal"),
    "uniform_": (_drawing(lambda y: y + torch.empty_like(y).uniform_()), "uniform"),
    "dropout": (_drawing(lambda y: functional.dropout(y)), "dropout"),
    "dropout2d": (_drawing(lambda y: functional.dropout2d(y)), "dropout2d|feature_dropout"),
    "alpha dropout": (
        _drawing(lambda y: functional.alpha_dropout(y, 0.5, training=True)),
        "alpha_dropout",
    ),
    "stochastic depth": (
        _drawing(lambda y: y * torch.empty(1, 1, 1, 1).bernoulli_(0.5) / 0.5),
        "bernoulli",
    ),
    "gumbel softmax": (
        _drawing(lambda y: functional.gumbel_softmax(y, dim=1)),
        "gumbel_softmax|exponential",
    ),
    "rrelu": (_drawing(lambda y: functional.rrelu(y, training=True)), "rrelu"),
    "seeded in forward": (_drawing(_seeded), "randn"),
    "generator of its own": (_drawing(_own_generator), "randn"),
    "rare": (
        _drawing(lambda y: y * torch.bernoulli(torch.tensor(0.999999))),
        "bernoulli",
    ),
    "python": (_drawing(lambda y: y * random.random()), "Python's random"),
    "rare in python": (_drawing(lambda y: y * (random.random() > 1e-6)), "Python's random"),
    "numpy": (_drawing(lambda y: y * float(np.random.rand())), "numpy.random"),
    "numpy's generator": (_drawing(lambda y: y * np.random.default_rng().random()), ""),
}
"""Draw random numbers, and how the op is called: by torch's users, or in a graph."""


def infer_numbers() -> np.ndarray:
    """Pixels of an odd size."""
    return np.random.default_rng(0).integers(0, 255, (71, 93, 3), dtype=np.uint8)
