"""How far can a decoder go?  DeconvNet: VGG-16 whole, and its mirror image of unpooling.

Noh, Hong & Han, "Learning deconvolution network for semantic segmentation", ICCV 2015.  VGG-16
with batch norm down to one vector per 224 px; a 7 x 7 transposed convolution opens it again;
unpooling with remembered places alternates with 3 x 3 transposed convolutions.  All of it is
convolutional, so larger images give larger maps (the paper pastes object proposals instead).

==============  ================  ==========================
layer            image 224         layers
==============  ================  ==========================
pool5            512 x   7 x   7   VGG-16
fc6, fc7        4096 x   1 x   1   7 x 7, 1 x 1
deconv-fc6       512 x   7 x   7   7 x 7 transposed
unpool5          512 x  14 x  14   deconv5: 512, 512, 512
unpool4          512 x  28 x  28   deconv4: 512, 512, 256
unpool3          256 x  56 x  56   deconv3: 256, 256, 128
unpool2          128 x 112 x 112   deconv2: 128, 64
unpool1           64 x 224 x 224   deconv1: 64, 64
scores            21 x 224 x 224   1 x 1
==============  ================  ==========================
"""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn
from torch.nn.functional import max_pool2d, max_unpool2d

from gigafcn.model.zoo.vgg import HIDDEN, STAGES, stage


class DeconvNet(nn.Module):
    """DeconvNet: (b, 3, y, x) to (b, classes, y, x); y and x multiples of 32, at least 224.

    Parameters
    ----------
    classes
        21 for PASCAL VOC.
    divisor
        Of the published widths.

    Examples
    --------
    >>> import torch
    >>> DeconvNet(divisor=16).eval()(torch.zeros(1, 3, 224, 224)).shape
    torch.Size([1, 21, 224, 224])
    """

    def __init__(self, classes: int = 21, divisor: int = 1) -> None:
        super().__init__()
        widths = [3, *(width // divisor for _, width in STAGES)]
        hidden = HIDDEN // divisor
        self.encoder = nn.ModuleList(
            stage(number, widths[number - 1], divisor=divisor, norm=True) for number in range(1, 6)
        )
        self.fc6 = _normed(nn.Conv2d(widths[5], hidden, 7))
        self.fc7 = _normed(nn.Conv2d(hidden, hidden, 1))
        self.deconv_fc6 = _normed(nn.ConvTranspose2d(hidden, widths[5], 7))
        self.decoder = nn.ModuleList(
            _deconvolutions(STAGES[number - 1][0], widths[number], widths[max(number - 1, 1)])
            for number in range(5, 0, -1)
        )
        self.scores = nn.Conv2d(widths[1], classes, 1)

    def forward(self, image: Tensor) -> Tensor:
        """Scores of the image's size."""
        maps, places = image, []
        for convolutions in self.encoder:
            maps, indices = max_pool2d(convolutions(maps), 2, return_indices=True)
            places.append(indices)
        maps = self.deconv_fc6(self.fc7(self.fc6(maps)))
        for deconvolutions in self.decoder:
            maps = deconvolutions(max_unpool2d(maps, places.pop(), (2, 2)))
        scores: Tensor = self.scores(maps)
        return scores


def _normed(layer: nn.Conv2d | nn.ConvTranspose2d) -> nn.Sequential:
    return nn.Sequential(layer, nn.BatchNorm2d(layer.out_channels), nn.ReLU(inplace=True))


def _deconvolutions(count: int, inputs: int, outputs: int) -> nn.Sequential:
    """3 x 3 transposed convolutions of stride 1; the last one changes the channels."""
    widths = [inputs] * count + [outputs]
    return nn.Sequential(
        *(_normed(nn.ConvTranspose2d(a, b, 3, padding=1)) for a, b in pairwise(widths))
    )
