"""From stored pixels to the model's input, and from its output to stored scores."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from gigafcn.plan.run_plan import Scaling
    from gigafcn.slide.protocol import Pixels

ACTIVATIONS = ("none", "sigmoid", "softmax")

PRECISIONS = {
    "fp32": torch.float32,
    "fp64": torch.float64,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
}


def to_input(stored: Pixels, scaling: Scaling, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Normalised pixels (1, c, y, x) in channels-last layout from stored ones (y, x, c)."""
    return normalised(as_tensor(stored).to(device), scaling, dtype)


def normalised(stored: Tensor, scaling: Scaling, dtype: torch.dtype) -> Tensor:
    """Normalised pixels (1, c, y, x) in channels-last layout from stored ones (y, x, c).

    Computed as (stored * scale - mean) / std, in float32 at least, on the device that holds them.
    """
    height, width, channels = stored.shape
    device = stored.device
    real = torch.float64 if dtype == torch.float64 else torch.float32
    # A row of all columns' channels is long enough for the processor's vectors; 3 channels are not.
    values = stored.reshape(height, width * channels).to(real, copy=True)

    def per_channel(numbers: tuple[float, ...]) -> Tensor:
        every = numbers * channels if len(numbers) == 1 else numbers
        return torch.tensor(every, dtype=real, device=device).repeat(width)

    if isinstance(scaling.scale, tuple):
        values *= per_channel(scaling.scale)
    elif scaling.scale != 1.0:
        values *= scaling.scale
    if any(scaling.mean):
        values -= per_channel(scaling.mean)
    if any(s != 1.0 for s in scaling.std):
        values /= per_channel(scaling.std)
    return values.view(height, width, channels).to(dtype).permute(2, 0, 1).unsqueeze(0)


def as_tensor(stored: Pixels) -> Tensor:
    """The same pixels for torch: unsigned 16 and 32 bit become signed and wider."""
    wider = {"u2": np.int32, "u4": np.int64}.get(stored.dtype.str[1:], stored.dtype)
    # torch takes neither gaps of its own kind nor what must not be written to.
    kept = np.require(stored, dtype=wider, requirements=("C", "W"))
    return torch.from_numpy(kept)


def activated(logits: Tensor, activation: str) -> Tensor:
    """Class scores from the model's output (1, c, y, x)."""
    match activation:
        case "sigmoid":
            return logits.sigmoid()
        case "softmax":
            return logits.softmax(dim=1)
        case "exp":
            return logits.exp()
        case _:
            return logits


def likeliest(scores: Tensor, dtype: torch.dtype) -> Tensor:
    """Index (y, x) of the largest score of each pixel, the first of equals.

    Class by class and without a mask: torch's argmax over a short dimension takes a hundred times
    as long.
    """
    planes = scores[0]
    best = planes[0]
    counting = dtype if dtype == torch.uint8 else torch.int32  # uint16 has hardly any ops
    labels = torch.zeros(best.shape, dtype=counting, device=best.device)
    for index in range(1, len(planes)):
        # A later class has a larger index, so the largest index that ever led is the leader's.
        labels = torch.maximum(labels, (planes[index] > best).to(counting) * index)
        best = torch.maximum(best, planes[index])
    return labels.to(dtype)


def quantised(scores: Tensor, dtype: str) -> Tensor:
    """Scores (c, y, x) as stored: uint8 is round-half-even(255 * p), else a cast."""
    pixels = scores[0]
    if dtype == "uint8":
        return (pixels.float() * 255).round_().clamp_(0, 255).to(torch.uint8)
    return pixels.to(torch.float16 if dtype == "float16" else torch.float32)
