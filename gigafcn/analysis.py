"""Is tiling this model exact, what halo does it take, and which layer stands in the way?

:func:`analyze` traces the module at a small size, composes the rules' needs backward from output
pixels and reports the worst over all output phases.  It computes no pixel.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cached_property
from typing import TYPE_CHECKING

from gigafcn.errors import ModelError, NonLocalError
from gigafcn.geometry import Box, Span
from gigafcn.graph.model_graph import Blocker, ModelGraph
from gigafcn.graph.strides import node_strides, period, shift_invariant
from gigafcn.graph.trace import Trace, trace
from gigafcn.plan.sweep_plan import plan_sweep

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import nn

log = logging.getLogger(__name__)

SIZES = (256, 224, 64, 512, 572, 480)
"""Image sizes tried, in px, when none is given; the last is a multiple of 3 and 5."""

MAX_SIZE = 1 << 20
"""Largest size, in px, traced to find a halo."""

INSPECTED_STRIP = 64
"""Strip height, in output px, for which carried rows are reported."""

Halo = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class LayerRow:
    """One line of ``gigafcn inspect``."""

    layer: str
    op: str
    kernel: tuple[int, int] | None
    """(y, x); None where an op has none."""

    stride: tuple[Fraction, Fraction]
    """Image px per px of this tensor (y, x)."""

    footprint: tuple[int, int]
    """Image px (y, x) that one pixel of this tensor depends on."""

    carried_rows: int
    """Rows of this tensor kept between strips of 64 output px."""


@dataclass(frozen=True, repr=False)
class Footprint:
    """What a model's output depends on; the answer of :func:`analyze`."""

    blockers: tuple[Blocker, ...]
    """Why tiling cannot be exact: layer, op and reason; empty when it can."""

    size: int
    """Image size in px that was traced."""

    stride: tuple[Fraction, Fraction]
    """Input px per output px (y, x)."""

    period: tuple[int, int]
    """Input px (y, x) to whose multiples images are padded."""

    shift_invariant: bool
    """False with align_corners or fractional resizes."""

    lost: tuple[int, int]
    """Input px (y, x) by which the map is smaller than the image; 0 when the net keeps the size."""

    graph: ModelGraph | None = field(compare=False)
    module: nn.Module = field(compare=False)
    channels: int = 3

    @property
    def local(self) -> bool:
        """Whether exact tiling is possible."""
        return not self.blockers

    @property
    def output_period(self) -> tuple[int, int]:
        """Map px (y, x) after which the pattern of needs repeats; 1 if not local."""
        if self.graph is None:
            return 1, 1
        return output_period(self.graph, 0), output_period(self.graph, 1)

    @cached_property
    def halo(self) -> Halo:
        """(top, bottom, left, right) input px, worst over the output phases; zeros if not local."""
        return self._halo(aligned=False)

    @cached_property
    def halo_aligned(self) -> Halo:
        """The same for a tile of whole periods."""
        return self._halo(aligned=True)

    def _halo(self, *, aligned: bool) -> Halo:
        if self.graph is None:
            return 0, 0, 0, 0
        graph = self._far_graph
        return *_halo(graph, 0, aligned=aligned), *_halo(graph, 1, aligned=aligned)

    @cached_property
    def _far_graph(self) -> ModelGraph:
        """The graph at a size whose middle pixels see no border."""
        assert self.graph is not None
        return _far_from_borders(self.module, self.channels, self.graph)

    def at(self, graph: ModelGraph) -> Footprint:
        """The same model traced at another, usually larger, size."""
        return replace(self, graph=graph)

    def need(self, box: Sequence[int], image_shape: tuple[int, int]) -> Box:
        """Input box (y0, x0, y1, x1) that an output box depends on, clipped to the image.

        Raises
        ------
        NonLocalError
            If the model is not local.
        """
        self.require_local()
        padded = tuple(-(-n // p) * p for n, p in zip(image_shape, self.period, strict=True))
        graph = trace(self.module, self.channels, (padded[0], padded[1])).graph
        assert graph is not None
        return graph.need_box(Box(*box)).clip(image_shape)

    def require_local(self) -> None:
        """Raise :class:`NonLocalError`, naming the blockers, if tiling cannot be exact."""
        if self.blockers:
            first = "; ".join(str(blocker) for blocker in self.blockers[:3])
            more = f" (and {len(self.blockers) - 3} more)" if len(self.blockers) > 3 else ""
            raise NonLocalError(
                f"tiling this model cannot be exact: {first}{more}; replace what needs the whole "
                f"image (batch norm, for one, is local), or run the module itself on images that "
                f"fit in memory"
            )

    @property
    def layers(self) -> tuple[LayerRow, ...]:
        """A row per op, in order of execution."""
        if self.graph is None:
            return ()
        return _layer_rows(self._far_graph)

    def __repr__(self) -> str:
        """What there is to know at a glance."""
        if self.blockers:
            return f"Footprint(local=False, blockers={[str(b) for b in self.blockers]})"
        stride = tuple(str(s) for s in self.stride)
        return (
            f"Footprint(local=True, halo={self.halo}, halo_aligned={self.halo_aligned}, "
            f"stride={stride}, period={self.period}, shift_invariant={self.shift_invariant})"
        )


def analyze(module: nn.Module, channels: int = 3, size: int | None = None) -> Footprint:
    """Find out whether tiling a model is exact and what it takes.

    Parameters
    ----------
    module
        Maps (b, channels, y, x) to (b, c, y', x'). Analysed in eval mode.
    channels
        Input channels.
    size
        Image size in px to trace; None tries 256, 224, 64, 512, 572 and 480
        and reports which.

    Returns
    -------
    Footprint
        With ``blockers`` naming layer, op and reason if tiling cannot be exact.

    Raises
    ------
    ModelError
        If the module cannot be exported at any of the sizes.

    Examples
    --------
    >>> import torch
    >>> net = torch.nn.Conv2d(3, 8, kernel_size=5, padding=2)
    >>> analyze(net).halo
    (2, 2, 2, 2)
    """
    if module.training:
        log.info("%s was in training mode; it is analysed in eval mode", type(module).__name__)
        module.eval()
    found, traced_size = _first_trace(module, channels, size)
    if found.graph is None:
        return _blocked(module, channels, found.blockers, traced_size)
    graph = _aligned(module, channels, found.graph)
    strides = [node_strides(graph, axis)[graph.output] for axis in (0, 1)]
    return Footprint(
        blockers=(),
        size=traced_size,
        stride=(strides[0], strides[1]),
        period=(period(graph, 0), period(graph, 1)),
        shift_invariant=shift_invariant(graph),
        lost=(_lost(graph, 0), _lost(graph, 1)),
        graph=graph,
        module=module,
        channels=channels,
    )


def _blocked(
    module: nn.Module, channels: int, blockers: tuple[Blocker, ...], size: int
) -> Footprint:
    one = Fraction(1)
    return Footprint(blockers, size, (one, one), (1, 1), True, (0, 0), None, module, channels)


def _first_trace(module: nn.Module, channels: int, size: int | None) -> tuple[Trace, int]:
    """Trace at the first size that exports."""
    errors: list[ModelError] = []
    for candidate in SIZES if size is None else (size,):
        try:
            return trace(module, channels, (candidate, candidate)), candidate
        except ModelError as error:
            errors.append(error)
    raise errors[0]


def _retrace(module: nn.Module, channels: int, size: tuple[int, int]) -> ModelGraph | None:
    """Trace at another size; None if the model does not take it."""
    try:
        return trace(module, channels, size).graph
    except ModelError:
        return None


def _aligned(module: nn.Module, channels: int, graph: ModelGraph) -> ModelGraph:
    """The graph at a multiple of its period, where resizes to a size show their true ratio."""
    for sized in (False, True):
        periods = (period(graph, 0, sized=sized), period(graph, 1, sized=sized))
        if max(periods) > MAX_SIZE:
            break
        size = tuple(-(-n // p) * p for n, p in zip(graph.size, periods, strict=True))
        if size != graph.size:
            graph = _retrace(module, channels, (size[0], size[1])) or graph
    return graph


def _far_from_borders(module: nn.Module, channels: int, graph: ModelGraph) -> ModelGraph:
    """The graph at a size whose middle pixels see no border, if the model takes such a size."""
    for _ in range(3):
        extents = [_middle_need(graph, axis).size for axis in (0, 1)]
        if all(2 * e < n for e, n in zip(extents, graph.size, strict=True)):
            return graph
        periods = (period(graph, 0), period(graph, 1))
        size = tuple(
            -(-max(n, 3 * e) // p) * p for n, e, p in zip(graph.size, extents, periods, strict=True)
        )
        larger = _retrace(module, channels, (size[0], size[1])) if max(size) < MAX_SIZE else None
        if larger is None:
            return graph
        graph = larger
    return graph


def _middle(graph: ModelGraph, axis: int) -> tuple[int, int]:
    """First output position of a whole period in the middle, and that period's length."""
    length = output_period(graph, axis)
    return graph.result.grid[axis] // 2 // length * length, length


def output_period(graph: ModelGraph, axis: int) -> int:
    """Output px after which the pattern of needs repeats."""
    return max(1, int(period(graph, axis) / node_strides(graph, axis)[graph.output]))


def _middle_need(graph: ModelGraph, axis: int) -> Span:
    start, length = _middle(graph, axis)
    return graph.need(Span(start, start + length), axis, clip=False)


def _halo(graph: ModelGraph, axis: int, *, aligned: bool) -> tuple[int, int]:
    """Worst (before, after) margin of a pixel, or of a tile of one whole period."""
    stride = node_strides(graph, axis)[graph.output]
    start, length = _middle(graph, axis)
    starts = [start] if aligned else range(start, start + length)
    width = length if aligned else 1
    before, after = [], []
    for j in starts:
        need = graph.need(Span(j, j + width), axis, clip=False)
        cell_start = j * stride.numerator // stride.denominator
        cell_stop = -((-(j + width) * stride.numerator) // stride.denominator)
        before.append(cell_start - need.start)
        after.append(need.stop - cell_stop)
    return max(before), max(after)


def _lost(graph: ModelGraph, axis: int) -> int:
    """Input px by which the map falls short of the image, 0 for size-preserving nets."""
    stride = node_strides(graph, axis)[graph.output]
    size, out = graph.size[axis], graph.result.grid[axis]
    if out * stride == size:
        return 0
    used = graph.need(Span(0, out), axis).stop
    return int(used - out * stride)


def _plain_name(op: str) -> str:
    """An ATen overload by the name its users know."""
    name = op.removeprefix("aten.").split(".")[0]
    return "batch_norm" if "batch_norm" in name else name


def _layer_rows(graph: ModelGraph) -> tuple[LayerRow, ...]:
    strides = [node_strides(graph, axis) for axis in (0, 1)]
    output = Box.whole(graph.result.grid)
    periods = (output_period(graph, 0), output_period(graph, 1))
    plan = plan_sweep(
        graph.nodes, graph.output, output, strip=INSPECTED_STRIP, block=output.x1, period=periods
    )
    rows = []
    for index, node in enumerate(graph.nodes[1:], start=1):
        part = ModelGraph(graph.nodes[: index + 1], index, graph.size)
        footprint = [
            part.need(Span(n // 2, n // 2 + 1), axis, clip=False).size
            for axis, n in enumerate(node.grid)
        ]
        rows.append(
            LayerRow(
                layer=node.layer,
                op=_plain_name(node.op),
                kernel=getattr(node.rule, "kernel", None),
                stride=(strides[0][index], strides[1][index]),
                footprint=(footprint[0], footprint[1]),
                carried_rows=plan.rows[index].largest_carry,
            )
        )
    return tuple(rows)
