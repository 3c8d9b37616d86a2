"""What does the bundled demonstration model compute?  A small U-Net of local operations only.

Three levels (1, 1/2 and 1/4 of the resolution) of 3 x 3 convolutions with batch norm and ReLU, max
pooling on the way down, nearest upsampling and skip connections on the way up, and a 1 x 1 head.
Every operation is local, so the net can be tiled exactly; sizes must be multiples of 4.  Its
weights, and what they were trained on, are in ``weights/``; loading them is done elsewhere.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

CLASSES = ("background", "tissue", "nuclei")
"""Meaning of the output channels, in order."""

COLOURS = ("FFFFFF", "E58AB4", "3B2A8C")
"""One colour (hex RRGGBB) per class, for pictures and viewers."""

PERIOD_PX = 4
"""Image sizes must be multiples of this."""


def _convolution(inputs: int, outputs: int) -> nn.Sequential:
    """3 x 3 convolution, batch norm, ReLU; keeps the size."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )


class DemonstrationNet(nn.Module):
    """Segmentation net: normalised RGB (b, 3, y, x) to logits (b, classes, y, x).

    The input is RGB in 0..1, less the mean and divided by the standard deviation of the model card.

    Parameters
    ----------
    classes
        Number of output channels.
    widths
        Channels at full, half and quarter resolution.

    Examples
    --------
    >>> net = DemonstrationNet().eval()
    >>> net(torch.zeros(1, 3, 64, 48)).shape
    torch.Size([1, 3, 64, 48])
    """

    def __init__(
        self, classes: int = len(CLASSES), widths: tuple[int, int, int] = (12, 24, 48)
    ) -> None:
        super().__init__()
        fine, middle, coarse = widths
        self.down = nn.MaxPool2d(2)
        self.up = nn.Upsample(scale_factor=2, mode="nearest")
        self.encode_fine = _convolution(3, fine)
        self.encode_middle = nn.Sequential(_convolution(fine, middle), _convolution(middle, middle))
        self.encode_coarse = nn.Sequential(
            _convolution(middle, coarse), _convolution(coarse, coarse), _convolution(coarse, middle)
        )
        self.decode_middle = nn.Sequential(
            _convolution(2 * middle, middle), _convolution(middle, fine)
        )
        self.decode_fine = _convolution(2 * fine, fine)
        self.head = nn.Conv2d(fine, classes, 1)

    def forward(self, image: Tensor) -> Tensor:
        """Compute the class logits of ``image``."""
        fine = self.encode_fine(image)
        middle = self.encode_middle(self.down(fine))
        coarse = self.encode_coarse(self.down(middle))
        middle = self.decode_middle(torch.cat((middle, self.up(coarse)), dim=1))
        logits: Tensor = self.head(self.decode_fine(torch.cat((fine, self.up(middle)), dim=1)))
        return logits
