"""What undoes a pooling?  Nothing does; four layers make a map larger again.

========================  ====================================================
nearest                   each value fills its block
bed of nails              each value stands in its block's corner, zeros around
max-unpooling             each value stands where its maximum was found
transposed convolution    each value spreads a learnt kernel; overlaps add up
========================  ====================================================

Zeiler & Fergus, "Visualizing and understanding convolutional networks", ECCV 2014, for the
switches of max-unpooling; Dumoulin & Visin, "A guide to convolution arithmetic for deep learning",
2016, for transposed convolution, which is the gradient of a convolution and not its inverse.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import max_pool2d, max_unpool2d


class Nearest(nn.Upsample):
    """Each value fills its block of ``factor`` x ``factor``.

    Examples
    --------
    >>> Nearest(2)(torch.tensor([[[[1.0, 2.0]]]]))[0, 0]
    tensor([[1., 1., 2., 2.],
            [1., 1., 2., 2.]])
    """

    def __init__(self, factor: int = 2) -> None:
        super().__init__(scale_factor=factor, mode="nearest")


class BedOfNails(nn.ConvTranspose2d):
    """Each value stands in the first corner of its block, zeros elsewhere.

    A transposed convolution per channel whose kernel is one nail.

    Examples
    --------
    >>> BedOfNails(1)(torch.tensor([[[[1.0, 2.0]]]]))[0, 0].detach()
    tensor([[1., 0., 2., 0.],
            [0., 0., 0., 0.]])
    """

    def __init__(self, channels: int, factor: int = 2) -> None:
        super().__init__(channels, channels, factor, factor, groups=channels, bias=False)
        self.weight.requires_grad_(False)

    def reset_parameters(self) -> None:
        """Set the nails; they are never learnt."""
        with torch.no_grad():
            self.weight.zero_()
            self.weight[:, :, 0, 0] = 1


class PoolAndUnpool(nn.Module):
    """Max pooling, something in between, and unpooling to where the maxima stood.

    Examples
    --------
    >>> image = torch.tensor([[[[1.0, 2.0, 6.0, 3.0], [3.0, 5.0, 2.0, 1.0]]]])
    >>> PoolAndUnpool()(image)[0, 0]
    tensor([[0., 0., 6., 0.],
            [0., 5., 0., 0.]])
    """

    def __init__(self, between: nn.Module | None = None, factor: int = 2) -> None:
        super().__init__()
        self.between = between or nn.Identity()
        self.factor = factor

    def forward(self, image: Tensor) -> Tensor:
        """(b, c, y, x) to (b, c, y, x); ``between`` keeps channels and size."""
        pooled, indices = max_pool2d(image, self.factor, return_indices=True)
        size = image.shape[2:]
        return max_unpool2d(
            self.between(pooled), indices, (self.factor, self.factor), output_size=size
        )
