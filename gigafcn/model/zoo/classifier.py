"""How does a classifier of patches look, and what keeps it from taking larger images?

Convolutions do not care how large the image is; flatten + linear does, because a linear layer has
one weight per input number.  Here: the "standard" classifier that has such a head, the same one
with a head of 1 x 1 convolutions that has none, and the identity behind all conversions: a linear
layer over an n x n map *is* a convolution with an n x n kernel.  Converting whole nets is the
work of :mod:`gigafcn.convert`.
"""

from __future__ import annotations

from torch import Tensor, nn

from gigafcn.errors import ModelError


class Flatten(nn.Module):
    """(b, c, y, x) to (b, c * y * x), refusing maps that the linear layer behind cannot take.

    Parameters
    ----------
    shape
        (c, y, x) that the linear layer was made for.
    """

    def __init__(self, shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.shape = shape

    @property
    def features(self) -> int:
        """Numbers that the linear layer takes."""
        return self.shape[0] * self.shape[1] * self.shape[2]

    def forward(self, maps: Tensor) -> Tensor:
        """Flatten; raises :class:`ModelError` naming both numbers if the size is another."""
        if tuple(maps.shape[1:]) != self.shape:
            expected = " x ".join(map(str, self.shape))
            found = " x ".join(map(str, maps.shape[1:]))
            raise ModelError(
                f"the linear layer takes {self.features} numbers ({expected}) but this image "
                f"gives {maps[0].numel()} ({found}): flatten + linear fixes the image size; "
                f"convert the net with gigafcn.convert.to_fully_convolutional"
            )
        return maps.flatten(1)


def linear_as_convolution(linear: nn.Linear, channels: int, side: int = 1) -> nn.Conv2d:
    """The convolution with a ``side`` x ``side`` kernel that equals a linear layer.

    The same numbers in another shape: weight (out, channels * side * side) becomes
    (out, channels, side, side), because flatten counts channels first, then rows, then columns.

    Parameters
    ----------
    linear
        Reads a flattened map (channels, side, side).
    channels
        Of that map.
    side
        Height and width of that map, in its own px.

    Examples
    --------
    >>> import torch
    >>> linear, maps = nn.Linear(2 * 3 * 3, 5), torch.rand(1, 2, 3, 3)
    >>> convolution = linear_as_convolution(linear, channels=2, side=3)
    >>> torch.allclose(convolution(maps).flatten(1), linear(maps.flatten(1)), atol=1e-6)
    True
    """
    weight = linear.weight.detach().clone()
    convolution = nn.Conv2d(
        channels,
        linear.out_features,
        side,
        bias=linear.bias is not None,
        device=weight.device,
        dtype=weight.dtype,
    )
    convolution.weight.data = weight.reshape(convolution.weight.shape)
    if convolution.bias is not None:
        convolution.bias.data = linear.bias.detach().clone()
    return convolution


def strided_body(kernel: int = 3) -> nn.Sequential:
    """Three convolutions of stride 2: 64 x 64 x 3 -> 32 x 32 x 8 -> 16 x 16 x 16 -> 8 x 8 x 32.

    Kernel 3 pads by 1; kernel 2 reaches the same sizes without padding.
    """
    layers: list[nn.Module] = []
    for inputs, outputs in ((3, 8), (8, 16), (16, 32)):
        layers += [nn.Conv2d(inputs, outputs, kernel, 2, (kernel - 1) // 2), nn.ReLU()]
    return nn.Sequential(*layers)


class StandardClassifier(nn.Module):
    """The "standard" classifier: strided convolutions, flatten, two linear layers.

    ========  ============
    image      3 x 64 x 64
    body      32 x  8 x  8
    flatten           2048
    hidden             128
    scores              10
    ========  ============

    Parameters
    ----------
    classes
        Number of scores.
    kernel
        3 pads, as is usual; 2 does not, so that the converted net on a large image equals the
        classifier on every crop.

    Examples
    --------
    >>> import torch
    >>> StandardClassifier()(torch.zeros(1, 3, 64, 64)).shape
    torch.Size([1, 10])
    """

    def __init__(self, classes: int = 10, kernel: int = 3) -> None:
        super().__init__()
        self.body = strided_body(kernel)
        self.flatten = Flatten((32, 8, 8))
        self.hidden = nn.Linear(self.flatten.features, 128)
        self.relu = nn.ReLU()
        self.scores = nn.Linear(128, classes)

    def forward(self, image: Tensor) -> Tensor:
        """(b, 3, 64, 64) to (b, classes)."""
        scores: Tensor = self.scores(self.relu(self.hidden(self.flatten(self.body(image)))))
        return scores


class PointwiseClassifier(nn.Module):
    """A classifier whose head is 1 x 1 convolutions: any size goes in, a heat map comes out.

    ========  ============  ============
    image      3 x 64 x 64   3 x 640 x 320
    body      32 x  8 x  8  32 x  80 x  40
    hidden    10 x  8 x  8  10 x  80 x  40
    score      1 x  8 x  8   1 x  80 x  40
    ========  ============  ============

    Lin, Chen & Yan, "Network in network", ICLR 2014, brought 1 x 1 convolutions in.

    Examples
    --------
    >>> import torch
    >>> PointwiseClassifier()(torch.zeros(1, 3, 640, 320)).shape
    torch.Size([1, 1, 80, 40])
    """

    def __init__(self) -> None:
        super().__init__()
        self.body = strided_body()
        self.hidden = nn.Sequential(nn.Conv2d(32, 10, 1), nn.ReLU())
        self.score = nn.Sequential(nn.Conv2d(10, 1, 1), nn.Sigmoid())

    def forward(self, image: Tensor) -> Tensor:
        """(b, 3, y, x) to probabilities (b, 1, y / 8, x / 8)."""
        heat: Tensor = self.score(self.hidden(self.body(image)))
        return heat
