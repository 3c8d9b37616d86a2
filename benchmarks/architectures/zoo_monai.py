"""Rows from MONAI: its 2-D networks, with norms that are local and norms that are not."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from benchmarks.architectures.entry import CLASSES, Entry

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of MONAI's own imports
    from monai.networks import nets

if TYPE_CHECKING:
    from torch import nn

LIBRARY = "MONAI"
WIDTHS = (16, 32, 64, 128)
BASIC = (16, 16, 32, 64, 128, 16)
DYN_KERNELS, DYN_STRIDES = (3, 3, 3, 3), (1, 2, 2, 2)


def entries() -> list[Entry]:
    """All rows."""
    return [*_u_shaped(), *_residual(), *_other(), *_classifiers()]


def _entry(
    architecture: str,
    variant: str,
    *arguments: Any,
    pick: int | str | None = None,
    size: int | None = None,
    net: str | None = None,
    channels: int = 3,
    **options: Any,
) -> Entry:
    def build() -> nn.Module:
        model: nn.Module = getattr(nets, net or architecture)(*arguments, **options)
        return model

    return Entry(LIBRARY, architecture, variant, build, channels=channels, size=size, pick=pick)


def _normed() -> list[Entry]:
    rows = []
    for norm in ("batch", "instance"):
        rows += [
            _entry("UNet", norm, 2, 3, CLASSES, WIDTHS, (2, 2, 2), norm=norm),
            _entry("BasicUNet", norm, 2, 3, CLASSES, BASIC, norm=norm),
            _entry("BasicUNetPlusPlus", norm, 2, 3, CLASSES, BASIC, norm=norm, pick=-1),
            _entry(
                "DynUNet", norm, 2, 3, CLASSES, DYN_KERNELS, DYN_STRIDES, DYN_STRIDES[1:],
                filters=WIDTHS, norm_name=norm,
            ),
        ]  # fmt: skip
    return rows


def _u_shaped() -> list[Entry]:
    return [
        *_normed(),
        _entry(
            "UNet", "batch, 2 residual units", 2, 3, CLASSES, WIDTHS, (2, 2, 2), num_res_units=2,
            norm="batch",
        ),
        _entry(
            "BasicUNet", "batch, pixelshuffle", 2, 3, CLASSES, BASIC, norm="batch",
            upsample="pixelshuffle",
        ),
        _entry(
            "BasicUNet", "batch, nontrainable", 2, 3, CLASSES, BASIC, norm="batch",
            upsample="nontrainable",
        ),
        _entry(
            "DynUNet", "batch, residual blocks", 2, 3, CLASSES, DYN_KERNELS, DYN_STRIDES,
            DYN_STRIDES[1:], filters=WIDTHS, norm_name="batch", res_block=True,
        ),
        _entry("BasicUNet", "batch, 30 channels", 2, 30, CLASSES, BASIC, norm="batch", channels=30),
        _entry("AttentionUnet", "", 2, 3, CLASSES, WIDTHS, (2, 2, 2)),
        _entry("FlexibleUNet", "resnet18", 3, CLASSES, "resnet18"),
        _entry("FlexibleUNet", "efficientnet-b0", 3, CLASSES, "efficientnet-b0"),
        _entry("Quicknat", "", CLASSES, 3, 16, se_block="None"),
        _entry("VoxelMorphUNet", "", 2, 2, 32, (16, 32, 32, 32, 32, 32), (16, 16), channels=2),
    ]  # fmt: skip


def _residual() -> list[Entry]:
    return [
        _entry("SegResNet", "batch", 2, 16, 3, CLASSES, norm="batch"),
        _entry("SegResNet", "group (default)", 2, 16, 3, CLASSES),
        _entry("SegResNetDS", "batch", 2, 16, 3, CLASSES, norm="batch"),
        _entry("VNet", "2-D", 2, 1, CLASSES, channels=1),
        _entry("HighResNet", "batch", 2, 3, CLASSES, norm_type="batch"),
        _entry("RegUNet", "batch", 2, 3, 16, 3, out_channels=CLASSES,
               out_kernel_initializer="kaiming_uniform"),
        _entry("AHNet", "2-D", layers=(3, 4, 6, 3), spatial_dims=2, in_channels=3,
               out_channels=CLASSES),
        _entry("MedNeXt", "S", 2, 16, 3, CLASSES),
        _entry("AutoEncoder", "batch", 2, 3, CLASSES, WIDTHS, (2, 2, 2, 2), norm="batch"),
    ]  # fmt: skip


def _other() -> list[Entry]:
    return [
        _entry("HoVerNet", "fast (valid)", mode="fast", out_classes=0, pick="nucleus_prediction"),
        _entry("HoVerNet", "original (valid)", mode="original", out_classes=0,
               pick="nucleus_prediction", size=270),
        _entry("PatchDiscriminator", "batch", 2, 16, 3, CLASSES, pick=-1),
        _entry("UNETR", "", 3, CLASSES, (96, 96), 8, 96, 192, 4, spatial_dims=2, size=96),
        _entry("SwinUNETR", "", 3, CLASSES, feature_size=12, spatial_dims=2),
        _entry("ViTAutoEnc", "", 3, (96, 96), (16, 16), CLASSES, hidden_size=96, mlp_dim=192,
               num_layers=2, num_heads=4, spatial_dims=2, size=96, pick=0),
        _entry("AutoencoderKL", "reconstruction", 2, 3, CLASSES, (1, 1), (16, 32),
               (False, False), 4, norm_num_groups=8, pick=0),
        _entry("VQVAE", "", 2, 3, CLASSES, (16, 32), pick=0, num_res_layers=1,
               downsample_parameters=((2, 4, 1, 1), (2, 4, 1, 1)),
               upsample_parameters=((2, 4, 1, 1, 0), (2, 4, 1, 1, 0)),
               num_res_channels=(16, 32)),
    ]  # fmt: skip


def _classifiers() -> list[Entry]:
    return [
        _entry("DenseNet121", "classifier", 2, 3, CLASSES),
        _entry("SEResNet50", "classifier", spatial_dims=2, in_channels=3, num_classes=CLASSES),
        _entry("EfficientNetBN", "classifier", "efficientnet-b0", False, True, 2, 3, CLASSES),
        _entry("ResNetFeatures", "resnet18", "resnet18", False, spatial_dims=2, in_channels=3,
               pick=-1),
    ]  # fmt: skip
