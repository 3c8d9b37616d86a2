"""How does DeepLab see far without becoming coarse?  By dilation ("atrous" convolution).

Chen, Papandreou, Kokkinos, Murphy & Yuille, "Semantic image segmentation with deep convolutional
nets and fully connected CRFs", ICLR 2015, the variant LargeFOV.  The last two poolings of VGG-16
keep stride 1; the convolutions behind them are dilated by 2, and fc6 is 3 x 3 dilated by 12, so the
filters see as far as before and the scores stay at stride 8.  The paper's dense CRF, which follows,
joins every pixel with every other; it is not local and not part of this net.

==========  =====  ===========  =============================
layer         px     channels    (image 321 px)
==========  =====  ===========  =============================
pool1        161        64       3 x 3, stride 2
pool2         81       128       3 x 3, stride 2
pool3         41       256       3 x 3, stride 2
pool4         41       512       3 x 3, stride 1
conv5         41       512       dilation 2
pool5         41       512       3 x 3, stride 1
fc6           41      1024       3 x 3, dilation 12
fc7           41      1024       1 x 1
scores        41        21       1 x 1
map          321        21       bilinear
==========  =====  ===========  =============================
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import interpolate

from gigafcn.model.zoo.vgg import STAGES, stage

HIDDEN = 1024


class DeepLabLargeFOV(nn.Module):
    """DeepLab-LargeFOV: (b, 3, y, x) to (b, classes, y, x).

    Parameters
    ----------
    classes
        21 for PASCAL VOC.
    divisor
        Of the published widths.
    upsample
        False leaves the scores at stride 8.

    Examples
    --------
    >>> import torch
    >>> DeepLabLargeFOV(divisor=16, upsample=False)(torch.zeros(1, 3, 321, 321)).shape
    torch.Size([1, 21, 41, 41])
    """

    def __init__(self, classes: int = 21, divisor: int = 1, *, upsample: bool = True) -> None:
        super().__init__()
        self.upsample = upsample
        widths = [3, *(width // divisor for _, width in STAGES)]
        layers: list[nn.Module] = []
        for number in range(1, 6):
            dilation = 2 if number == 5 else 1
            layers.append(stage(number, widths[number - 1], divisor=divisor, dilation=dilation))
            layers.append(nn.MaxPool2d(3, 2 if number < 4 else 1, 1))
        self.features = nn.Sequential(*layers)
        hidden = HIDDEN // divisor
        self.fc6 = nn.Sequential(
            nn.Conv2d(widths[5], hidden, 3, padding=12, dilation=12), nn.ReLU(), nn.Dropout2d()
        )
        self.fc7 = nn.Sequential(nn.Conv2d(hidden, hidden, 1), nn.ReLU(), nn.Dropout2d())
        self.scores = nn.Conv2d(hidden, classes, 1)

    def forward(self, image: Tensor) -> Tensor:
        """Scores of the image's size, or at stride 8."""
        scores: Tensor = self.scores(self.fc7(self.fc6(self.features(image))))
        if not self.upsample:
            return scores
        return interpolate(scores, size=image.shape[2:], mode="bilinear", align_corners=False)
