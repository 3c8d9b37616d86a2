"""How does U-Net join what it sees with where it is?  Skips by concatenation, convolutions valid.

Ronneberger, Fischer & Brox, "U-Net: convolutional networks for biomedical image segmentation",
MICCAI 2015.  As published no convolution pads, so the map is 184 px smaller than the image and
equals the same part of any larger image's map: the overlap-tile strategy.  ``padded=True`` is the
variant that keeps the size.

=====  ===================  ==================  ============
level   down                 up, after joining   channels
=====  ===================  ==================  ============
1       572 -> 570 -> 568    392 -> 390 -> 388     64
2       284 -> 282 -> 280    200 -> 198 -> 196    128
3       140 -> 138 -> 136    104 -> 102 -> 100    256
4        68 ->  66 ->  64     56 ->  54 ->  52    512
5        32 ->  30 ->  28                        1024
=====  ===================  ==================  ============
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

WIDTHS = (64, 128, 256, 512, 1024)


def double_convolution(inputs: int, outputs: int, padding: int = 0) -> nn.Sequential:
    """Two 3 x 3 convolutions, each with ReLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=padding),
        nn.ReLU(inplace=True),
        nn.Conv2d(outputs, outputs, 3, padding=padding),
        nn.ReLU(inplace=True),
    )


class UNet(nn.Module):
    """U-Net: (b, channels, y, x) to (b, classes, y - 184, x - 184).

    Parameters
    ----------
    channels
        1: electron micrographs.
    classes
        2: as many 1 x 1 x 64 kernels stand at the end.
    divisor
        Of the published widths.
    padded
        Pad each convolution by 1, so that the map has the image's size.

    Examples
    --------
    >>> UNet(divisor=16)(torch.zeros(1, 1, 572, 572)).shape
    torch.Size([1, 2, 388, 388])
    """

    def __init__(
        self, channels: int = 1, classes: int = 2, divisor: int = 1, *, padded: bool = False
    ) -> None:
        super().__init__()
        widths = [width // divisor for width in WIDTHS]
        pairs = list(pairwise(widths))
        self.down = nn.ModuleList(
            double_convolution(a, b, int(padded)) for a, b in [(channels, widths[0]), *pairs]
        )
        self.pool = nn.MaxPool2d(2)
        self.up = nn.ModuleList(nn.ConvTranspose2d(b, a, 2, 2) for a, b in reversed(pairs))
        self.join = nn.ModuleList(
            double_convolution(2 * a, a, int(padded)) for a, _ in reversed(pairs)
        )
        self.scores = nn.Conv2d(widths[0], classes, 1)

    def forward(self, image: Tensor) -> Tensor:
        """Scores; each level's size must be even before pooling: 572 + 16 k px, or 16 k padded."""
        skips: list[Tensor] = []
        maps = image
        for level, convolutions in enumerate(self.down):
            maps = convolutions(self.pool(maps) if level else maps)
            skips.append(maps)
        skips.pop()
        for up, join in zip(self.up, self.join, strict=True):
            maps = up(maps)
            maps = join(torch.cat((middle(skips.pop(), maps), maps), dim=1))
        scores: Tensor = self.scores(maps)
        return scores


def middle(tensor: Tensor, like: Tensor) -> Tensor:
    """The middle of ``tensor``, as large as ``like``."""
    height, width = like.shape[2:]
    top, left = (tensor.shape[2] - height) // 2, (tensor.shape[3] - width) // 2
    return tensor[:, :, top : top + height, left : left + width]
