"""Nets with attention inside windows, which is local: blocks of pixels become channels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional

if TYPE_CHECKING:
    from torch import Tensor


class HaloAttention(nn.Module):
    """Each block attends to itself and a margin around it, as in HaloNet, spelled as timm does.

    Heads stand beside the batch, blocks are flattened, and the relative position of a pixel and
    what it attends to is told by padding and viewing anew.
    """

    def __init__(self, channels: int, heads: int, block: int, margin: int) -> None:
        super().__init__()
        self.heads, self.block, self.margin = heads, block, margin
        self.window, self.width = block + 2 * margin, channels // heads
        self.q = nn.Conv2d(channels, channels, 1)
        self.kv = nn.Conv2d(channels, 2 * channels, 1)
        self.rows = nn.Parameter(torch.randn(2 * self.window - 1, self.width))
        self.columns = nn.Parameter(torch.randn(2 * self.window - 1, self.width))

    def forward(self, x: Tensor) -> Tensor:
        b, c, height, width = x.shape
        down, across = height // self.block, width // self.block
        q = self.q(x).reshape(-1, self.width, down, self.block, across, self.block)
        q = q.permute(0, 1, 3, 5, 2, 4)
        q = q.reshape(b * self.heads, self.width, -1, down * across).transpose(1, 3)
        kv = functional.pad(self.kv(x), [self.margin] * 4)
        kv = kv.unfold(2, self.window, self.block).unfold(3, self.window, self.block)
        kv = kv.reshape(b * self.heads, 2 * self.width, down * across, -1).permute(0, 2, 3, 1)
        k, v = torch.split(kv, [self.width, self.width], dim=-1)
        logits = q @ k.transpose(-1, -2) + self._position(q)
        y = (logits.softmax(dim=-1) @ v).transpose(1, 3)
        y = y.reshape(-1, self.block, self.block, down, across).permute(0, 3, 1, 4, 2)
        result: Tensor = y.contiguous().view(b, c, height, width)
        return result

    def _position(self, q: Tensor) -> Tensor:
        blocks = q.reshape(-1, self.block, self.block, self.width)
        across = _relative(blocks, self.columns).permute(0, 1, 3, 2, 4)
        down = _relative(blocks.transpose(1, 2), self.rows).permute(0, 3, 1, 4, 2)
        position: Tensor = (down + across).reshape(*q.shape[:3], -1)
        return position


def _relative(q: Tensor, table: Tensor) -> Tensor:
    """Products of each pixel with the table's row for the distance, along one axis."""
    count, height, width, _ = q.shape
    size = table.shape[0]
    window = (size + 1) // 2
    x = (q @ table.transpose(-1, -2)).reshape(-1, width, size)
    x = functional.pad(functional.pad(x, [0, 1]).flatten(1), [0, size - width])
    x = x.reshape(-1, width + 1, size)[:, :width, window - 1 :]
    return x.reshape(count, height, 1, width, window).expand(-1, -1, window, -1, -1)


class HaloNet(nn.Module):
    """A convolution, halo attention in blocks of 2 px, a convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.attention = HaloAttention(8, heads=2, block=2, margin=1)
        self.head = nn.Conv2d(8, 2, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        result: Tensor = self.head(x + self.attention(x))
        return result


class WindowAttention(nn.Module):
    """Attention inside windows of (n, tokens, c), as in Swin: by hand, or by torch's fused op."""

    def __init__(self, channels: int, heads: int, tokens: int, *, fused: bool) -> None:
        super().__init__()
        self.heads, self.fused = heads, fused
        self.qkv = nn.Linear(channels, 3 * channels)
        self.bias = nn.Parameter(torch.randn(heads, tokens, tokens))

    def forward(self, x: Tensor) -> Tensor:
        count, tokens, channels = x.shape
        qkv = self.qkv(x).reshape(count, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)
        if self.fused:
            y = functional.scaled_dot_product_attention(q, k, v, attn_mask=self.bias.unsqueeze(0))
        else:
            y = (q @ k.transpose(-2, -1) + self.bias.unsqueeze(0)).softmax(dim=-1) @ v
        return y.transpose(1, 2).reshape(count, tokens, channels)


def in_windows(x: Tensor, size: int, part: nn.Module) -> Tensor:
    """Apply a part to the windows of (b, y, x, c), partitioned and joined as Swin does."""
    b, height, width, c = x.shape
    windows = x.view(b, height // size, size, width // size, size, c).permute(0, 1, 3, 2, 4, 5)
    y = part(windows.contiguous().view(-1, size * size, c)).view(-1, size, size, c)
    y = y.view(b, height // size, width // size, size, size, -1).permute(0, 1, 3, 2, 4, 5)
    result: Tensor = y.contiguous().view(b, height, width, -1)
    return result


class WindowNet(nn.Module):
    """Swin in small with windows of 2 px, shifted by padding: a roll would not be local."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.LayerNorm(8)
        self.plain = WindowAttention(8, 2, 4, fused=False)
        self.shifted = WindowAttention(8, 4, 4, fused=True)
        self.head = nn.Conv2d(8, 2, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x).permute(0, 2, 3, 1)
        y = y + in_windows(self.norm(y), 2, self.plain)
        shifted = functional.pad(self.norm(y), (0, 0, 1, 1, 1, 1))
        y = y + in_windows(shifted, 2, self.shifted)[:, 1:-1, 1:-1]
        result: Tensor = self.head(y.permute(0, 3, 1, 2))
        return result


class CyclicNet(WindowNet):
    """Swin as it is: the windows of the second block are shifted by a roll."""

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x).permute(0, 2, 3, 1)
        y = in_windows(y, 2, self.plain).roll((-1, -1), (1, 2))
        y = in_windows(y, 2, self.shifted).roll((1, 1), (1, 2))
        result: Tensor = self.head(y.permute(0, 3, 1, 2))
        return result
