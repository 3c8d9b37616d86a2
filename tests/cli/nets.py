"""Models that the commands of these tests are given, as ``nets.py:NAME``."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def tiny() -> nn.Module:
    """Three classes, halo 1 px, random weights that are the same each time."""
    torch.manual_seed(0)
    return nn.Conv2d(3, 3, 3, padding=1)


def valid() -> nn.Module:
    """Loses 8 px along each axis."""
    torch.manual_seed(0)
    return nn.Conv2d(3, 2, 9)


def slow() -> nn.Module:
    """Many layers: a second or more for each million px."""
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 16, 3, padding=1)]
    layers += [nn.Conv2d(16, 16, 3, padding=1) for _ in range(12)]
    return nn.Sequential(*layers, nn.Conv2d(16, 2, 1))


class Ratio(nn.Module):
    """``top / pixel``: wherever the image is black, infinite, or NaN if ``top`` is 0."""

    def __init__(self, top: float) -> None:
        super().__init__()
        self.top = nn.Conv2d(3, 2, 1)
        self.pixel = nn.Conv2d(3, 2, 1, bias=False)
        nn.init.zeros_(self.top.weight)
        nn.init.constant_(self.top.bias, top)  # type: ignore[arg-type]  # it has a bias
        nn.init.ones_(self.pixel.weight)

    def forward(self, image: Tensor) -> Tensor:
        result: Tensor = self.top(image) / self.pixel(image)
        return result


def infinite() -> nn.Module:
    """Infinite where the image is black."""
    return Ratio(1.0)


def undefined() -> nn.Module:
    """NaN where the image is black."""
    return Ratio(0.0)


class Cumulative(nn.Module):
    """Has an op without a rule."""

    def forward(self, image: Tensor) -> Tensor:
        return torch.cummax(image, dim=2).values


def cumulative() -> nn.Module:
    """Takes the largest value of all rows so far."""
    return nn.Sequential(nn.Conv2d(3, 2, 1), Cumulative())


def normed() -> nn.Module:
    """Its norm needs the mean of the whole image."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.InstanceNorm2d(4), nn.Conv2d(4, 2, 1))


def no_module() -> int:
    """Returns no module."""
    return 3


def broken() -> nn.Module:
    """Raises."""
    raise RuntimeError("no weights\nhere")


def classifier() -> nn.Module:
    """Three scores of a patch of 32 px."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 15 * 15, 3))


class Moody(nn.Module):
    """Gives fewer classes for bright windows."""

    def forward(self, image: Tensor) -> Tensor:
        return image if image.mean() < 0.4 else image[:, :2]


def moody() -> nn.Module:
    """Its output depends on what it sees."""
    return Moody()


class TwoMaps(nn.Module):
    """Gives a map of half the size, ``coarse``, and one of the whole size, ``fine``."""

    def __init__(self) -> None:
        super().__init__()
        self.fine = nn.Conv2d(3, 2, 3, padding=1)
        self.down = nn.MaxPool2d(2)
        self.coarse = nn.Conv2d(2, 4, 5, padding=2)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        fine = self.fine(image)
        return {"coarse": self.coarse(self.down(fine)), "fine": fine}


def two_maps() -> nn.Module:
    """Has two outputs of different shapes."""
    torch.manual_seed(0)
    return TwoMaps()


def wide() -> nn.Module:
    """Two classes, halo 60 px."""
    torch.manual_seed(0)
    layers = [nn.Conv2d(c, 2, 3, padding=30, dilation=30) for c in (3, 2)]
    return nn.Sequential(*layers)


def halved() -> nn.Module:
    """A level down by 8 and up again: a period of 8 px."""
    torch.manual_seed(0)
    down = nn.Conv2d(3, 4, 3, stride=8, padding=1)
    return nn.Sequential(down, nn.ReLU(), nn.ConvTranspose2d(4, 2, 8, stride=8))


class Resized(nn.Module):
    """Loses 2 px and is resized to the image: no period."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 3)

    def forward(self, image: Tensor) -> Tensor:
        return nn.functional.interpolate(self.conv(image), size=image.shape[2:], mode="bilinear")


def resized() -> nn.Module:
    """Loses 2 px and is resized to the image: no period."""
    torch.manual_seed(0)
    return Resized()
