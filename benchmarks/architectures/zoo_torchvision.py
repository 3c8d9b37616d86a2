"""Rows from torchvision: its segmentation models, and the convolutional part of classifiers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn
from torchvision import models
from torchvision.models import segmentation

from benchmarks.architectures.entry import CLASSES, Entry

if TYPE_CHECKING:
    from collections.abc import Callable

LIBRARY = "torchvision"

SEGMENTATION = (
    "fcn_resnet50",
    "fcn_resnet101",
    "deeplabv3_resnet50",
    "deeplabv3_mobilenet_v3_large",
    "lraspp_mobilenet_v3_large",
)
"""Segmentation models; their map is the entry "out"."""

FEATURES = ("alexnet", "squeezenet1_1", "vgg13", "mobilenet_v2", "densenet121", "convnext_tiny")
"""Classifiers whose ``features`` stand alone."""

CLASSIFIERS = ("resnet18", "vgg16_bn", "googlenet")
"""Classifiers with their head."""


def entries() -> list[Entry]:
    """All rows."""
    return [
        *(Entry(LIBRARY, name, "", _segmentation(name), pick="out") for name in SEGMENTATION),
        *(Entry(LIBRARY, name, "features", _features(name)) for name in FEATURES),
        Entry(LIBRARY, "shufflenet_v2_x1_0", "features", _shufflenet),
        *(Entry(LIBRARY, name, "classifier", _classifier(name)) for name in CLASSIFIERS),
    ]


def _segmentation(name: str) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        model: nn.Module = getattr(segmentation, name)(
            weights=None, weights_backbone=None, num_classes=CLASSES
        )
        return model

    return build


def _features(name: str) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        features: nn.Module = getattr(models, name)(weights=None).features
        return features

    return build


def _shufflenet() -> nn.Module:
    net = models.shufflenet_v2_x1_0(weights=None)
    return nn.Sequential(net.conv1, net.maxpool, net.stage2, net.stage3, net.stage4, net.conv5)


def _classifier(name: str) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        model: nn.Module = getattr(models, name)(weights=None, num_classes=CLASSES)
        return model

    return build
