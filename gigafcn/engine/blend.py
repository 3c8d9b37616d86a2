"""Blend: a weighted mean of overlapping windows, summed in the rows that are in flight.

What is blended is the model's own output; activation comes after, as with MONAI's
``sliding_window_inference(..., predictor=model)``.  Each px sums its windows in reading order,
however the map is cut into tiles.  Sums exist for one row of windows at a time: rows that no later
row of windows reaches are divided by their weights, handed on and dropped.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from gigafcn.geometry import Box, Span

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gigafcn.engine.scores import Sink
    from gigafcn.plan.windows import Windows

SIGMA = 0.125
"""Standard deviation of gaussian weights, in windows."""

LEAST_WEIGHT = 1e-3
"""Weights are at least this, or the least of them if that is more."""

WIDTH_PX = 1024
"""Map px handed on at once, per row: what follows then stays in the cache."""


def gaussian_weights(windows: Windows, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Weights (1, 1, y, x) of a window's map px, those of MONAI's ``compute_importance_map``."""
    lines = []
    for size in windows.size:
        place = torch.arange(size, dtype=torch.float32) - (size - 1) / 2
        lines.append(torch.exp(place**2 / (-2 * (SIGMA * size) ** 2)))
    weights = lines[0][:, None] * lines[1][None, :]
    weights = weights.clamp(min=max(float(weights.min()), LEAST_WEIGHT))[None, None].to(dtype)
    if windows.cell != windows.size:
        weights = functional.interpolate(weights, windows.cell, mode="nearest-exact")
    return weights.to(device)


class Blend:
    """Sums the windows of one tile."""

    def __init__(self, windows: Windows, tile: Box, sink: Sink) -> None:
        self._windows = windows
        self._tile = tile
        self._sink = sink
        self._rows = windows.touching(0, tile.y)
        self._top = windows.place(0, self._rows[0]).start
        """Map row of the first row of sums."""

        self._sums: Tensor | None = None
        self._weights: Tensor | None = None
        """Of one window; None if all are 1."""

        self._totals: Tensor | None = None
        """Sum of weights so far; None if weights are 1: then windows are counted."""

        self._counts = tuple(windows.coverage(axis, tile.spans[axis]) for axis in (0, 1))

    def add(self, row: int, columns: Sequence[int], outputs: Tensor) -> None:
        """Add a batch (b, c, y, x) of a row of windows."""
        if self._sums is None:
            self._open(outputs)
        assert self._sums is not None
        for output, column in zip(outputs, columns, strict=True):
            place = Box.of(self._windows.place(0, row), self._windows.place(1, column))
            part = place.intersect(self._tile)
            if part.is_empty:
                continue
            rows, across = part.relative_to(place)
            sums = (slice(None), slice(None), *part.relative_to(self._corner))
            piece = output[None, :, rows, across].to(self._sums.dtype)
            if self._weights is not None and self._totals is not None:
                weights = self._weights[:, :, rows, across]
                piece = piece * weights
                self._totals[sums] += weights
            self._sums[sums] += piece

    def end_row(self, row: int) -> None:
        """Hand on what no later row of windows reaches."""
        last = row + 1 >= self._rows.stop
        top = self._tile.y1 if last else self._windows.place(0, row + 1).start
        done = Span(self._top, top).intersect(self._tile.y)
        for start in range(self._tile.x0, self._tile.x1, WIDTH_PX):
            columns = Span(start, min(start + WIDTH_PX, self._tile.x1))
            if not done.is_empty:
                self._emit(Box.of(done, columns))
        if not last:
            for sums in (self._sums, self._totals):
                _shift_up(sums, top - self._top)
            self._top = top

    @property
    def _corner(self) -> Box:
        """Where the sums begin."""
        return Box(self._top, self._tile.x0, self._top, self._tile.x0)

    def _open(self, outputs: Tensor) -> None:
        real = torch.float64 if outputs.dtype == torch.float64 else torch.float32
        last = outputs.is_contiguous(memory_format=torch.channels_last)
        layout = torch.channels_last if last else torch.contiguous_format
        shape = (1, outputs.shape[1], self._windows.cell[0], self._tile.x.size)
        empty = torch.empty(shape, dtype=real, device=outputs.device, memory_format=layout)
        self._sums = empty.zero_()
        if self._windows.weights == "gaussian":
            self._weights = gaussian_weights(self._windows, outputs.device, real)
            self._totals = torch.zeros((1, 1, *shape[2:]), dtype=real, device=outputs.device)

    def _emit(self, box: Box) -> None:
        assert self._sums is not None
        where = (slice(None), slice(None), *box.relative_to(self._corner))
        sums = self._sums[where]
        if self._totals is not None:
            sums /= self._totals[where]
        else:
            rows, columns = box.relative_to(self._tile)
            counts = np.multiply.outer(self._counts[0][rows], self._counts[1][columns])
            if counts.max() > 1:
                sums /= torch.from_numpy(counts).to(sums)
        self._sink.put(box, sums)


def _shift_up(sums: Tensor | None, rows: int) -> None:
    """Drop the first rows, move the others up, zeros below."""
    if sums is None or rows == 0:
        return
    kept = max(0, sums.shape[2] - rows)
    sums[:, :, :kept] = sums[:, :, rows:].clone()
    sums[:, :, kept:] = 0
