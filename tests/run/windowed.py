"""Nets of the tests of blend and patch, and what those modes must give, written down again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from monai.inferers.utils import sliding_window_inference
from torch import Tensor, nn

from tests.run.small_nets import conv

if TYPE_CHECKING:
    from tests.run.whole import Array

LOGITS: dict[str, Any] = {"scale": 1.0, "activation": "none", "dtype": "float32"}


class Mean(nn.Module):
    """Adds the mean of what it sees to every px: not local."""

    def forward(self, image: Tensor) -> Tensor:
        return image + image.mean(dim=(2, 3), keepdim=True)


def uneven(classes: int = 2) -> nn.Module:
    """A net whose output depends on the whole window."""
    return nn.Sequential(conv(3, 4), Mean(), nn.Conv2d(4, classes, 3, padding=1))


class Classifier(nn.Module):
    """Scores (b, classes) of windows of any one size."""

    def __init__(self, size: int = 16, classes: int = 3) -> None:
        super().__init__()
        self.features = conv(3, 4, stride=2)
        self.head = nn.Linear(4 * (size // 2) ** 2, classes)

    def forward(self, image: Tensor) -> Tensor:
        result: Tensor = self.head(self.features(image).flatten(1))
        return result


def monai_map(net: nn.Module, image: Array, **settings: Any) -> Array:
    """Scores (c, y, x) of MONAI's sliding_window_inference on the whole image in memory."""
    pixels = torch.from_numpy(image.astype(np.float32)).permute(2, 0, 1)[None]
    with torch.inference_mode():
        found = sliding_window_inference(pixels, predictor=net, **settings)
    assert isinstance(found, Tensor)
    result: Array = found[0].numpy()
    return result


def patch_map(net: nn.Module, image: Array, size: int, step: int) -> Array:
    """Scores (c, y, x) of every window that fits, one by one."""
    pixels = torch.from_numpy(image.astype(np.float32)).permute(2, 0, 1)[None]
    height, width = image.shape[:2]
    with torch.inference_mode():
        rows = [
            torch.cat(
                [
                    net(pixels[:, :, y : y + size, x : x + size])
                    for x in range(0, width - size + 1, step)
                ]
            )
            for y in range(0, height - size + 1, step)
        ]
    result: Array = torch.stack(rows).permute(2, 0, 1).numpy()
    return result
