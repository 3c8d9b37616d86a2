"""Nets that move pixels about in ways that are local all the same, one difficulty each."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional

if TYPE_CHECKING:
    from torch import Tensor


class UnpooledNet(nn.Module):
    """SegNet in small: two max pools whose indices feed max-unpooling, at any image size."""

    def __init__(self, channels: int = 3) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, 4, 3, padding=1)
        self.second = nn.Conv2d(4, 6, 3, padding=1)
        self.deep = nn.Conv2d(6, 6, 3, padding=1)
        self.up = nn.Conv2d(6, 4, 3, padding=1)
        self.head = nn.Conv2d(4, 2, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        a = torch.relu(self.first(x))
        b, where_a = functional.max_pool2d(a, 2, return_indices=True)
        b = torch.relu(self.second(b))
        c, where_b = functional.max_pool2d(b, (3, 2), return_indices=True)
        c = torch.relu(self.deep(c))
        b = functional.max_unpool2d(c, where_b, (3, 2), output_size=b.shape[2:])
        b = torch.relu(self.up(b))
        a = functional.max_unpool2d(b, where_a, (2, 2), output_size=a.shape[2:])
        result: Tensor = self.head(a)
        return result


class LocatedNet(nn.Module):
    """Other values put where a pool found its maxima: only the indices read whole windows."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.other = nn.Conv2d(3, 4, 1)
        self.head = nn.Conv2d(4, 2, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        _, where = functional.max_pool2d(self.first(x), 3, return_indices=True)
        height, width = where.shape[2:]
        y = self.other(x)[:, :, 1::3, 1::3][:, :, :height, :width]
        y = functional.max_unpool2d(y, where, (3, 3), output_size=x.shape[2:])
        result: Tensor = self.head(y)
        return result


class ResampledNet(nn.Module):
    """Bicubic and antialiased resizes, by factors and to sizes."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.head = nn.Conv2d(4, 2, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.first(x))
        y = functional.interpolate(y, scale_factor=0.4, mode="bilinear", antialias=True)
        y = functional.interpolate(y, scale_factor=2.0, mode="bicubic")
        y = functional.interpolate(y, size=x.shape[2:], mode="bicubic", align_corners=True)
        result: Tensor = self.head(y)
        return result


class BicubicNet(nn.Module):
    """Bicubic resizes down by a factor and up to the input's size."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.head = nn.Conv2d(4, 2, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        y = functional.interpolate(torch.relu(self.first(x)), scale_factor=0.5, mode="bicubic")
        y = functional.interpolate(y, size=x.shape[2:], mode="bicubic")
        result: Tensor = self.head(y)
        return result


class TokenNet(nn.Module):
    """Pixels flattened to tokens for a linear layer and a norm, expanded and stacked channels."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 6, 3, 2, 1)
        self.norm = nn.LayerNorm(6)
        self.mix = nn.Linear(6, 8)
        self.gate = nn.Conv2d(8, 1, 1)
        self.head = nn.Conv2d(8, 2, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x)
        batch, _, height, width = y.shape
        tokens = self.mix(self.norm(y.flatten(2).transpose(1, 2))).softmax(dim=-1)
        y = tokens.transpose(1, 2).reshape(batch, -1, height, width)
        gates = torch.stack([self.gate(y).expand(-1, 8, -1, -1), y.flip(1)]).softmax(dim=0)
        y = (gates * y.unsqueeze(0)).sum(dim=0)
        result: Tensor = self.head(y)
        return result


class ViewedNet(nn.Module):
    """Pixel unshuffle and shuffle spelled as views, and rows and columns repeated."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(12, 8, 3, padding=1)
        self.last = nn.Conv2d(2, 2, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        b, c, height, width = x.shape
        x = x.view(b, c, height // 2, 2, width // 2, 2).permute(0, 1, 3, 5, 2, 4)
        x = self.first(x.reshape(b, 4 * c, height // 2, width // 2))
        x = x.view(b, 2, 2, 2, height // 2, width // 2).permute(0, 1, 4, 2, 5, 3)
        x = self.last(x.reshape(b, 2, height, width))
        return x.repeat_interleave(3, dim=2).repeat_interleave(2, dim=3)
