"""Which fully convolutional systems of the literature are built in, and what is known of each?

``zoo:fcn8s`` names one wherever a model is asked for; ``zoo:fcn8s/8`` is the same with the
published widths divided by 8.  They are shapes to learn from and to test with: their weights are
drawn at random from a seed, so what they say of an image means nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn

from gigafcn.errors import ModelError
from gigafcn.model.zoo.classifier import PointwiseClassifier, StandardClassifier
from gigafcn.model.zoo.deconvnet import DeconvNet
from gigafcn.model.zoo.deeplab import DeepLabLargeFOV
from gigafcn.model.zoo.fcn import FCN, Upsampling
from gigafcn.model.zoo.image_to_image import PooledImageToImage, StridedImageToImage
from gigafcn.model.zoo.plain import FullResolutionNet, PixelClassifier, PooledNet, ValidNet
from gigafcn.model.zoo.segnet import SegNet
from gigafcn.model.zoo.unet import UNet
from gigafcn.model.zoo.unpooling import BedOfNails
from gigafcn.model.zoo.vgg import VGG16, DenseVGG16

if TYPE_CHECKING:
    from collections.abc import Callable

PREFIX = "zoo:"


@dataclass(frozen=True, slots=True)
class System:
    """A net of the zoo."""

    make: Callable[[int], nn.Module]
    """Makes it, given what to divide the published widths by (nets of few channels ignore it)."""

    what: str
    """What it is, in a few words."""

    paper: str
    """Authors, venue, year; empty for the textbook nets."""

    size: tuple[int, int]
    """Image (y, x) px that it was published with, or is shown with."""

    output: tuple[int, ...]
    """(channels, y, x) that an image of that size gives; (classes,) for a classifier of patches."""

    period: int
    """Px to whose multiples images are padded."""

    channels: int = 3
    activation: str | None = None
    """What makes scores of its output, where it is neither sigmoid nor softmax."""

    @property
    def dense(self) -> bool:
        """Whether it takes any size and gives a map."""
        return len(self.output) == 3

    @property
    def classes(self) -> int:
        """Channels that come out."""
        return self.output[0]


LONG = "Long, Shelhamer & Darrell, CVPR 2015"
SIMONYAN = "Simonyan & Zisserman, ICLR 2015"
RONNEBERGER = "Ronneberger, Fischer & Brox, MICCAI 2015"

ZOO: dict[str, System] = {
    "classifier": System(
        lambda _: StandardClassifier(),
        "strided convolutions, flatten, two linear layers", "", (64, 64), (10,), 1,
    ),
    "pointwise_classifier": System(
        lambda _: PointwiseClassifier(),
        "strided convolutions, head of 1 x 1 convolutions",
        "Lin, Chen & Yan, ICLR 2014", (64, 64), (1, 8, 8), 8,
    ),
    "image_to_image": System(
        lambda _: PooledImageToImage(),
        "pooling down, nearest upsampling up", "Odena, Dumoulin & Olah, Distill 2016",
        (64, 64), (3, 64, 64), 4, activation="none",
    ),
    "image_to_image_strided": System(
        lambda _: StridedImageToImage(),
        "strides down, transposed convolutions up", "Springenberg et al., ICLR workshop 2015",
        (64, 64), (3, 64, 64), 4, activation="none",
    ),
    "valid": System(
        ValidNet, "5 x 5 and 3 x 3 convolutions without padding", "",
        (64, 64), (128, 58, 58), 1,
    ),
    "full_resolution": System(
        lambda _: FullResolutionNet(), "six convolutions, no pooling", "",
        (64, 64), (3, 64, 64), 1,
    ),
    "pooled": System(
        lambda _: PooledNet(), "the same convolutions, two poolings, bilinear upsampling", "",
        (64, 64), (3, 64, 64), 4,
    ),
    "pixel_classifier": System(
        lambda _: PixelClassifier(dense=True), "the class of every pixel by the crop around it",
        "Ciresan et al., NIPS 2012; Giusti et al., ICIP 2013", (64, 64), (3, 34, 34), 1,
    ),
    "vgg16": System(
        lambda divisor: VGG16(divisor=divisor),
        "VGG-16, configuration D", SIMONYAN, (224, 224), (1000,), 1,
    ),
    "vgg16_dense": System(
        lambda divisor: DenseVGG16(divisor=divisor),
        "VGG-16 with its linear layers as convolutions", f"{SIMONYAN}; {LONG}",
        (256, 256), (1000, 2, 2), 32,
    ),
    "fcn32s": System(
        lambda divisor: FCN(32, divisor=divisor),
        "VGG-16, scores at stride 32, learnt upsampling", LONG, (500, 500), (21, 500, 500), 32,
    ),
    "fcn32s_fixed": System(
        lambda divisor: FCN(32, divisor=divisor, learnt=False),
        "FCN-32s with bilinear upsampling", LONG, (500, 500), (21, 500, 500), 32,
    ),
    "fcn16s": System(
        lambda divisor: FCN(16, divisor=divisor),
        "FCN with scores of pool4 added", LONG, (500, 500), (21, 500, 500), 32,
    ),
    "fcn8s": System(
        lambda divisor: FCN(8, divisor=divisor),
        "FCN with scores of pool4 and pool3 added", LONG, (500, 500), (21, 500, 500), 32,
    ),
    "fcn8s_same": System(
        lambda divisor: FCN(8, divisor=divisor, same=True, norm=True),
        "FCN-8s that keeps sizes and has batch norm, as trained here", LONG,
        (512, 512), (21, 512, 512), 32,
    ),
    "unet": System(
        lambda divisor: UNet(divisor=divisor),
        "U-Net of valid convolutions", RONNEBERGER, (572, 572), (2, 388, 388), 16, channels=1,
    ),
    "unet_same": System(
        lambda divisor: UNet(divisor=divisor, padded=True),
        "U-Net that keeps the size", RONNEBERGER, (512, 512), (2, 512, 512), 16, channels=1,
    ),
    "segnet": System(
        lambda divisor: SegNet(divisor=divisor),
        "max-unpooling with saved indices", "Badrinarayanan, Kendall & Cipolla, PAMI 2017",
        (360, 480), (11, 360, 480), 32,
    ),
    "deconvnet": System(
        lambda divisor: DeconvNet(divisor=divisor),
        "unpooling and transposed convolutions", "Noh, Hong & Han, ICCV 2015",
        (224, 224), (21, 224, 224), 32,
    ),
    "deeplab_largefov": System(
        lambda divisor: DeepLabLargeFOV(divisor=divisor),
        "dilated convolutions, scores at stride 8", "Chen et al., ICLR 2015",
        (321, 321), (21, 321, 321), 8,
    ),
}  # fmt: skip
"""Every system by name."""


def untrained(make: Callable[[], nn.Module], seed: int = 0) -> nn.Module:
    """A net in eval mode with random weights that keep values at one magnitude.

    He et al., ICCV 2015: variance 2 / fan-in before a ReLU.  Layers that define themselves
    (bilinear upsampling, nails) keep what they are.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = make()
        for layer in net.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                _draw(layer, fan_in=layer.weight[0].numel())
            elif isinstance(layer, Upsampling | BedOfNails):
                continue
            elif isinstance(layer, nn.ConvTranspose2d):
                reached = layer.weight[:, 0].numel() / (layer.stride[0] * layer.stride[1])
                _draw(layer, fan_in=reached)
    return net.eval()


def _draw(layer: nn.Conv2d | nn.ConvTranspose2d | nn.Linear, fan_in: float) -> None:
    nn.init.normal_(layer.weight, std=(2 / fan_in) ** 0.5)
    if layer.bias is not None:
        nn.init.normal_(layer.bias, std=0.1)


def build(name: str) -> nn.Module:
    """An untrained net by its name.

    Parameters
    ----------
    name
        A key of :data:`ZOO`, ``zoo:`` before it or not; ``/8`` behind it divides the published
        widths by 8.

    Raises
    ------
    ModelError
        If there is no such net, or its widths cannot be divided so.

    Examples
    --------
    >>> build("zoo:fcn8s/16")(torch.zeros(1, 3, 64, 64)).shape
    torch.Size([1, 21, 64, 64])
    """
    system, divisor = find(name)
    return untrained(lambda: system.make(divisor))


def find(name: str) -> tuple[System, int]:
    """The system of a name, and what its widths are divided by."""
    plain, _, divided = name.removeprefix(PREFIX).partition("/")
    if plain not in ZOO:
        raise ModelError(f"no system {plain!r} in the zoo; there are {', '.join(ZOO)}")
    if not divided:
        return ZOO[plain], 1
    if divided not in ("2", "4", "8", "16"):
        raise ModelError(f"widths of zoo:{plain} can be divided by 2, 4, 8 or 16, not {divided!r}")
    return ZOO[plain], int(divided)
