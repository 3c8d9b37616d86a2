"""Patch: the scores of each window become one px of the map; windows may be left out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from gigafcn.geometry import Box

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gigafcn.engine.scores import MarkingSink


class Patch:
    """Gathers the rows of one tile.

    Parameters
    ----------
    empty
        A line (1, c, 1, x) of no scores.
    """

    def __init__(self, tile: Box, sink: MarkingSink, empty: Tensor) -> None:
        self._tile = tile
        self._sink = sink
        self._line = empty
        self._left_out = np.ones((1, tile.x.size), bool)

    def add(self, row: int, columns: Sequence[int], outputs: Tensor) -> None:
        """Place a batch (b, c, 1, 1) of a row of windows."""
        if outputs.dtype != self._line.dtype:
            self._line = self._line.to(outputs.dtype)
        inside = [n for n, x in enumerate(columns) if self._tile.x0 <= x < self._tile.x1]
        if not inside:
            return
        first = columns[inside[0]] - self._tile.x0
        places = [columns[n] - self._tile.x0 for n in inside]
        scores = outputs[inside[0] : inside[-1] + 1, :, 0, 0].T
        if len(places) == places[-1] - first + 1:
            self._line[0, :, 0, first : places[-1] + 1] = scores
        else:
            self._line[0, :, 0, torch.tensor(places, device=scores.device)] = scores
        self._left_out[0, places] = False

    def end_row(self, row: int) -> None:
        """Hand on a finished row."""
        place = Box(row, self._tile.x0, row + 1, self._tile.x1)
        if self._left_out.any():
            # A copy, for a device may still read the line when the next row is begun.
            self._sink.put(place, self._line.clone(), self._left_out.copy())
            self._line.zero_()
            self._left_out[:] = True
        else:
            self._sink.put(place, self._line)
            self._left_out[:] = True
