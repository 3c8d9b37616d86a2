"""Classifiers of patches: the published layouts at reduced width, and one difficulty each."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.nets import ResidualBlock, conv_norm

if TYPE_CHECKING:
    from collections.abc import Callable


class Vgg16(nn.Module):
    """Torchvision's VGG-16; ``width`` is 64 and ``hidden`` 4096 in the original."""

    def __init__(self, width: int = 4, hidden: int = 32, classes: int = 10) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for factor, count in ((1, 2), (2, 2), (4, 3), (8, 3), (8, 3)):
            for _ in range(count):
                layers += [nn.Conv2d(channels, factor * width, 3, padding=1), nn.ReLU(True)]
                channels = factor * width
            layers.append(nn.MaxPool2d(2, 2))
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d((7, 7))
        self.classifier = nn.Sequential(
            nn.Linear(channels * 49, hidden),
            nn.ReLU(True),
            nn.Dropout(),
            nn.Linear(hidden, hidden),
            nn.ReLU(True),
            nn.Dropout(),
            nn.Linear(hidden, classes),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.avgpool(self.features(x))
        result: Tensor = self.classifier(torch.flatten(x, 1))
        return result


class ResNet18(nn.Module):
    """ResNet-18; ``width`` is 64 in the original."""

    def __init__(self, width: int = 4, classes: int = 5) -> None:
        super().__init__()
        w = width
        self.stem = conv_norm(3, w, 7, 2)
        self.pool = nn.MaxPool2d(3, 2, 1)
        sizes = [(w, w, 1), (w, 2 * w, 2), (2 * w, 4 * w, 2), (4 * w, 8 * w, 2)]
        self.stages = nn.Sequential(
            *(nn.Sequential(ResidualBlock(a, b, s), ResidualBlock(b, b, 1)) for a, b, s in sizes)
        )
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(8 * w, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stages(self.pool(torch.relu(self.stem(x))))
        result: Tensor = self.fc(torch.flatten(self.avgpool(x), 1))
        return result


class LeNet(nn.Module):
    """LeNet-5 with a norm, dropout and softmax in its head; takes 32 px of one channel."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 6, 5), nn.Conv2d(6, 16, 5)
        self.head = nn.Sequential(
            nn.Linear(400, 24), nn.BatchNorm1d(24), nn.Tanh(), nn.Dropout(), nn.Linear(24, 10)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = functional.avg_pool2d(torch.tanh(self.first(x)), 2)
        x = functional.max_pool2d(torch.tanh(self.second(x)), 2)
        result: Tensor = self.head(x.view(-1, 16 * 5 * 5)).softmax(dim=-1)
        return result


def trunk(channels: int = 6) -> nn.Sequential:
    """Stride 4, no padding: 28 px give 6 x 6."""
    return nn.Sequential(
        nn.Conv2d(3, 5, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(5, channels, 2, 2)
    )


class Headed(nn.Module):
    """The trunk with a head of its own."""

    def __init__(self, head: Callable[[Tensor], Tensor], *layers: nn.Module) -> None:
        super().__init__()
        self.trunk = trunk()
        self.layers = nn.ModuleList(layers)
        self.head = head

    def forward(self, x: Tensor) -> Tensor:
        x = self.head(self.trunk(x))
        for layer in self.layers:
            x = layer(x)
        return x


def _both_pools(x: Tensor) -> Tensor:
    return torch.cat(
        [functional.adaptive_avg_pool2d(x, 1), functional.adaptive_max_pool2d(x, 1)], dim=1
    ).flatten(1)


def _channels_last(x: Tensor) -> Tensor:
    return x.permute(0, 2, 3, 1).reshape(1, -1)


HEADS: dict[str, Callable[[], nn.Module]] = {
    "flatten": lambda: Headed(lambda x: x.flatten(1), nn.Linear(216, 4)),
    "flatten, channels last": lambda: Headed(_channels_last, nn.Linear(216, 4)),
    "mean over y and x": lambda: Headed(lambda x: x.mean((2, 3)), nn.Linear(6, 4)),
    "mean, then over what is left": lambda: Headed(lambda x: x.mean(3).mean(2), nn.Linear(6, 4)),
    "mean of flattened pixels": lambda: Headed(lambda x: x.flatten(2).mean(2), nn.Linear(6, 4)),
    "sum": lambda: Headed(lambda x: x.sum((2, 3)), nn.Linear(6, 4)),
    "maximum": lambda: Headed(lambda x: x.amax((2, 3)), nn.Linear(6, 4)),
    "maximum with its place": lambda: Headed(lambda x: x.flatten(2).max(2)[0], nn.Linear(6, 4)),
    "both pools side by side": lambda: Headed(_both_pools, nn.Linear(12, 4)),
    "pool of the map's size": lambda: Headed(nn.AvgPool2d(6), nn.Flatten(), nn.Linear(6, 4)),
    "adaptive pooling, same size": lambda: Headed(
        nn.AdaptiveAvgPool2d(6), nn.Flatten(), nn.Linear(216, 4)
    ),
    "adaptive pooling by 2": lambda: Headed(
        nn.AdaptiveAvgPool2d(3), nn.Flatten(), nn.Linear(54, 4)
    ),
    "adaptive pooling, unequal parts": lambda: Headed(
        nn.AdaptiveAvgPool2d((4, 7)), nn.Flatten(), nn.Dropout(), nn.Linear(168, 4)
    ),
    "adaptive pooling, then a convolution": lambda: Headed(
        nn.AdaptiveAvgPool2d(3), nn.Conv2d(6, 5, 3), nn.Flatten(), nn.Linear(5, 4)
    ),
    "1 x 1 convolution after pooling": lambda: Headed(
        nn.AdaptiveAvgPool2d(1), nn.Conv2d(6, 4, 1), nn.Flatten()
    ),
    "squeezed": lambda: Headed(lambda x: x.mean((2, 3), keepdim=True).squeeze(), nn.Linear(6, 4)),
    "norms and slopes": lambda: Headed(
        lambda x: x.mean((2, 3)),
        nn.LayerNorm(6),
        nn.PReLU(6),
        nn.Linear(6, 8, bias=False),
        nn.BatchNorm1d(8),
        nn.GELU(),
        nn.Linear(8, 1),
        nn.Sigmoid(),
    ),
    "tokens": lambda: Headed(
        lambda x: x.flatten(2).transpose(1, 2), nn.LayerNorm(6), nn.Linear(6, 4), MeanOfTokens()
    ),
    "a linear layer used twice": lambda: Headed(lambda x: x.mean((2, 3)), *[nn.Linear(6, 6)] * 2),
    "scores as a map": lambda: Headed(nn.AdaptiveAvgPool2d(1), nn.Conv2d(6, 4, 1)),
    "scores as a map, flattened": lambda: Headed(nn.Conv2d(6, 4, 6), nn.Flatten()),
    "no channel dimension": lambda: Headed(lambda x: x.mean(1).flatten(1), nn.Linear(36, 4)),
    "another dimension": lambda: Headed(lambda x: x.unsqueeze(1).flatten(1), nn.Linear(216, 4)),
    "another dimension behind": lambda: Headed(lambda x: x[..., None].mean((2, 3)), nn.Flatten()),
    "a score without its dimension": lambda: Headed(nn.Conv2d(6, 1, 6), Squeezed()),
}
"""Heads on the trunk, for patches of 28 px; none pads."""


class Squeezed(nn.Module):
    """(b, 1, y, x) to (b, y, x)."""

    def forward(self, x: Tensor) -> Tensor:
        return x[:, 0]


class MeanOfTokens(nn.Module):
    """(b, tokens, c) to (b, c)."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(1)


class Gated(nn.Module):
    """Squeeze-and-excitation in the trunk."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3)
        self.gate = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(4, 4, 1), nn.Sigmoid())
        self.fc = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        result: Tensor = self.fc((x * self.gate(x)).mean((2, 3)))
        return result


class TinyVit(nn.Module):
    """A vision transformer: patches of 8 px, a class token, one block of attention."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, 8, 8, 8)
        self.token = nn.Parameter(torch.zeros(1, 1, 8))
        self.position = nn.Parameter(torch.zeros(1, 17, 8))
        self.block = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.embed(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.token, tokens], dim=1) + self.position
        result: Tensor = self.head(self.block(tokens)[:, 0])
        return result


class Shuffled(nn.Module):
    """Channel shuffle and space to depth as views, whose sizes export writes down; ceil_mode."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 6, 3)
        self.pool = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.norm = nn.LayerNorm(6)
        self.fc = nn.Linear(24, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(self.first(x))
        x = self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        b, c, height, width = x.shape
        x = x.view(b, 2, c // 2, height, width).transpose(1, 2).reshape(b, c, height, width)
        x = x.view(b, c, height // 2, 2, width // 2, 2).permute(0, 1, 3, 5, 2, 4)
        x = x.reshape(b, 4 * c, height // 2, width // 2)
        result: Tensor = self.fc(x.mean((2, 3)))
        return result


def integers(module: nn.Module, top: int = 2) -> nn.Module:
    """The module in fp64 and eval mode with small whole numbers as weights.

    On images of small whole numbers nothing is then rounded, whatever the order of sums.
    """
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for tensor in module.double().parameters():
            whole = torch.randint(-top, top + 1, tensor.shape, generator=generator)
            tensor.copy_(whole)
    return module.eval()


def integer_image(*shape: int) -> Tensor:
    """Whole numbers from 0 to 3 in fp64."""
    generator = torch.Generator().manual_seed(2)
    return torch.randint(0, 4, shape, generator=generator).double()
