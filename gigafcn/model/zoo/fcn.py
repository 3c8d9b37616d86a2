"""How did segmentation become fully convolutional?  FCN-32s, FCN-16s and FCN-8s.

Long, Shelhamer & Darrell, "Fully convolutional networks for semantic segmentation", CVPR 2015;
Shelhamer, Long & Darrell, PAMI 2017.  VGG-16 as convolutions gives scores at stride 32; finer
scores of pool4 (stride 16) and pool3 (stride 8), each by a 1 x 1 convolution, are added to the
coarser ones doubled; the sum is upsampled to the image.  Upsampling is transposed convolution that
starts as bilinear interpolation.

As published the image is padded by 100 px and what comes out is cropped (sizes for 500 px):

==============  ======  =====================================================
layer             px    how
==============  ======  =====================================================
conv1_1           698   3 x 3, padding 100
pool1 ... pool5   349, 175, 88, 44, 22   2 x 2, stride 2, sizes rounded up
fc6, fc7, score    16   7 x 7 without padding, then 1 x 1
FCN-32s           544   transposed 64, stride 32; cropped by 19
FCN-16s            34   score doubled; pool4's cropped by 5 and added
                  560   transposed 32, stride 16; cropped by 27
FCN-8s             70   sum doubled; pool3's cropped by 9 and added
                  568   transposed 16, stride 8; cropped by 31
==============  ======  =====================================================

``same=True`` pads each layer just so much that it keeps its size: n, n/2 ... n/32, fc6 with
padding 3, doubling to exactly twice, no crops.  Small images waste nothing then.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gigafcn.errors import UsageError
from gigafcn.model.zoo.vgg import HIDDEN, STAGES, stage

STRIDES = (32, 16, 8)

FINAL_CROP = {32: 19, 16: 27, 8: 31}
"""Px cut off before the image, by stride; from the published nets."""

POOL4_CROP, POOL3_CROP = 5, 9
"""Px cut off the skips' scores in the published nets."""


def bilinear_kernel(factor: int) -> Tensor:
    """Weights (k, k) that upsample by ``factor`` bilinearly when transposed; k = 2 * factor.

    Examples
    --------
    >>> bilinear_kernel(2)[0] * 16
    tensor([1., 3., 3., 1.])
    """
    position = torch.arange(2 * factor, dtype=torch.float64)
    line = 1 - (position + 0.5 - factor).abs() / factor
    return torch.outer(line, line).float()


class Upsampling(nn.ConvTranspose2d):
    """Transposed convolution by ``factor`` that starts as bilinear interpolation.

    Parameters
    ----------
    classes
        Channels; at the start none reads another.
    factor
        Even; kernel 2 * factor.
    padding
        factor // 2 makes the result exactly ``factor`` times as large; 0 is as published.
    learnt
        Whether training may change it.
    """

    def __init__(self, classes: int, factor: int, *, padding: int = 0, learnt: bool = True) -> None:
        super().__init__(classes, classes, 2 * factor, factor, padding, bias=False)
        self.weight.requires_grad_(learnt)

    def reset_parameters(self) -> None:
        """Set bilinear weights; called by the constructor and by whoever draws weights anew."""
        with torch.no_grad():
            self.weight.zero_()
            kernel = bilinear_kernel(self.stride[0]).to(self.weight)
            for channel in range(self.in_channels):
                self.weight[channel, channel] = kernel


class FCN(nn.Module):
    """FCN-32s, FCN-16s or FCN-8s on VGG-16.

    Parameters
    ----------
    stride
        Px per score before the last upsampling: 32, 16 or 8.
    classes
        21 for PASCAL VOC.
    divisor
        Of VGG's widths.
    same
        Pad every layer to keep its size, instead of 100 px once and crops.
    norm
        Batch norm after VGG's convolutions and fc6, fc7 (not published; for training from
        nothing).
    learnt
        Whether upsampling is learnt or stays bilinear.

    Examples
    --------
    >>> FCN(8, divisor=16)(torch.zeros(1, 3, 96, 64)).shape
    torch.Size([1, 21, 96, 64])
    """

    def __init__(
        self,
        stride: int = 8,
        classes: int = 21,
        divisor: int = 1,
        *,
        same: bool = False,
        norm: bool = False,
        learnt: bool = True,
    ) -> None:
        super().__init__()
        if stride not in STRIDES:
            raise UsageError(f"an FCN has stride 32, 16 or 8, not {stride}")
        self.stride, self.same = stride, same
        widths = [3, *(width // divisor for _, width in STAGES)]
        self.stage1, self.stage2, self.stage3, self.stage4, self.stage5 = (
            stage(n, inputs, divisor=divisor, norm=norm, padding=100 if n == 1 and not same else 1)
            for n, inputs in enumerate(widths[:5], start=1)
        )
        self.pool = nn.MaxPool2d(2, ceil_mode=not same)
        self.fc6 = _hidden(widths[5], HIDDEN // divisor, 7, 3 if same else 0, norm=norm)
        self.fc7 = _hidden(HIDDEN // divisor, HIDDEN // divisor, 1, 0, norm=norm)
        self.score = nn.Conv2d(HIDDEN // divisor, classes, 1)
        if stride < 32:
            self.score_pool4 = nn.Conv2d(widths[4], classes, 1)
            self.double_score = self._upsampling(classes, 2, learnt)
        if stride < 16:
            self.score_pool3 = nn.Conv2d(widths[3], classes, 1)
            self.double_pool4 = self._upsampling(classes, 2, learnt)
        self.upsampling = self._upsampling(classes, stride, learnt)

    def _upsampling(self, classes: int, factor: int, learnt: bool) -> Upsampling:
        return Upsampling(classes, factor, padding=factor // 2 if self.same else 0, learnt=learnt)

    def scores(self, image: Tensor) -> Tensor:
        """Scores at the net's stride, before the last upsampling."""
        maps = self.pool(self.stage2(self.pool(self.stage1(image))))
        pool3 = self.pool(self.stage3(maps))
        pool4 = self.pool(self.stage4(pool3))
        pool5 = self.pool(self.stage5(pool4))
        scores: Tensor = self.score(self.fc7(self.fc6(pool5)))
        if self.stride < 32:
            scores = self._fused(self.double_score(scores), self.score_pool4(pool4), POOL4_CROP)
        if self.stride < 16:
            scores = self._fused(self.double_pool4(scores), self.score_pool3(pool3), POOL3_CROP)
        return scores

    def _fused(self, coarse: Tensor, fine: Tensor, offset: int) -> Tensor:
        return coarse + cropped(fine, coarse, 0 if self.same else offset)

    def forward(self, image: Tensor) -> Tensor:
        """(b, 3, y, x) to (b, classes, y, x); y and x multiples of 32 with ``same``."""
        offset = 0 if self.same else FINAL_CROP[self.stride]
        return cropped(self.upsampling(self.scores(image)), image, offset)

    def start_from(self, coarser: FCN) -> None:
        """Take over a coarser net's weights; the new skip's scores start at zero.

        The net then starts where the coarser one stopped, as in the paper: adding a skip changes
        nothing until it is learnt.  The last upsampling is bilinear again.
        """
        own = self.state_dict()
        taken = {
            name: value
            for name, value in coarser.state_dict().items()
            if name in own and own[name].shape == value.shape
        }
        self.load_state_dict(taken, strict=False)
        for name in ("score_pool4", "score_pool3"):
            if hasattr(self, name) and not hasattr(coarser, name):
                layer = getattr(self, name)
                nn.init.zeros_(layer.weight)
                nn.init.zeros_(layer.bias)


def cropped(tensor: Tensor, like: Tensor, offset: int) -> Tensor:
    """The part of ``tensor`` that begins at ``offset`` and is as large as ``like``."""
    height, width = like.shape[2:]
    return tensor[:, :, offset : offset + height, offset : offset + width]


def _hidden(inputs: int, outputs: int, kernel: int, padding: int, *, norm: bool) -> nn.Sequential:
    """A linear layer of VGG as a convolution, with what follows it."""
    layers: list[nn.Module] = [nn.Conv2d(inputs, outputs, kernel, padding=padding, bias=not norm)]
    if norm:
        layers.append(nn.BatchNorm2d(outputs))
    return nn.Sequential(*layers, nn.ReLU(inplace=True), nn.Dropout2d())
