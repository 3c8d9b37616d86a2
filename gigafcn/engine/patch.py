"""Patch: the scores of each window become one px of the map."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gigafcn.geometry import Box

if TYPE_CHECKING:
    from gigafcn.engine.scores import Sink


class Patch:
    """Gathers the rows of one tile."""

    def __init__(self, tile: Box, sink: Sink) -> None:
        self._tile = tile
        self._sink = sink
        self._line: Tensor | None = None

    def add(self, row: int, columns: range, outputs: Tensor) -> None:
        """Place a batch (b, c, 1, 1) of a row of windows."""
        if self._line is None:
            shape = (1, outputs.shape[1], 1, self._tile.x.size)
            self._line = torch.empty(shape, dtype=outputs.dtype, device=outputs.device)
        first, stop = max(columns.start, self._tile.x0), min(columns.stop, self._tile.x1)
        scores = outputs[first - columns.start : stop - columns.start, :, 0, 0]
        self._line[0, :, 0, first - self._tile.x0 : stop - self._tile.x0] = scores.T

    def end_row(self, row: int) -> None:
        """Hand on a finished row."""
        assert self._line is not None
        self._sink.put(Box(row, self._tile.x0, row + 1, self._tile.x1), self._line)
