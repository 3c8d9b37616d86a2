"""Rules of resizes with several weighted taps: bicubic, and the antialiased forms.

As for bilinear, first taps and weights are those that torch computes: in the tensor's own
precision (float32 for the half types) from the global coordinate.  Bicubic repeats the edge;
antialiased filters are cut at the edge and their weights divided by their sum.

Source of the formulas: ``aten/src/ATen/native/cpu/UpSampleKernel.cpp`` (``HelperInterpCubic``,
``_compute_indices_weights_aa``) and ``UpSample.h``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from gigafcn.geometry import EMPTY, Box, Span
from gigafcn.graph.rules.registry import IMAGE_AXES, Built, OpCall, register, window_of
from gigafcn.graph.rules.resample import Scales, grids_of, scales_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from gigafcn.graph.rules.resample import Reads

aten = torch.ops.aten
Pair = tuple[int, int]

CUBIC = -0.75
"""torch's coefficient of the bicubic kernel."""

CUBIC_ANTIALIASED = -0.5
"""The same of the antialiased kernel, as in Pillow."""


@dataclass(frozen=True, slots=True)
class Taps:
    """For each output position: the first input position, how many there are, their weights."""

    first: NDArray[np.int64]
    """May lie before the edge; positions are clipped when read."""

    count: NDArray[np.int64]
    weights: NDArray[Any]
    """(positions, most taps); zero from ``count`` on."""


@dataclass(frozen=True, slots=True)
class TapResize:
    """upsample_bicubic2d, and bilinear or bicubic with antialias."""

    kind: str
    """ "linear" or "cubic"."""

    antialias: bool
    scales: Scales
    grid: Pair
    out_grid: Pair
    align_corners: bool
    precision: Tensor
    """An empty tensor of the computing dtype."""

    @property
    def _real(self) -> type[Any]:
        return np.float64 if self.precision.dtype == torch.float64 else np.float32

    def _scale(self, axis: int) -> Any:
        real, given = self._real, self.scales[axis]
        size, out_size = self.grid[axis], self.out_grid[axis]
        if self.align_corners:
            return real(size - 1) / real(out_size - 1) if out_size > 1 else real(0)
        return real(1.0 / given) if given else real(size) / real(out_size)

    def taps(self, out: Span, axis: int) -> Taps:
        """What torch reads for each output position, and with which weights."""
        position = np.arange(out.start, out.stop, dtype=np.int64)
        return (self._filtered if self.antialias else self._interpolated)(position, axis)

    def _interpolated(self, position: NDArray[np.int64], axis: int) -> Taps:
        real, scale = self._real, self._scale(axis)
        if self.align_corners:
            coordinate = scale * position.astype(real)
        else:
            # One rounding at the end, as a fused multiply-subtract.
            exact = np.float64(scale) * (position.astype(np.float64) + 0.5) - 0.5
            coordinate = exact.astype(real)
        lower = np.minimum(np.floor(coordinate).astype(np.int64), self.grid[axis] - 1)
        t = np.clip(coordinate - lower.astype(real), 0, 1).astype(real)
        near = [_cubic(np.abs(d).astype(real), CUBIC) for d in (t + 1, t, 1 - t, 2 - t)]
        return Taps(lower - 1, np.full_like(lower, 4), np.stack(near, axis=1))

    def _filtered(self, position: NDArray[np.int64], axis: int) -> Taps:
        real, scale = self._real, self._scale(axis)
        width = real(2 if self.kind == "linear" else 4)
        support = width * real(0.5) * max(scale, real(1))
        inverse = real(1) / scale if scale >= 1 else real(1)
        centre = scale * (position.astype(real) + real(0.5))
        start = (centre - support + real(0.5)).astype(np.int64)
        start = np.maximum(start, 0)
        stop = np.minimum((centre + support + real(0.5)).astype(np.int64), self.grid[axis])
        most = int(np.ceil(support)) * 2 + 1
        count = np.clip(stop - start, 0, most)
        j = np.arange(int(count.max()))[None, :]
        offset = (j + start[:, None]).astype(real) - centre[:, None] + real(0.5)
        weight = self._kernel(np.abs(offset * inverse).astype(real))
        weight = np.where(j < count[:, None], weight, real(0))
        total = weight.sum(axis=1, keepdims=True)
        return Taps(start, count, (weight / np.where(total == 0, 1, total)).astype(real))

    def _kernel(self, distance: NDArray[Any]) -> NDArray[Any]:
        if self.kind == "linear":
            triangle: NDArray[Any] = np.maximum(1 - distance, 0)
            return triangle
        return _cubic(distance, CUBIC_ANTIALIASED)

    def reads(self, out: Span, axis: int) -> Reads:
        """See :data:`gigafcn.graph.rules.resample.Reads`."""
        taps = self.taps(out, axis)
        return np.maximum(taps.first, 0), np.minimum(taps.first + taps.count, self.grid[axis])

    def need(self, out: Span, axis: int) -> Span:
        """See :class:`Rule`.

        Beyond the tensor the need is the rational image of the span and the filter's reach, so
        that composing needs as if there were no edges stays literal.
        """
        if out.is_empty:
            return EMPTY
        size, out_size = self.grid[axis], self.out_grid[axis]
        if out.start < 0 or out.stop > out_size:
            reach = 2 * max(1, -(-size // out_size)) + 1
            start, stop = out.start * size // out_size, -(-out.stop * size // out_size)
            return Span(start - reach, stop + reach)
        first = self.taps(Span(out.start, out.start + 1), axis)
        last = self.taps(Span(out.stop - 1, out.stop), axis)
        start, stop = int(first.first[0]), int(last.first[0] + last.count[0])
        return Span(max(start, 0), min(stop, size))

    def run(self, inputs: Sequence[Tensor], boxes: Sequence[Box], out: Box) -> Tensor:
        """See :class:`Rule`."""
        source = Box.of(self.need(out.y, 0), self.need(out.x, 1))
        tensor = window_of(inputs[0], boxes[0], source)
        for axis in (1, 0):  # torch filters rows first
            tensor = self._filter(tensor, out.spans[axis], source.spans[axis], axis)
        return tensor

    def _filter(self, tensor: Tensor, out: Span, source: Span, axis: int) -> Tensor:
        taps = self.taps(out, axis)
        dim = IMAGE_AXES.index("yx"[axis])
        result = None
        for j in range(taps.weights.shape[1]):
            index = np.clip(taps.first + j, 0, self.grid[axis] - 1)
            index = np.clip(index - source.start, 0, source.size - 1)  # taps of no weight
            part = tensor.index_select(dim, torch.from_numpy(index).to(tensor.device))
            weight = torch.from_numpy(np.ascontiguousarray(taps.weights[:, j]))
            shape = [-1 if d == dim else 1 for d in range(4)]
            part = part * weight.to(tensor.device, tensor.dtype).view(shape)
            result = part if result is None else result + part
        assert result is not None
        return result


def _cubic(distance: NDArray[Any], a: float) -> NDArray[Any]:
    """Keys' kernel: weight of a sample at a distance in px."""
    x = distance
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
    inner: NDArray[Any] = np.where(x < 1, near, np.where(x < 2, far, 0)).astype(distance.dtype)
    return inner


@register(aten.upsample_bicubic2d.vec)
def _bicubic(call: OpCall) -> Built:
    return _resize(call, "cubic", antialias=False)


@register(aten._upsample_bicubic2d_aa.vec)
def _bicubic_antialiased(call: OpCall) -> Built:
    return _resize(call, "cubic", antialias=True)


@register(aten._upsample_bilinear2d_aa.vec)
def _bilinear_antialiased(call: OpCall) -> Built:
    return _resize(call, "linear", antialias=True)


def _resize(call: OpCall, kind: str, *, antialias: bool) -> Built:
    grid, out_grid = grids_of(call)
    aligned = bool(call.arguments["align_corners"])
    rule = TapResize(kind, antialias, scales_of(call), grid, out_grid, aligned, torch.empty(0))
    return Built(rule, (call.image("input"),), IMAGE_AXES)
