"""Networks that the benchmarks run: random weights, batch-norm statistics drawn as well."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn


class BasicBlock(nn.Module):
    """Residual block of ResNet-18 (He et al. 2015)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        """(b, c, y, x) to (b, c', y / stride, x / stride)."""
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y)) + self.downsample(x)
        result: Tensor = self.relu(y)
        return result


def _double_convolution(inputs: int, outputs: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for channels in (inputs, outputs):
        layers += [
            nn.Conv2d(channels, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
        ]
    return nn.Sequential(*layers)


class ResNet18UNet(nn.Module):
    """U-Net with a ResNet-18 encoder and decoder widths 256, 128, 64, 32, 16.

    The layout of ``segmentation_models_pytorch.Unet("resnet18")``.

    Parameters
    ----------
    classes
        Output channels.
    width
        Channels of the first stage; 64 is ResNet-18.
    """

    def __init__(self, classes: int = 3, width: int = 64) -> None:
        super().__init__()
        w = width
        self.stem = nn.Sequential(
            nn.Conv2d(3, w, 7, 2, 3, bias=False), nn.BatchNorm2d(w), nn.ReLU(inplace=True)
        )
        self.pool = nn.MaxPool2d(3, 2, 1)
        widths = [w, w, 2 * w, 4 * w, 8 * w]
        self.stages = nn.ModuleList(
            nn.Sequential(BasicBlock(a, b, 1 + (i > 0)), BasicBlock(b, b, 1))
            for i, (a, b) in enumerate(itertools.pairwise(widths))
        )
        decoded = [8 * w, 4 * w, 2 * w, w, w // 2, w // 4]
        skips = [4 * w, 2 * w, w, w, 0]
        self.decoder = nn.ModuleList(
            _double_convolution(a + s, b)
            for a, s, b in zip(decoded, skips, decoded[1:], strict=False)
        )
        self.head = nn.Conv2d(w // 4, classes, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(b, 3, y, x) to (b, classes, y, x); y and x multiples of 32."""
        skips = [self.stem(x)]
        x = self.pool(skips[0])
        for stage in self.stages:
            x = stage(x)
            skips.append(x)
        skips.pop()
        for block in self.decoder:
            x = nn.functional.interpolate(x, scale_factor=2.0, mode="nearest")
            if skips:
                x = torch.cat([x, skips.pop()], dim=1)
            x = block(x)
        result: Tensor = self.head(x)
        return result


class CeilResNet18UNet(ResNet18UNet):
    """The same with a pool that rounds up and resizes to the skips' sizes: it has no period."""

    def __init__(self, classes: int = 3, width: int = 64) -> None:
        super().__init__(classes, width)
        self.pool = nn.MaxPool2d(3, 2, 1, ceil_mode=True)

    def forward(self, x: Tensor) -> Tensor:
        """(b, 3, y, x) to (b, classes, y, x), for any y and x."""
        skips = [x, self.stem(x)]
        x = self.pool(skips[-1])
        for stage in self.stages:
            x = stage(x)
            skips.append(x)
        skips.pop()
        for block in self.decoder:
            skip = skips.pop()
            x = nn.functional.interpolate(x, size=skip.shape[2:], mode="bilinear")
            x = block(torch.cat([x, skip], dim=1) if skips else x)
        result: Tensor = self.head(x)
        return result


class ValidThenResized(nn.Module):
    """Convolutions without padding, resized to the image in the end: it has no period."""

    def __init__(self, classes: int = 3, width: int = 32, depth: int = 4) -> None:
        super().__init__()
        sides = [3, *([width] * depth)]
        self.body = nn.Sequential(*(_valid(a, b) for a, b in itertools.pairwise(sides)))
        self.head = nn.Conv2d(width, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(b, 3, y, x) to (b, classes, y, x)."""
        scores = self.head(self.body(x))
        return nn.functional.interpolate(scores, size=x.shape[2:], mode="bilinear")


def _valid(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)
    )


class ResNet18Classifier(nn.Module):
    """ResNet-18 up to its global average, and scores of the classes: one answer per patch.

    Parameters
    ----------
    classes
        Output channels.
    width
        Channels of the first stage; 64 is ResNet-18.
    """

    def __init__(self, classes: int = 3, width: int = 64) -> None:
        super().__init__()
        trunk = ResNet18UNet(classes, width)
        self.stem, self.pool, self.stages = trunk.stem, trunk.pool, trunk.stages
        self.head = nn.Linear(8 * width, classes)

    def forward(self, x: Tensor) -> Tensor:
        """(b, 3, y, x) to (b, classes)."""
        x = self.pool(self.stem(x))
        for stage in self.stages:
            x = stage(x)
        result: Tensor = self.head(x.mean(dim=(2, 3)))
        return result


def randomized(module: nn.Module, seed: int = 0) -> nn.Module:
    """The module in eval mode with batch-norm statistics and weights drawn at random."""
    generator = torch.Generator().manual_seed(seed)
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            assert layer.running_mean is not None
            assert layer.running_var is not None
            layer.running_mean.normal_(0, 0.1, generator=generator)
            layer.running_var.uniform_(0.5, 1.5, generator=generator)
            layer.weight.data.uniform_(0.5, 1.5, generator=generator)
            layer.bias.data.normal_(0, 0.1, generator=generator)
    return module.eval()
