"""Nets of the end-to-end tests: one difficulty each, a few channels, quick to export.

``whole_numbers`` gives a net small integer weights.  On small integer images every partial sum is
then an integer far below 2**24, nothing is rounded in float32, and a map must equal the whole run
bit for bit.  ``random_numbers`` gives a net the weights of an untrained one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Callable


def conv(c_in: int, c_out: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    """Convolution that keeps the size but for its stride, ReLU."""
    return nn.Sequential(nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2), nn.ReLU())


class Skip(nn.Module):
    """A level down by ``factor`` and up again, beside a skip connection: period ``factor``."""

    def __init__(self, channels: int = 3, classes: int = 3, factor: int = 2) -> None:
        super().__init__()
        self.fine = conv(channels, 4)
        self.down = nn.MaxPool2d(factor)
        self.coarse = conv(4, 4)
        self.head = nn.Conv2d(8, classes, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        fine = self.fine(image)
        # By size, not by factor: the analysis tries sizes that are no multiple of 3.
        coarse = functional.interpolate(self.coarse(self.down(fine)), size=fine.shape[2:])
        result: Tensor = self.head(torch.cat((fine, coarse), dim=1))
        return result


def quarter() -> nn.Module:
    """One map px per 4 x 4 px."""
    return nn.Sequential(conv(3, 4, 3, 2), conv(4, 4, 3, 2), nn.Conv2d(4, 3, 1))


def double() -> nn.Module:
    """2 x 2 map px per px."""
    return nn.Sequential(conv(3, 4), nn.ConvTranspose2d(4, 3, 4, 2, 1))


class ValidUNet(nn.Module):
    """The U-Net of 2015 without padding, ``depth`` levels down: 572 px give 388 at depth 4."""

    def __init__(self, depth: int = 4, width: int = 2, classes: int = 2) -> None:
        super().__init__()
        sides = [3, *([width] * (depth + 1))]
        self.down = nn.ModuleList(
            nn.Sequential(nn.Conv2d(a, width, 3), nn.ReLU(), nn.Conv2d(width, width, 3), nn.ReLU())
            for a in sides[:-1]
        )
        self.up = nn.ModuleList(nn.ConvTranspose2d(width, width, 2, 2) for _ in range(depth))
        self.join = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(2 * width, width, 3), nn.ReLU(), nn.Conv2d(width, width, 3), nn.ReLU()
            )
            for _ in range(depth)
        )
        self.head = nn.Conv2d(width, classes, 1)

    def forward(self, image: Tensor) -> Tensor:
        skips = []
        for level, block in enumerate(self.down):
            image = block(functional.max_pool2d(image, 2) if level else image)
            skips.append(image)
        for up, join, skip in zip(self.up, self.join, reversed(skips[:-1]), strict=True):
            image = up(image)
            lost = [(s - n) // 2 for s, n in zip(skip.shape[2:], image.shape[2:], strict=True)]
            height, width = image.shape[2:]
            cropped = skip[:, :, lost[0] : lost[0] + height, lost[1] : lost[1] + width]
            image = join(torch.cat((cropped, image), dim=1))
        result: Tensor = self.head(image)
        return result


def whole_numbers(net: nn.Module, seed: int = 0, most: int = 1) -> nn.Module:
    """The net in eval mode, all weights whole numbers between -``most`` and ``most``."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in net.parameters():
            tensor.copy_(torch.randint(-most, most + 1, tensor.shape, generator=generator))
    return net.eval()


def random_numbers(net: nn.Module, seed: int = 0) -> nn.Module:
    """The net in eval mode, weights drawn so that values keep their magnitude."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in net.parameters():
            fan_in = max(1, tensor[0].numel())
            tensor.normal_(0, (2 / fan_in) ** 0.5, generator=generator)
    return net.eval()


EXACT: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "skip": (Skip, 2),
    "thirds": (lambda: Skip(factor=3), 3),
    "quarter": (quarter, 4),
    "double": (double, 1),
}
"""Makers of nets that keep the image's size but for their stride, and their period in px."""
