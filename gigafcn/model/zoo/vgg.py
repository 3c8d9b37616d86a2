"""What is VGG-16, and what is it without its image size?

Simonyan & Zisserman, "Very deep convolutional networks for large-scale image recognition", ICLR
2015, configuration D: five stages of 3 x 3 convolutions, a 2 x 2 max pooling after each, three
linear layers.  The nets of FCN, DeepLab, SegNet and DeconvNet are built on these stages.

========  ================  ================  ==========================
layer      image 224         image 256         layers
========  ================  ================  ==========================
stage 1    64 x 112 x 112    64 x 128 x 128   2 convolutions, pool
stage 2   128 x  56 x  56   128 x  64 x  64   2 convolutions, pool
stage 3   256 x  28 x  28   256 x  32 x  32   3 convolutions, pool
stage 4   512 x  14 x  14   512 x  16 x  16   3 convolutions, pool
stage 5   512 x   7 x   7   512 x   8 x   8   3 convolutions, pool
fc6             4096         4096 x 2 x 2     linear over 7 x 7, or a 7 x 7 convolution
fc7             4096         4096 x 2 x 2     linear, or a 1 x 1 convolution
fc8             1000         1000 x 2 x 2     linear, or a 1 x 1 convolution
========  ================  ================  ==========================
"""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn

from gigafcn.model.zoo.classifier import Flatten, linear_as_convolution

STAGES = ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))
"""Convolutions and channels of each stage."""

HIDDEN = 4096
"""Channels of fc6 and fc7."""


def stage(
    number: int,
    inputs: int,
    *,
    divisor: int = 1,
    norm: bool = False,
    padding: int = 1,
    dilation: int = 1,
) -> nn.Sequential:
    """The convolutions of one stage, named as the papers name them, without its pooling.

    Parameters
    ----------
    number
        1 to 5.
    inputs
        Channels that come in.
    divisor
        Of the published widths.
    norm
        Batch norm after each convolution, which then has no bias.
    padding
        Of the first convolution; FCN pads the image by 100 there.
    dilation
        Of all; they keep the size.
    """
    count, width = STAGES[number - 1]
    outputs = width // divisor
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for i in range(1, count + 1):
        pad = padding if i == 1 and dilation == 1 else dilation
        layers[f"conv{number}_{i}"] = nn.Conv2d(
            inputs, outputs, 3, padding=pad, dilation=dilation, bias=not norm
        )
        if norm:
            layers[f"norm{number}_{i}"] = nn.BatchNorm2d(outputs)
        layers[f"relu{number}_{i}"] = nn.ReLU(inplace=True)
        inputs = outputs
    return nn.Sequential(layers)


def stages(divisor: int = 1) -> nn.Sequential:
    """All five stages with their poolings: (b, 3, y, x) to (b, 512, y / 32, x / 32)."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    inputs = 3
    for number, (_, width) in enumerate(STAGES, start=1):
        layers[f"stage{number}"] = stage(number, inputs, divisor=divisor)
        layers[f"pool{number}"] = nn.MaxPool2d(2)
        inputs = width // divisor
    return nn.Sequential(layers)


class VGG16(nn.Module):
    """The classifier as published: 224 x 224 px and nothing else.

    Parameters
    ----------
    classes
        1000 for ImageNet.
    divisor
        Of the published widths.

    Examples
    --------
    >>> import torch
    >>> VGG16(divisor=16)(torch.zeros(1, 3, 224, 224)).shape
    torch.Size([1, 1000])
    """

    def __init__(self, classes: int = 1000, divisor: int = 1) -> None:
        super().__init__()
        channels, hidden = STAGES[-1][1] // divisor, HIDDEN // divisor
        self.features = stages(divisor)
        self.flatten = Flatten((channels, 7, 7))
        self.fc6 = nn.Linear(self.flatten.features, hidden)
        self.fc7 = nn.Linear(hidden, hidden)
        self.fc8 = nn.Linear(hidden, classes)
        self.relu, self.dropout = nn.ReLU(), nn.Dropout()

    def forward(self, image: Tensor) -> Tensor:
        """(b, 3, 224, 224) to (b, classes)."""
        numbers = self.flatten(self.features(image))
        numbers = self.dropout(self.relu(self.fc6(numbers)))
        numbers = self.dropout(self.relu(self.fc7(numbers)))
        scores: Tensor = self.fc8(numbers)
        return scores


class DenseVGG16(nn.Module):
    """The same net with its linear layers written as convolutions: one answer per 32 px.

    Its convolutions pad, so at 224 px it is the classifier, and on a larger image each answer is
    that of a crop whose border shows what lies around it instead of zeros.

    Examples
    --------
    >>> import torch
    >>> DenseVGG16(divisor=16)(torch.zeros(1, 3, 256, 256)).shape
    torch.Size([1, 1000, 2, 2])
    """

    def __init__(self, classes: int = 1000, divisor: int = 1) -> None:
        super().__init__()
        channels, hidden = STAGES[-1][1] // divisor, HIDDEN // divisor
        self.features = stages(divisor)
        self.fc6 = nn.Conv2d(channels, hidden, 7)
        self.fc7 = nn.Conv2d(hidden, hidden, 1)
        self.fc8 = nn.Conv2d(hidden, classes, 1)
        self.relu, self.dropout = nn.ReLU(), nn.Dropout2d()

    @classmethod
    def of(cls, classifier: VGG16, divisor: int = 1) -> DenseVGG16:
        """The dense form of a classifier, with its weights."""
        net = cls(classifier.fc8.out_features, divisor)
        net.features = classifier.features
        net.fc6 = linear_as_convolution(classifier.fc6, net.fc6.in_channels, 7)
        net.fc7 = linear_as_convolution(classifier.fc7, net.fc7.in_channels)
        net.fc8 = linear_as_convolution(classifier.fc8, net.fc8.in_channels)
        return net.train(classifier.training)

    def forward(self, image: Tensor) -> Tensor:
        """(b, 3, y, x) to (b, classes, y / 32 - 6, x / 32 - 6)."""
        maps = self.features(image)
        maps = self.dropout(self.relu(self.fc6(maps)))
        maps = self.dropout(self.relu(self.fc7(maps)))
        scores: Tensor = self.fc8(maps)
        return scores
