"""The whole run, written down a second time: pad with numpy, run the module once, crop.

Nothing of the tool's planning, reading or sweeping is used here, and what a net needs (period,
lost margin) is stated by the test.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from gigafcn.output import open_map

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

Array = np.ndarray[Any, np.dtype[Any]]
Pair = tuple[int, int]


def small_image(
    height: int, width: int, channels: int = 3, dtype: str = "uint8", top: int = 8
) -> Array:
    """Random whole numbers below ``top``, the same for the same shape."""
    random = np.random.default_rng(height * 1009 + width)
    return random.integers(0, top, (height, width, channels)).astype(dtype)


def padded(image: Array, period: int) -> Array:
    """The image grown right and bottom to whole periods by repeating its edge."""
    height, width = image.shape[:2]
    return np.pad(image, ((0, -height % period), (0, -width % period), (0, 0)), mode="edge")


def mirrored(image: Array, margin: int) -> Array:
    """The image mirrored outward by ``margin`` px on every side."""
    return np.pad(image, ((margin, margin), (margin, margin), (0, 0)), mode="reflect")


def grown(image: Array, sizes: Pair) -> Array:
    """The image grown right and bottom to ``sizes`` by repeating its edge."""
    rows, columns = (size - n for size, n in zip(sizes, image.shape[:2], strict=True))
    return np.pad(image, ((0, rows), (0, columns), (0, 0)), mode="edge")


def run_whole(
    module: nn.Module,
    pixels: Array,
    *,
    activation: str = "none",
    scale: float = 1.0,
    dtype: torch.dtype = torch.float64,
) -> Array:
    """Scores (c, y, x) of the module on all pixels (y, x, c) at once."""
    image = torch.from_numpy(pixels.astype(np.float64)).to(dtype) * scale
    with torch.inference_mode():
        scores = copy.deepcopy(module).to(dtype)(image.permute(2, 0, 1).unsqueeze(0))
        if activation == "softmax":
            scores = scores.softmax(dim=1)
        elif activation == "sigmoid":
            scores = scores.sigmoid()
    result: Array = scores[0].numpy()
    return result


def scores_of(path: Path) -> Array:
    """Level-0 scores (c, y, x) of a map."""
    return np.asarray(open_map(path).scores[0][...])


def labels_of(path: Path) -> Array:
    """Level-0 labels (y, x) of a map."""
    return np.asarray(open_map(path).labels[0][...])


def triangle_weights(stored: int, shape: int) -> Array:
    """Weights (shape, stored) that make ``shape`` px out of ``stored`` px, in float64."""
    scale = stored / shape
    reach = max(scale, 1.0)
    centres = (np.arange(shape) + 0.5) * scale
    middles = np.arange(stored) + 0.5
    weights = np.maximum(0.0, 1 - np.abs(middles[None, :] - centres[:, None]) / reach)
    normalised: Array = weights / weights.sum(axis=1, keepdims=True)
    return normalised


def resized(image: Array, shape: Pair) -> Array:
    """An image (y, x, c) resampled to ``shape`` by two matrix products, in float64."""
    rows, columns = (triangle_weights(n, m) for n, m in zip(image.shape[:2], shape, strict=True))
    down = np.tensordot(rows, image.astype(np.float64), (1, 0))
    result: Array = np.tensordot(down, columns, (1, 1)).transpose(0, 2, 1)
    return result
