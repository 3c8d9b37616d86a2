"""Rows from segmentation_models_pytorch: its decoders, over encoders of many kinds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import segmentation_models_pytorch as smp

from benchmarks.architectures.entry import CLASSES, Entry

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

LIBRARY = "segmentation_models_pytorch"

UNET_ENCODERS = (
    "resnet18",
    "resnet34",
    "resnet50",
    "resnext50_32x4d",
    "densenet121",
    "vgg11",
    "vgg16_bn",
    "dpn68",
    "mobilenet_v2",
    "mobileone_s0",
    "xception",
    "inceptionv4",
    "inceptionresnetv2",
    "timm-tf_efficientnet_lite0",
    "efficientnet-b0",
    "se_resnet50",
    "timm-skresnet18",
    "mit_b0",
    "tu-convnext_atto",
    "tu-convnextv2_atto",
    "tu-cspdarknet53",
    "tu-darknet53",
    "tu-dla34",
    "tu-ghostnet_100",
    "tu-hrnet_w18_small",
    "tu-mobilenetv3_large_100",
    "tu-regnetx_002",
    "tu-regnety_002",
    "tu-repvgg_a0",
    "tu-res2net50_26w_4s",
    "tu-resnest14d",
    "tu-selecsls42b",
    "tu-starnet_s1",
)
"""Encoders tried under the U-Net."""

OTHERS = (
    ("UnetPlusPlus", "resnet18"),
    ("UnetPlusPlus", "mobilenet_v2"),
    ("Linknet", "resnet18"),
    ("Linknet", "mobilenet_v2"),
    ("Linknet", "vgg11_bn"),
    ("FPN", "resnet18"),
    ("FPN", "mobilenet_v2"),
    ("PSPNet", "resnet18"),
    ("PAN", "resnet18"),
    ("DeepLabV3", "resnet18"),
    ("DeepLabV3Plus", "resnet18"),
    ("DeepLabV3Plus", "mobilenet_v2"),
    ("MAnet", "resnet18"),
    ("UPerNet", "resnet18"),
    ("Segformer", "resnet18"),
    ("Segformer", "mobilenet_v2"),
    ("Segformer", "mit_b0"),
)
"""Other decoders, each with an encoder."""


def entries() -> list[Entry]:
    """All rows."""
    return [
        *(_entry("Unet", encoder) for encoder in UNET_ENCODERS),
        *(_entry(decoder, encoder) for decoder, encoder in OTHERS),
        Entry(LIBRARY, "Unet", "resnet18, scse attention", _unet(decoder_attention_type="scse")),
        Entry(LIBRARY, "Unet", "resnet18, bilinear", _unet(decoder_interpolation="bilinear")),
        Entry(LIBRARY, "DPT", "tu-vit_tiny_patch16_224", _dpt, size=224),
    ]


def _entry(decoder: str, encoder: str) -> Entry:
    def build() -> nn.Module:
        model: nn.Module = getattr(smp, decoder)(encoder, encoder_weights=None, classes=CLASSES)
        return model

    return Entry(LIBRARY, decoder, encoder, build)


def _unet(**options: str) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        model: nn.Module = smp.Unet("resnet18", encoder_weights=None, classes=CLASSES, **options)
        return model

    return build


def _dpt() -> nn.Module:
    model: nn.Module = smp.DPT("tu-vit_tiny_patch16_224", encoder_weights=None, classes=CLASSES)
    return model
