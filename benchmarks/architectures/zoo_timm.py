"""Rows from timm: the deepest feature map of an encoder, and a few classifiers as they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import timm

from benchmarks.architectures.entry import Entry

if TYPE_CHECKING:
    from torch import nn

LIBRARY = "timm"

FEATURES = (
    "resnet18",
    "resnet50",
    "resnet26d",
    "resnext26ts",
    "resnetv2_50",
    "resnetv2_50x1_bit",
    "seresnet50",
    "skresnet18",
    "ecaresnet26t",
    "resnest14d",
    "res2net50_26w_4s",
    "densenet121",
    "dpn68",
    "vgg11_bn",
    "vgg16",
    "darknet53",
    "cspresnet50",
    "cspdarknet53",
    "dla34",
    "hrnet_w18_small",
    "selecsls42b",
    "repvgg_a0",
    "mobileone_s0",
    "gernet_s",
    "regnetx_002",
    "regnety_002",
    "nf_regnet_b0",
    "nf_resnet26",
    "xception41",
    "inception_v4",
    "mobilenetv2_100",
    "mobilenetv3_small_100",
    "mobilenetv4_conv_small",
    "mnasnet_100",
    "spnasnet_100",
    "fbnetc_100",
    "efficientnet_b0",
    "efficientnet_lite0",
    "tf_efficientnet_lite0",
    "lcnet_050",
    "ghostnet_100",
    "repghostnet_050",
    "starnet_s1",
    "hgnet_tiny",
    "hgnetv2_b0",
    "vovnet39a",
    "convnext_atto",
    "convnextv2_atto",
    "inception_next_atto",
    "rdnet_tiny",
    "poolformer_s12",
    "fastvit_t8",
    "repvit_m0_9",
    "edgenext_xx_small",
    "mobilevit_xxs",
    "pvt_v2_b0",
    "lambda_resnet26t",
    "halonet26t",
    "swin_tiny_patch4_window7_224",
    "maxvit_pico_rw_256",
    "vit_tiny_patch16_224",
)
"""Encoders whose deepest feature map is analysed."""

FIXED = {
    "swin_tiny_patch4_window7_224": 224,
    "maxvit_pico_rw_256": 256,
    "vit_tiny_patch16_224": 224,
    "lambda_resnet26t": 256,
}
"""Image sizes in px of those made for one."""

CLASSIFIERS = ("resnet18", "vgg16", "mobilenetv2_100", "convnext_atto")
"""Classifiers with their head: one answer per image, until converted."""


def entries() -> list[Entry]:
    """All rows."""
    return [
        *(_features(name) for name in FEATURES),
        *(_classifier(name) for name in CLASSIFIERS),
    ]


def _features(name: str) -> Entry:
    def build() -> nn.Module:
        model: nn.Module = timm.create_model(name, pretrained=False, features_only=True)
        return model

    return Entry(LIBRARY, name, "features", build, size=FIXED.get(name), pick=-1)


def _classifier(name: str) -> Entry:
    def build() -> nn.Module:
        model: nn.Module = timm.create_model(name, pretrained=False, num_classes=3)
        return model

    return Entry(LIBRARY, name, "classifier", build)
