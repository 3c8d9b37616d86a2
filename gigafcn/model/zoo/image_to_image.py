"""How does a net give an image back?  Down by pooling or strides, up again, no linear layer.

Two small nets of one shape table; neither knows the image's size, so 64 px and 128 000 px are one
net.

========  =============  =============
image      3 x  64 x  64
half       8 x  32 x  32  pooled, or convolved with stride 2
quarter   16 x  16 x  16  the same again
half       8 x  32 x  32  nearest neighbour and convolution, or transposed convolution
image      3 x  64 x  64  the same again
========  =============  =============
"""

from __future__ import annotations

from torch import Tensor, nn


class PooledImageToImage(nn.Module):
    """Convolution and pooling down, nearest upsampling and convolution up.

    Odena, Dumoulin & Olah, "Deconvolution and checkerboard artifacts", Distill 2016, is why one
    resizes first and convolves then.

    Examples
    --------
    >>> import torch
    >>> PooledImageToImage()(torch.zeros(1, 3, 64, 64)).shape
    torch.Size([1, 3, 64, 64])
    """

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        )  # fmt: skip
        self.up = nn.Sequential(
            nn.Upsample(scale_factor=2), nn.Conv2d(16, 8, 3, padding=1), nn.ReLU(),
            nn.Upsample(scale_factor=2), nn.Conv2d(8, 3, 3, padding=1),
        )  # fmt: skip

    def forward(self, image: Tensor) -> Tensor:
        """(b, 3, y, x) to (b, 3, y, x); y and x multiples of 4."""
        result: Tensor = self.up(self.down(image))
        return result


class StridedImageToImage(nn.Module):
    """Strides instead of pooling, transposed convolutions instead of upsampling.

    Springenberg et al., "Striving for simplicity: the all convolutional net", ICLR workshop 2015;
    Radford, Metz & Chintala (DCGAN), ICLR 2016.  Kernel 4 is a multiple of the stride, so every
    output px is reached by equally many inputs.

    Examples
    --------
    >>> import torch
    >>> StridedImageToImage().down(torch.zeros(1, 3, 64, 64)).shape
    torch.Size([1, 16, 16, 16])
    """

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 16, 3, 2, 1), nn.ReLU()
        )
        self.up = nn.Sequential(
            nn.ConvTranspose2d(16, 8, 4, 2, 1), nn.ReLU(), nn.ConvTranspose2d(8, 3, 4, 2, 1)
        )

    def forward(self, image: Tensor) -> Tensor:
        """(b, 3, y, x) to (b, 3, y, x); y and x multiples of 4."""
        result: Tensor = self.up(self.down(image))
        return result
