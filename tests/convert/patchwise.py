"""The definition of a dense map, without dilation: patch by patch, or from shifted images."""

from __future__ import annotations

import torch
from torch import Tensor, nn

Pair = tuple[int, int]


def patch_by_patch(module: nn.Module, image: Tensor, patch: int, stride: int) -> Tensor:
    """Scores (classes, y', x') for every patch that starts at a multiple of the stride."""
    height, width = image.shape[2:]
    with torch.inference_mode():
        rows = [
            torch.stack(
                [
                    module(image[:, :, y : y + patch, x : x + patch]).flatten()
                    for x in range(0, width - patch + 1, stride)
                ],
                dim=1,
            )
            for y in range(0, height - patch + 1, stride)
        ]
    return torch.stack(rows, dim=1)


def shifted_and_stitched(dense: nn.Module, image: Tensor, patch: int, strides: Pair) -> Tensor:
    """The map at the finer of two strides, from maps at the coarser of the shifted image.

    A network that leaves the last px of a patch unused has positions for patches that end beyond
    the image; those are left out.
    """
    coarse, fine = strides
    height, width = (size - patch for size in image.shape[2:])
    shifts = range(0, coarse, fine)
    result: Tensor | None = None
    for y in shifts:
        for x in shifts:
            with torch.inference_mode():
                part = dense(image[:, :, y:, x:])[0]
            if result is None:
                result = part.new_zeros(len(part), height // fine + 1, width // fine + 1)
            place = result[:, y // fine :: coarse // fine, x // fine :: coarse // fine]
            place.copy_(part[:, : place.shape[1], : place.shape[2]])
    assert result is not None
    return result
