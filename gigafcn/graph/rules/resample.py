"""Rules of resizes: the indices and weights that torch itself computes, in global coordinates.

torch finds the source coordinate of an output pixel in floating point: float32 for nearest, and
for bilinear the tensor's own precision (float32 for the half types).  The exact rational
coordinate is something else (it differs by up to 1e-2 px at 100 000 px), so the same arithmetic
is done here on global positions.  A tile that resized its own crop could not do that, which is
why fractional ratios and ``align_corners=True`` are exact here.

Source of the formulas: ``aten/src/ATen/native/UpSample.h`` (``area_pixel_compute_scale``,
``area_pixel_compute_source_index``, ``nearest_idx``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from gigafcn.geometry import EMPTY, Box, Span
from gigafcn.graph.rules.registry import (
    IMAGE_AXES,
    Blocked,
    Built,
    OpCall,
    register,
    window_of,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

aten = torch.ops.aten
Pair = tuple[int, int]
Scales = tuple[float | None, float | None]
"""Scale factors (y, x) as given by the model, None where a size was given instead."""

if TYPE_CHECKING:
    Reads = tuple[NDArray[np.int64], NDArray[np.int64]]
    """Of each output position within the tensor: the first input position, and the one after the
    last, that it reads."""

EXACT_FLOAT32 = 1 << 22
"""Below this output position, half-pixel coordinates of a power-of-two resize are exact."""


@dataclass(frozen=True, slots=True)
class Nearest:
    """upsample_nearest2d: output o copies input floor(o * scale), computed in float32."""

    scales: Scales
    grid: Pair
    """Input size (y, x)."""

    out_grid: Pair
    """Output size (y, x)."""

    half_pixel: bool
    """Whether this is "nearest-exact": floor((o + 0.5) * scale)."""

    def sources(self, out: Span, axis: int) -> NDArray[np.int64]:
        """Input position of each output position."""
        size, out_size, given = self.grid[axis], self.out_grid[axis], self.scales[axis]
        position = np.arange(out.start, out.stop, dtype=np.int64)
        # Short cuts that torch takes too; nearest-exact follows a given scale even here.
        if out_size == size and not (self.half_pixel and given):
            return position
        if out_size == 2 * size and not self.half_pixel:
            halved: NDArray[np.int64] = position // 2
            return halved
        scale = np.float32(1.0 / given) if given else np.float32(size) / np.float32(out_size)
        offset = np.float32(0.5 if self.half_pixel else 0.0)
        index = np.floor((position.astype(np.float32) + offset) * scale).astype(np.int64)
        clipped: NDArray[np.int64] = np.minimum(index, size - 1)
        return clipped

    def reads(self, out: Span, axis: int) -> Reads:
        """See :data:`Reads`."""
        sources = self.sources(out, axis)
        return sources, sources + 1

    def need(self, out: Span, axis: int) -> Span:
        """See :class:`Rule`."""
        ends = _ends(out, self.out_grid[axis], self.grid[axis])
        if isinstance(ends, Span):
            return ends
        first = self.sources(ends[0], axis)[0]
        return Span(int(first), int(self.sources(ends[1], axis)[0]) + 1)

    def run(self, inputs: Sequence[Tensor], boxes: Sequence[Box], out: Box) -> Tensor:
        """See :class:`Rule`."""
        source = Box.of(self.need(out.y, 0), self.need(out.x, 1))
        tensor = window_of(inputs[0], boxes[0], source)
        if all(o == 2 * n for o, n in zip(self.out_grid, self.grid, strict=True)):
            doubled = functional.interpolate(tensor, scale_factor=2.0, mode="nearest")
            return window_of(doubled, Box(*(2 * edge for edge in source)), out)
        for axis, label in enumerate(("y", "x")):
            index = self.sources(out.spans[axis], axis) - source.spans[axis].start
            dim = IMAGE_AXES.index(label)
            tensor = tensor.index_select(dim, torch.from_numpy(index).to(tensor.device))
        return tensor


@dataclass(frozen=True, slots=True)
class Bilinear:
    """upsample_bilinear2d: two neighbours per axis, weighted by torch's own coordinate."""

    scales: Scales
    grid: Pair
    out_grid: Pair
    align_corners: bool
    precision: Tensor
    """An empty tensor of the computing dtype: coordinates are in double for double, else float."""

    def _sources(
        self, out: Span, axis: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[Any]]:
        """Lower neighbour, upper neighbour and the upper one's weight, per output position."""
        real = np.float64 if self.precision.dtype == torch.float64 else np.float32
        size, out_size, given = self.grid[axis], self.out_grid[axis], self.scales[axis]
        position = np.arange(out.start, out.stop, dtype=np.int64)
        if out_size == size:
            return position, position, np.zeros(len(position), real)
        coordinate = self._coordinate(position, axis, real, given)
        lower = np.clip(np.floor(coordinate).astype(np.int64), 0, size - 1)
        upper = np.minimum(lower + 1, size - 1)
        weight = np.clip(coordinate - lower.astype(real), 0, 1).astype(real)
        return lower, upper, weight

    def _coordinate(
        self, position: NDArray[np.int64], axis: int, real: type, given: float | None
    ) -> NDArray[Any]:
        size, out_size = self.grid[axis], self.out_grid[axis]
        if self.align_corners:
            scale = real(size - 1) / real(out_size - 1) if out_size > 1 else real(0)
            aligned: NDArray[Any] = scale * position.astype(real)
            return aligned
        scale = real(1.0 / given) if given else real(size) / real(out_size)
        # One rounding at the end, as a fused multiply-subtract: a float32 product is exact in
        # double.  In double the two roundings stand, as they may in torch.
        exact = np.float64(scale) * (position.astype(np.float64) + 0.5) - 0.5
        clamped: NDArray[Any] = np.maximum(exact.astype(real), real(0))
        return clamped

    def reads(self, out: Span, axis: int) -> Reads:
        """See :data:`Reads`."""
        lower, upper, _ = self._sources(out, axis)
        return lower, upper + 1

    def need(self, out: Span, axis: int) -> Span:
        """See :class:`Rule`."""
        ends = _ends(out, self.out_grid[axis], self.grid[axis])
        if isinstance(ends, Span):
            return ends
        lower, _, _ = self._sources(ends[0], axis)
        _, upper, _ = self._sources(ends[1], axis)
        return Span(int(lower[0]), int(upper[0]) + 1)

    def run(self, inputs: Sequence[Tensor], boxes: Sequence[Box], out: Box) -> Tensor:
        """See :class:`Rule`."""
        source = Box.of(self.need(out.y, 0), self.need(out.x, 1))
        tensor = window_of(inputs[0], boxes[0], source)
        factor = self._power_of_two(out)
        if factor:
            scaled = functional.interpolate(
                tensor, scale_factor=[float(f) for f in factor], mode="bilinear"
            )
            origin = Box(source.y0 * factor[0], source.x0 * factor[1], 0, 0)
            rows, columns = out.relative_to(origin)
            return scaled[:, :, rows, columns]
        for axis, label in enumerate(("y", "x")):
            tensor = self._blend(tensor, out.spans[axis], source.spans[axis].start, axis, label)
        return tensor

    def _power_of_two(self, out: Box) -> Pair | None:
        """The factors (y, x) if torch's own resize of a crop has the global weights."""
        if self.align_corners or max(out) > EXACT_FLOAT32:
            return None
        factors = []
        for size, out_size, given in zip(self.grid, self.out_grid, self.scales, strict=True):
            factor = out_size // size
            exact = out_size == factor * size and (given is None or given == factor)
            if not exact or factor & (factor - 1):
                return None
            factors.append(factor)
        return factors[0], factors[1]

    def _blend(self, tensor: Tensor, out: Span, origin: int, axis: int, label: str) -> Tensor:
        lower, upper, weight = self._sources(out, axis)
        dim = IMAGE_AXES.index(label)
        device = tensor.device
        low = tensor.index_select(dim, torch.from_numpy(lower - origin).to(device))
        high = tensor.index_select(dim, torch.from_numpy(upper - origin).to(device))
        shape = [-1 if d == dim else 1 for d in range(4)]
        share = torch.from_numpy(weight).to(device, tensor.dtype).view(shape)
        return low * (1 - share) + high * share


def _ends(out: Span, out_size: int, size: int) -> tuple[Span, Span] | Span:
    """First and last output position, whose sources bound the need.

    Positions outside the tensor have no sources; for those the need is the rational image of the
    span, one pixel wider, so that composing needs as if there were no edges stays literal.
    """
    if out.is_empty:
        return EMPTY
    if out.start < 0 or out.stop > out_size:
        return Span(out.start * size // out_size - 1, -(-out.stop * size // out_size) + 1)
    return Span(out.start, out.start + 1), Span(out.stop - 1, out.stop)


def scales_of(call: OpCall) -> Scales:
    """Scale factors (y, x) as the model gives them."""
    factors = call.arguments.get("scale_factors")
    return (factors[0], factors[1]) if factors else (None, None)


def grids_of(call: OpCall) -> tuple[Pair, Pair]:
    """Sizes (y, x) before and after."""
    return call.image("input").grid, (call.shape[2], call.shape[3])


@register(aten.upsample_nearest2d.vec, aten._upsample_nearest_exact2d.vec)
def _nearest(call: OpCall) -> Built:
    grid, out_grid = grids_of(call)
    half_pixel = call.target == aten._upsample_nearest_exact2d.vec
    for size, out_size, given in zip(grid, out_grid, scales_of(call), strict=True):
        if not half_pixel and given and out_size in (size, 2 * size) and given * size != out_size:
            raise Blocked(
                f"resizes {size} to {out_size} px by a factor of {given}: which pixels torch "
                f"picks then depends on the memory layout"
            )
    rule = Nearest(scales_of(call), grid, out_grid, half_pixel)
    return Built(rule, (call.image("input"),), IMAGE_AXES)


@register(aten.upsample_bilinear2d.vec)
def _bilinear(call: OpCall) -> Built:
    grid, out_grid = grids_of(call)
    aligned = call.arguments["align_corners"]
    rule = Bilinear(scales_of(call), grid, out_grid, aligned, torch.empty(0))
    return Built(rule, (call.image("input"),), IMAGE_AXES)
