"""Nets whose sizes follow from the image's in a way of their own, a few channels each.

What each gives is stated where it is used; none of the tool's analysis is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.run.small_nets import Skip

if TYPE_CHECKING:
    from collections.abc import Callable


class ValidThenResized(nn.Module):
    """Loses 6 px, then is resized to the image: a ratio of (n - 6) / n."""

    def __init__(self, mode: str = "nearest") -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 2, 5)
        self.mode = mode

    def forward(self, image: Tensor) -> Tensor:
        smaller = self.second(torch.relu(self.first(image)))
        return functional.interpolate(smaller, size=image.shape[2:], mode=self.mode)


class CeilStem(nn.Module):
    """A stem of stride 4 whose pool rounds up, resized to the image."""

    def __init__(self, mode: str = "nearest") -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, 2, 1)
        self.pool = nn.MaxPool2d(3, 2, 1, ceil_mode=True)
        self.head = nn.Conv2d(4, 2, 3, padding=1)
        self.mode = mode

    def forward(self, image: Tensor) -> Tensor:
        coarse = self.head(self.pool(self.stem(image)))
        return functional.interpolate(coarse, size=image.shape[2:], mode=self.mode)


class CeilUNet(nn.Module):
    """Two levels of pools that round up, each resized to its skip connection."""

    def __init__(self, mode: str = "nearest") -> None:
        super().__init__()
        self.pool = nn.MaxPool2d(3, 2, 1, ceil_mode=True)
        self.down = nn.ModuleList(nn.Conv2d(c, 4, 3, padding=1) for c in (3, 4, 4))
        self.up = nn.ModuleList(nn.Conv2d(8, c, 3, padding=1) for c in (4, 2))
        self.mode = mode

    def forward(self, image: Tensor) -> Tensor:
        fine = torch.relu(self.down[0](image))
        middle = torch.relu(self.down[1](self.pool(fine)))
        coarse = torch.relu(self.down[2](self.pool(middle)))
        middle = torch.relu(self.up[0](torch.cat((middle, self._like(coarse, middle)), 1)))
        result: Tensor = self.up[1](torch.cat((fine, self._like(middle, fine)), 1))
        return result

    def _like(self, coarse: Tensor, fine: Tensor) -> Tensor:
        return functional.interpolate(coarse, size=fine.shape[2:], mode=self.mode)


class ValidAndSkipped(nn.Module):
    """Loses 4 px, and resizes by (n / 2 - 3) / (n - 2) on the way."""

    def __init__(self) -> None:
        super().__init__()
        self.fine, self.coarse = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3)
        self.head = nn.Conv2d(8, 2, 3)

    def forward(self, image: Tensor) -> Tensor:
        fine = self.fine(image)
        coarse = self.coarse(functional.max_pool2d(fine, 2))
        resized = functional.interpolate(coarse, size=fine.shape[2:])
        result: Tensor = self.head(torch.cat((fine, resized), 1))
        return result


class PadsItself(nn.Module):
    """Pads to a multiple of 32, half of it above and at the left or none, and cuts that off."""

    def __init__(self, *, centred: bool) -> None:
        super().__init__()
        self.net, self.centred = Skip(factor=8), centred

    def forward(self, image: Tensor) -> Tensor:
        height, width = image.shape[2:]
        rows, columns = -height % 32, -width % 32
        top, left = (rows // 2, columns // 2) if self.centred else (0, 0)
        padded = functional.pad(image, (left, columns - left, top, rows - top))
        result: Tensor = self.net(padded)[:, :, top : top + height, left : left + width]
        return result


class RefusesMultiplesOf(nn.Module):
    """Has a period, and takes no image that is a multiple of another number."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.net, self.number = Skip(factor=4), number

    def forward(self, image: Tensor) -> Tensor:
        if image.shape[2] % self.number == 0:
            raise ValueError(f"height {image.shape[2]} is a multiple of {self.number}")
        result: Tensor = self.net(image)
        return result


def by_axis() -> nn.Module:
    """A period of 2 px along y and of 3 px along x."""
    down = nn.Conv2d(3, 4, 3, stride=(2, 3), padding=1)
    return nn.Sequential(down, nn.ReLU(), nn.ConvTranspose2d(4, 2, (2, 3), stride=(2, 3)))


def ceil_quarter() -> nn.Module:
    """One map px per 4 x 4 px; pools that round up, so n px give n // 4 + 1 where 4 divides n."""
    pools = (nn.MaxPool2d(3, 2, 1, ceil_mode=True) for _ in range(2))
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), *pools, nn.Conv2d(4, 2, 3, padding=1))


def stride_three() -> nn.Module:
    """One map px per 3 x 3 px."""
    return nn.Sequential(nn.Conv2d(3, 4, 5, 3, 2), nn.ReLU(), nn.Conv2d(4, 2, 3, padding=1))


def output_padding() -> nn.Module:
    """Halves, rounding up, and doubles: a px more than the image where it is odd."""
    up = nn.ConvTranspose2d(4, 2, 3, 2, 1, output_padding=1)
    return nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU(), up)


WITHOUT_PERIOD: dict[str, Callable[[], nn.Module]] = {
    "valid, then resized": ValidThenResized,
    "ceil stem, resized": CeilStem,
    "ceil U-Net": CeilUNet,
    "centred padding": lambda: PadsItself(centred=True),
}
"""Makers of nets that see the image itself and give a map of its size."""

RESIZED: dict[str, Callable[[str], nn.Module]] = {
    "valid, then resized": ValidThenResized,
    "ceil stem, resized": CeilStem,
    "ceil U-Net": CeilUNet,
}
"""The same by the mode of their resizes."""

WITH_PERIOD: dict[str, tuple[Callable[[], nn.Module], tuple[int, int], int]] = {
    "skip": (lambda: Skip(factor=4), (4, 4), 1),
    "padding at the end": (lambda: PadsItself(centred=False), (8, 8), 1),
    "by axis": (by_axis, (2, 3), 1),
    "ceil quarter": (ceil_quarter, (4, 4), 4),
    "stride three": (stride_three, (3, 3), 3),
    "output padding": (output_padding, (2, 2), 1),
}
"""Makers of nets with their period (y, x) in px and their stride."""
