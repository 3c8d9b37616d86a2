"""How does SegNet find its way back to the pixels?  It remembers where each maximum stood.

Badrinarayanan, Kendall & Cipolla, "SegNet: a deep convolutional encoder-decoder architecture for
image segmentation", PAMI 2017.  The encoder is the 13 convolutions of VGG-16 with batch norm; the
decoder mirrors it, and each of its stages begins by putting every value where the pooling on the
other side took it from.  No features cross over, only indices.

=======  =============================  ==========================================
stage     encoder                        decoder
=======  =============================  ==========================================
1         64,  64 channels, pool         unpool, 64, classes
2        128, 128, pool                  unpool, 128, 64
3        256, 256, 256, pool             unpool, 256, 256, 128
4        512, 512, 512, pool             unpool, 512, 512, 256
5        512, 512, 512, pool             unpool, 512, 512, 512
=======  =============================  ==========================================
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import max_pool2d, max_unpool2d

from gigafcn.model.zoo.vgg import STAGES, stage


class SegNet(nn.Module):
    """SegNet: (b, 3, y, x) to (b, classes, y, x).

    Parameters
    ----------
    classes
        11 for CamVid.
    divisor
        Of the published widths.

    Examples
    --------
    >>> import torch
    >>> SegNet(divisor=16)(torch.zeros(1, 3, 96, 64)).shape
    torch.Size([1, 11, 96, 64])
    """

    def __init__(self, classes: int = 11, divisor: int = 1) -> None:
        super().__init__()
        widths = [3, *(width // divisor for _, width in STAGES)]
        self.encoder = nn.ModuleList(
            stage(number, widths[number - 1], divisor=divisor, norm=True) for number in range(1, 6)
        )
        self.decoder = nn.ModuleList(
            _decoding(STAGES[number - 1][0], widths[number], widths[number - 1])
            for number in range(5, 1, -1)
        )
        self.decoder.append(_decoding(1, widths[1], widths[1]))
        self.scores = nn.Conv2d(widths[1], classes, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        """Scores of the image's size, odd sizes included."""
        maps, places = image, []
        for convolutions in self.encoder:
            fine = convolutions(maps)
            maps, indices = max_pool2d(fine, 2, return_indices=True)
            places.append((indices, fine.shape[2:]))
        for convolutions in self.decoder:
            indices, size = places.pop()
            maps = convolutions(max_unpool2d(maps, indices, (2, 2), output_size=size))
        scores: Tensor = self.scores(maps)
        return scores


def _decoding(count: int, inputs: int, outputs: int) -> nn.Sequential:
    """A decoder stage; its last convolution changes the channels."""
    layers: list[nn.Module] = []
    for i in range(count):
        width = outputs if i == count - 1 else inputs
        layers += [
            nn.Conv2d(inputs, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
        ]
    return nn.Sequential(*layers)
