"""What do padding, pooling and stride cost and give?  The plainest nets, to be compared.

- :class:`ValidNet` does not pad: each layer makes the map smaller, and every output px is the
  same function of its receptive field.
- :class:`FullResolutionNet` and :class:`PooledNet` hold the same convolutions; pooling makes the
  deep ones cheap and lets them see further.
- :class:`PixelClassifier` labels one pixel by the crop around it (Cireşan et al., "Deep neural
  networks segment neuronal membranes in electron microscopy images", NIPS 2012), or, with
  ``dense=True``, all pixels at once with the same weights.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from gigafcn.model.zoo.classifier import linear_as_convolution

if TYPE_CHECKING:
    from torch import Tensor


class ValidNet(nn.Sequential):
    """3 x H x W -> 64 x (H - 4) x (W - 4) -> 128 x (H - 6) x (W - 6), without padding.

    Examples
    --------
    >>> import torch
    >>> ValidNet()(torch.zeros(1, 3, 20, 31)).shape
    torch.Size([1, 128, 14, 25])
    """

    def __init__(self, divisor: int = 1) -> None:
        first, second = 64 // divisor, 128 // divisor
        super().__init__(nn.Conv2d(3, first, 5), nn.ReLU(), nn.Conv2d(first, second, 3), nn.ReLU())


WIDTHS = (16, 32, 64)
"""Channels of the three stages of the two nets below."""


class FullResolutionNet(nn.Module):
    """Every convolution at the image's full resolution: simple, dear, and short-sighted.

    Six 3 x 3 convolutions see 13 px.
    """

    def __init__(self, classes: int = 3) -> None:
        super().__init__()
        self.stages = nn.Sequential(*_stages(pool=False))
        self.scores = nn.Conv2d(WIDTHS[-1], classes, 1)

    def forward(self, image: Tensor) -> Tensor:
        """(b, 3, y, x) to (b, classes, y, x)."""
        scores: Tensor = self.scores(self.stages(image))
        return scores


class PooledNet(nn.Module):
    """The same convolutions with two poolings between them, and bilinear upsampling at the end.

    The second stage costs a quarter, the third a sixteenth, and one score sees 32 px.
    """

    def __init__(self, classes: int = 3) -> None:
        super().__init__()
        self.stages = nn.Sequential(*_stages(pool=True))
        self.scores = nn.Conv2d(WIDTHS[-1], classes, 1)
        self.up = nn.Upsample(scale_factor=4, mode="bilinear", align_corners=False)

    def forward(self, image: Tensor) -> Tensor:
        """(b, 3, y, x) to (b, classes, y, x); y and x multiples of 4."""
        scores: Tensor = self.up(self.scores(self.stages(image)))
        return scores


def _stages(*, pool: bool) -> list[nn.Module]:
    layers: list[nn.Module] = []
    inputs = 3
    for outputs in WIDTHS:
        if pool and layers:
            layers.append(nn.MaxPool2d(2))
        layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU()]
        layers += [nn.Conv2d(outputs, outputs, 3, padding=1), nn.ReLU()]
        inputs = outputs
    return layers


class PixelClassifier(nn.Module):
    """The class of a crop's middle pixel; ``dense=True``: of every pixel of an image at once.

    =======  ===========  ========================================
    layer     crop         dense
    =======  ===========  ========================================
    image    3 x 31 x 31  3 x H x W
    conv 5   8 x 27 x 27  8 x (H -  4) x (W -  4)
    pool 3   8 x 13 x 13  8 x (H -  6) x (W -  6)   stride 1
    conv 3  16 x 11 x 11  16 x (H - 10) x (W - 10)  dilation 2
    pool 3  16 x  5 x  5  16 x (H - 14) x (W - 14)  dilation 2, stride 1
    linear       classes  classes x (H - 30) x (W - 30)  5 x 5, dilation 4
    =======  ===========  ========================================

    Pooling with stride 2 throws every second position away.  Taking them all, and having each
    layer behind skip the ones it did not see before, gives the crop's answer at every pixel: the
    filter rarefaction of Long, Shelhamer & Darrell (CVPR 2015, section 3.2), "à trous" in
    wavelets, max-pooling fragments in Giusti et al. (ICIP 2013).

    Examples
    --------
    >>> import torch
    >>> PixelClassifier()(torch.zeros(7, 3, 31, 31)).shape
    torch.Size([7, 3, 1, 1])
    >>> PixelClassifier(dense=True)(torch.zeros(1, 3, 40, 50)).shape
    torch.Size([1, 3, 10, 20])
    """

    CROP_PX = 31

    def __init__(self, classes: int = 3, *, dense: bool = False) -> None:
        super().__init__()
        stride = 1 if dense else 2
        rarefied = (1, 2, 4) if dense else (1, 1, 1)
        self.conv1 = nn.Conv2d(3, 8, 5)
        self.pool1 = nn.MaxPool2d(3, stride)
        self.conv2 = nn.Conv2d(8, 16, 3, dilation=rarefied[1])
        self.pool2 = nn.MaxPool2d(3, stride, dilation=rarefied[1])
        self.relu = nn.ReLU()
        # The linear layer over the 16 x 5 x 5 map, as a convolution.
        self.scores = linear_as_convolution(nn.Linear(16 * 5 * 5, classes), 16, 5)
        self.scores.dilation = (rarefied[2], rarefied[2])

    def forward(self, image: Tensor) -> Tensor:
        """(b, 3, 31, 31) to (b, classes, 1, 1), or dense (b, 3, y, x) to (b, c, y - 30, x - 30)."""
        maps = self.pool1(self.relu(self.conv1(image)))
        maps = self.pool2(self.relu(self.conv2(maps)))
        scores: Tensor = self.scores(maps)
        return scores
