"""Nets that several tests share: small versions of common designs, weights drawn at random.

``UNetR18`` follows the layout of segmentation_models_pytorch's ``Unet("resnet18")``; its width is
a parameter so that tests are fast.  The others are small but hold one difficulty each.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional

from tests.attention_nets import HaloNet, WindowNet
from tests.moving_nets import BicubicNet, LocatedNet, ResampledNet, TokenNet, UnpooledNet, ViewedNet

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of MONAI's own imports
    from monai.networks.nets.basic_unet import BasicUNet
    from monai.networks.nets.unet import UNet


def randomised(module: nn.Module, seed: int = 0) -> nn.Module:
    """The module in eval mode with random weights and random batch-norm statistics."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in module.parameters():
            fan_in = max(1, tensor[0].numel())
            tensor.normal_(0, fan_in**-0.5, generator=generator)
        for layer in module.modules():
            if (
                isinstance(layer, nn.BatchNorm2d | nn.InstanceNorm2d)
                and layer.running_var is not None
            ):
                assert layer.running_mean is not None
                layer.running_mean.normal_(0, 0.3, generator=generator)
                layer.running_var.uniform_(0.5, 2, generator=generator)
                if layer.weight is not None:
                    layer.weight.uniform_(0.5, 1.5, generator=generator)
    return module.eval()


def conv_norm(c_in: int, c_out: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    """Convolution with "same"-sized zero padding, batch norm."""
    conv = nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(c_out))


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions and a shortcut, as in ResNet-18."""

    def __init__(self, c_in: int, c_out: int, stride: int) -> None:
        super().__init__()
        self.first = conv_norm(c_in, c_out, 3, stride)
        self.second = conv_norm(c_out, c_out)
        same = stride == 1 and c_in == c_out
        self.shortcut = nn.Identity() if same else conv_norm(c_in, c_out, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = self.second(torch.relu_(self.first(x)))
        return torch.relu_(y.add_(self.shortcut(x)))


class DecoderBlock(nn.Module):
    """Nearest x 2, skip, two convolutions."""

    def __init__(self, c_in: int, c_skip: int, c_out: int) -> None:
        super().__init__()
        self.first = conv_norm(c_in + c_skip, c_out)
        self.second = conv_norm(c_out, c_out)

    def forward(self, x: Tensor, skip: Tensor | None) -> Tensor:
        x = functional.interpolate(x, scale_factor=2.0, mode="nearest")
        if skip is not None:
            x = torch.cat([x, skip], dim=1)
        return torch.relu(self.second(torch.relu(self.first(x))))


class UNetR18(nn.Module):
    """U-Net with a ResNet-18 encoder; ``width`` is 64 in the original."""

    def __init__(self, width: int = 8, classes: int = 2) -> None:
        super().__init__()
        w = width
        self.stem = conv_norm(3, w, 7, 2)
        self.pool = nn.MaxPool2d(3, 2, 1)
        sizes = [(w, w, 1), (w, 2 * w, 2), (2 * w, 4 * w, 2), (4 * w, 8 * w, 2)]
        self.stages = nn.ModuleList(
            nn.Sequential(ResidualBlock(a, b, s), ResidualBlock(b, b, 1)) for a, b, s in sizes
        )
        outs = [4 * w, 2 * w, w, max(w // 2, 2), max(w // 4, 2)]
        skips = [4 * w, 2 * w, w, w, 0]
        self.decoder = nn.ModuleList(
            DecoderBlock(a, s, b) for a, s, b in zip([8 * w, *outs], skips, outs, strict=False)
        )
        self.head = nn.Conv2d(outs[-1], classes, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        features = [torch.relu(self.stem(x))]
        x = self.pool(features[0])
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        skips = [*reversed(features[:-1]), None]
        for block, skip in zip(self.decoder, skips, strict=True):
            x = block(x, skip)
        result: Tensor = self.head(x)
        return result


class DilatedNet(nn.Module):
    """Growing dilation after a stride, a dilated pool, then bilinear back."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv2d(3, 6, 3, 2, 1)
        self.pool = nn.MaxPool2d(3, 1, 1, dilation=2)
        self.wide = nn.ModuleList(nn.Conv2d(6, 6, 3, padding=d, dilation=d) for d in (1, 2, 4, 8))
        self.head = nn.Conv2d(6, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(torch.relu(self.down(x)))
        for layer in self.wide:
            x = torch.relu(layer(x)) + x
        x = functional.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
        result: Tensor = self.head(x)
        return result


class EvenNet(nn.Module):
    """Even kernels with padding "same": halos that differ between the sides."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 5, 4, padding="same")
        self.second = nn.Conv2d(5, 4, (2, 6), padding="same", dilation=(3, 1))
        self.down = nn.Conv2d(4, 6, 2, 2)
        self.up = nn.ConvTranspose2d(6, 4, 4, 2, 1)
        self.head = nn.Conv2d(8, 2, 2, padding="same")

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.second(torch.relu(self.first(x))))
        y = self.up(torch.relu(self.down(x)))
        result: Tensor = self.head(torch.cat([x[:, :, : y.shape[2], : y.shape[3]], y], dim=1))
        return result


class DoubledNet(nn.Module):
    """Pool, nearest x 2, skip: the smallest U-Net."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.middle = nn.Conv2d(4, 4, 3, padding=1)
        self.head = nn.Conv2d(8, 2, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.first(x))
        y = torch.relu(self.middle(functional.max_pool2d(x, 2)))
        y = functional.interpolate(y, scale_factor=2.0, mode="nearest")
        result: Tensor = self.head(torch.cat([x, y], dim=1))
        return result


class AlignedNet(nn.Module):
    """Bilinear resize with aligned corners to the input's size: weights depend on position."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv2d(3, 5, 3, 2, 1)
        self.middle = nn.Conv2d(5, 5, 3, padding=1)
        self.head = nn.Conv2d(5, 2, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.middle(functional.max_pool2d(torch.relu(self.down(x)), 2)))
        y = functional.interpolate(y, size=x.shape[2:], mode="bilinear", align_corners=True)
        result: Tensor = self.head(y)
        return result


class BorderNet(nn.Module):
    """Mirrored and repeated borders, ceil_mode, divisors that change at the border, odd crops."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 5, 5, padding=2, padding_mode="reflect")
        self.pool = nn.MaxPool2d(3, 2, 1, ceil_mode=True)
        self.second = nn.Conv2d(5, 5, 3, padding=1, padding_mode="replicate", groups=5)
        self.average = nn.AvgPool2d(3, 1, 1, ceil_mode=True, count_include_pad=False)
        self.up = nn.ConvTranspose2d(5, 4, 3, 2, 1, output_padding=1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.average(self.second(self.pool(torch.relu(self.first(x)))))
        y = self.up(y)[:, :, 1:, : x.shape[3]]
        return functional.pad(y, (2, 3, 4, -1), mode="constant", value=0.5).sigmoid()


class PixelwiseNet(nn.Module):
    """Channels last inside, chunks, layer norm, a gate of one channel, truth values."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.LayerNorm(8)
        self.expand = nn.Linear(8, 16)
        self.gate = nn.Conv2d(8, 1, 1)
        self.instance = nn.InstanceNorm2d(8, affine=True, track_running_stats=True)
        self.slope = nn.PReLU(8)

    def forward(self, x: Tensor) -> Tensor:
        x = self.mix(x)
        y = functional.gelu(self.expand(self.norm(x.permute(0, 2, 3, 1)))).permute(0, 3, 1, 2)
        a, b = y.chunk(2, dim=1)
        y = self.slope(self.instance(a * torch.sigmoid(b) + x))
        y = torch.relu(self.gate(y)) + y
        y = y * (y > 0).to(y.dtype) - y.mean(dim=1, keepdim=True)
        result: Tensor = y.softmax(dim=1)
        return result


class RegroupedNet(nn.Module):
    """Pixel unshuffle, a channel shuffle spelled as views with baked sizes, pixel shuffle."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(12, 8, 3, padding=1)
        self.last = nn.Conv2d(8, 8, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(functional.pixel_unshuffle(x, 2))
        b, c, height, width = x.shape
        x = x.view(b, 2, c // 2, height, width).transpose(1, 2).reshape(b, c, height, width)
        return functional.pixel_shuffle(self.last(x), 2)


class MaskedNet(nn.Module):
    """Truth values that are read as numbers and, beside what was made of those, as themselves."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.second = nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        mask = self.first(x) > 0
        y = self.second(mask.float())
        return torch.where(mask, y, -y)


class GappedNet(nn.Module):
    """A transposed convolution that leaves out every other px, beside a path that waits long."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, 2, 1)
        self.deeper = nn.Conv2d(4, 4, 5, padding=40, dilation=20)
        self.up = nn.ConvTranspose2d(4, 4, 1, 2, output_padding=1)
        self.other = nn.ConvTranspose2d(4, 4, 2, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        result: Tensor = self.up(x) * self.other(self.deeper(x))
        return result


def monai_basic_unet() -> nn.Module:
    """MONAI BasicUNet with batch norm; pads to its skips by replication."""
    features = (8, 8, 12, 16, 24, 8)
    net: nn.Module = BasicUNet(2, 3, 2, features, norm=("batch", {}))
    return net


def monai_unet() -> nn.Module:
    """MONAI UNet: residual units, strided and transposed convolutions, PReLU."""
    net: nn.Module = UNet(2, 3, 2, (4, 8, 12, 16), (2, 2, 2), num_res_units=1, norm="batch")
    return net


NETS: dict[str, Callable[[], nn.Module]] = {
    "unet_r18": lambda: UNetR18(4),
    "monai_basic_unet": monai_basic_unet,
    "monai_unet": monai_unet,
    "dilated": DilatedNet,
    "even": EvenNet,
    "aligned": AlignedNet,
    "doubled": DoubledNet,
    "border": BorderNet,
    "pixelwise": PixelwiseNet,
    "regrouped": RegroupedNet,
    "masked": MaskedNet,
    "gapped": GappedNet,
    "unpooled": UnpooledNet,
    "located": LocatedNet,
    "resampled": ResampledNet,
    "bicubic": BicubicNet,
    "tokens": TokenNet,
    "viewed": ViewedNet,
    "halo_attention": HaloNet,
    "windows": WindowNet,
}
"""Makers by name; pass the result through :func:`randomised`."""
