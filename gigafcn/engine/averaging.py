"""Means over blocks of map px, made while the map is computed.

Scores arrive row by row, from left to right, in boxes cut as computing needed them.  Each block of
the stored map is summed in one order whatever the cuts, first along its rows from left to right,
then from top to bottom, so tiles, strips and blocks do not change a bit of it.  At the far edges of
the map a block holds the px that are there, and its mean is theirs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gigafcn.geometry import Box

if TYPE_CHECKING:
    from collections.abc import Iterator

Pair = tuple[int, int]


class Averaging:
    """Averages the scores of one tile.

    Parameters
    ----------
    factor
        Map px (y, x) per stored px.
    tile
        Map px; whole blocks, but at the far edges of the part.
    part
        The part of the map that is computed; blocks count from its first px.
    """

    def __init__(self, factor: Pair, tile: Box, part: Box) -> None:
        self._factor = factor
        self._part = part
        self._tile = tile.shift(-part.y0, -part.x0)
        self._first = self._tile.x0 // factor[1]
        self._left: Tensor | None = None
        """Columns at the right of the last box that do not fill a block yet."""

        self._above: Tensor | None = None
        """Sums (1, c, 1, blocks) of the row of blocks that is not complete yet."""

    def add(self, box: Box, scores: Tensor) -> Iterator[tuple[Box, Tensor]]:
        """Take scores (1, c, y, x) of a box of map px; give means of boxes of stored px."""
        placed = box.shift(-self._part.y0, -self._part.x0)
        real = torch.float64 if scores.dtype == torch.float64 else torch.float32
        columns = scores.to(real)
        if self._left is not None:
            columns = torch.cat((self._left, columns), dim=3)
        start = placed.x1 - columns.shape[3]
        step = self._factor[1]
        stop = placed.x1 if placed.x1 == self._tile.x1 else placed.x1 // step * step
        self._left = columns[..., stop - start :].clone() if stop < placed.x1 else None
        if stop > start:
            yield from self._rows(
                placed, start // step, _sums(columns[..., : stop - start], 3, step)
            )

    def _rows(self, box: Box, column: int, sums: Tensor) -> Iterator[tuple[Box, Tensor]]:
        """Add rows whose blocks' columns, from ``column`` on, are summed already."""
        step, width = self._factor[0], sums.shape[3]
        if self._above is None:
            blocks = -(-self._tile.x.size // self._factor[1])
            self._above = sums.new_zeros((*sums.shape[:2], 1, blocks))
        above = self._above[..., column - self._first : column - self._first + width]
        begun = box.y0 % step
        head = min(step - begun, box.y.size) if begun else 0
        for row in range(head):
            above += sums[:, :, row : row + 1]
        ended = box.y1 == self._tile.y1
        done = []
        if begun and (begun + head == step or ended):
            done.append(above.clone())
        below = sums[:, :, head:]
        whole = below.shape[2] if ended else below.shape[2] // step * step
        if whole:
            done.append(_sums(below[:, :, :whole], 2, step))
        if whole < below.shape[2]:
            above.copy_(_sums(below[:, :, whole:], 2, step))
        if done:
            first = box.y0 // step
            total = torch.cat(done, dim=2)
            place = Box(first, column, first + total.shape[2], column + width)
            yield place, total / self._counts(place).to(total)

    def _counts(self, place: Box) -> Tensor:
        """Map px (y, x) in each block of a box of stored px."""
        counts = []
        for span, step, size in zip(place.spans, self._factor, self._part.shape, strict=True):
            starts = torch.arange(span.start, span.stop) * step
            counts.append((starts + step).clamp(max=size) - starts)
        return counts[0][:, None] * counts[1][None]


def _sums(values: Tensor, axis: int, count: int) -> Tensor:
    """Sums of ``count`` neighbours along an axis, in order; the last may be of fewer."""
    index: list[slice] = [slice(None)] * values.ndim
    index[axis] = slice(0, None, count)
    total = values[tuple(index)].clone()
    for place in range(1, min(count, values.shape[axis])):
        index[axis] = slice(place, None, count)
        part = values[tuple(index)]
        total.narrow(axis, 0, part.shape[axis]).add_(part)
    return total
