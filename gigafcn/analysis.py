"""Is tiling this model exact, what halo does it take, and which layer stands in the way?

:func:`analyze` traces the module at a small size, composes the rules' needs backward from output
pixels and reports the worst over all output phases.  It computes no pixel.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cached_property
from typing import TYPE_CHECKING

from gigafcn.errors import ModelError, NonLocalError
from gigafcn.geometry import Box
from gigafcn.graph.calls import refuse_drawn
from gigafcn.graph.halos import halo
from gigafcn.graph.locality import compared, growing
from gigafcn.graph.model_graph import Blocker, ModelGraph
from gigafcn.graph.programs import Programs
from gigafcn.graph.reach import (
    Halo,
    far_from_borders,
    layer_footprints,
    lost_margin,
    output_period,
)
from gigafcn.graph.sizing import carried_scales, sizing, uneven_graphs
from gigafcn.graph.strides import node_strides, period, shift_invariant
from gigafcn.graph.trace import Trace, TracedProgram, trace
from gigafcn.plan.sweep_plan import plan_sweep

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import nn

FAR_PX = 4096
"""Of the largest image whose every px is looked at for the halo; another size shows the same."""

INSPECTED_STRIP = 64
"""Strip height, in output px, for which carried rows are reported."""


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
    """Input px (y, x) to whose multiples images are padded; (1, 1) if there is none."""

    shift_invariant: bool
    """False with align_corners or fractional resizes."""

    lost: tuple[int, int]
    """Input px (y, x) by which the map is smaller than the image; 0 when the net keeps the size."""

    graph: ModelGraph | None = field(compare=False)
    module: nn.Module = field(compare=False)
    channels: int = 3

    outputs: tuple[tuple[str, tuple[int, ...]], ...] = ()
    """Name and shape, at the traced size, of every image-dependent tensor the model returns."""

    output: str = ""
    """Name of the output that this is the footprint of."""

    only: tuple[int, int] | None = None
    """The one image size (y, x) in px that the model takes, if it took none of the others tried:
    that it is local is then said of this size alone."""

    others: tuple[ModelGraph, ...] = field(default=(), compare=False)
    """Graphs at other image sizes, with which this one was compared: what a model does must not
    grow with the image."""

    no_period: str = ""
    """Why images cannot be padded to a period, so that the model runs on the image itself."""

    pads_itself: bool = False
    """Whether it pads images on both sides by amounts that depend on their size, and cuts that off:
    such a model runs on the image itself too."""

    of_image: bool = field(default=False, compare=False)
    """Whether the graph is for the size of one image that is mapped, and not any."""

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
        """(top, bottom, left, right) input px, the most of all places; zeros if not local.

        For output px j with input cell ``[floor(j * stride), ceil((j + 1) * stride))`` the most of
        ``cell.start - need.start`` and of ``need.stop - cell.stop``, over one period far from the
        borders; where a model is not the same at every position (aligned corners, uneven resizes)
        or mirrors its borders, over every px of an image that is larger than two footprints; and
        where it has no period, of images some px larger too.  Output px that read nothing count
        for none.
        """
        return self._halo(aligned=False)

    @cached_property
    def halo_aligned(self) -> Halo:
        """The same for a tile of whole periods."""
        return self._halo(aligned=True)

    def _halo(self, *, aligned: bool) -> Halo:
        graphs = () if self.graph is None else (self._far_graph, *self._uneven_graphs)
        return halo(graphs, self.stride, aligned=aligned) if graphs else (0, 0, 0, 0)

    @cached_property
    def _uneven_graphs(self) -> tuple[ModelGraph, ...]:
        """Graphs at sizes that round otherwise, of a model without a period and of no one image."""
        if not self.no_period or self.of_image or self.graph is None:
            return ()
        programs = Programs(self.module, self.channels)
        return uneven_graphs(programs, self.graph, self.output, self.stride)

    @cached_property
    def _far_graph(self) -> ModelGraph:
        """The graph at a size whose middle pixels see no border."""
        assert self.graph is not None
        return far_from_borders(self.graph)

    def at(self, graph: ModelGraph) -> Footprint:
        """The same model at the size of an image, where it must do what it does at others.

        Raises
        ------
        NonLocalError
            If it does not.
        """
        scales = None if self.graph is None else self.graph.scales
        # Perhaps only because sizes of another remainder round otherwise.
        if blockers := growing((graph, *self.others)):
            found = compared(Programs(self.module, self.channels), graph, self.output)
            blockers = () if found.others else found.blockers or blockers
        replace(self, blockers=blockers).require_local()
        if scales is not None:
            graph = replace(graph, scales=carried_scales(scales, graph, self.stride))
        return replace(self, graph=graph, of_image=True)

    def need(self, box: Sequence[int], image_shape: tuple[int, int]) -> Box:
        """Input box (y0, x0, y1, x1) that an output box depends on, clipped to the image.

        Raises
        ------
        NonLocalError
            If the model is not local.
        """
        self.require_local()
        padded = tuple(-(-n // p) * p for n, p in zip(image_shape, self.period, strict=True))
        padded = image_shape if self.pads_itself else padded
        if padded == image_shape and self.graph is not None and self.graph.size == padded:
            return self.graph.need_box(Box(*box)).clip(image_shape)
        graph = trace(self.module, self.channels, (padded[0], padded[1]), self.output).graph
        assert graph is not None
        self.at(graph)
        return graph.need_box(Box(*box)).clip(image_shape)

    def require_local(self) -> None:
        """Raise :class:`NonLocalError`, naming the blockers, if tiling cannot be exact."""
        refuse_drawn(type(self.module).__name__, self.blockers)
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
        return () if self.graph is None else _layer_rows(self._far_graph)

    def __repr__(self) -> str:
        """What there is to know at a glance."""
        if self.blockers:
            return f"Footprint(local=False, blockers={[str(b) for b in self.blockers]})"
        stride = tuple(str(s) for s in self.stride)
        return (
            f"Footprint(local=True, halo={self.halo}, halo_aligned={self.halo_aligned}, "
            f"stride={stride}, period={self.period}, shift_invariant={self.shift_invariant})"
        )


def analyze(
    module: nn.Module,
    channels: int = 3,
    size: int | None = None,
    output: str | int | None = None,
) -> Footprint:
    """Find out whether tiling a model is exact and what it takes.

    Parameters
    ----------
    module
        Maps (b, channels, y, x) to (b, c, y', x'), or to several such tensors. Switched to eval
        mode if it is not.
    channels
        Input channels.
    size
        Image size in px to trace; None tries 256, 224, 64, 512, 572 and 480
        and reports which.
    output
        Name or index of the output that is the map, for models that return several: "1", "out",
        "heads.nuclei"; None decides by their names, and "out" beside "aux" is the map.

    Returns
    -------
    Footprint
        With ``blockers`` naming layer, op and reason if tiling cannot be exact.

    Raises
    ------
    ModelError
        If the module cannot be exported at any of the sizes, or does not return such a map.
    QuestionError
        If several outputs may be the map.

    Examples
    --------
    >>> import torch
    >>> net = torch.nn.Conv2d(3, 8, kernel_size=5, padding=2)
    >>> analyze(net).halo
    (2, 2, 2, 2)
    """
    programs = Programs(module, channels)
    return _footprint(programs, programs.first(size), output)


def analyze_at(
    programs: Programs, size: tuple[int, int], output: str | int | None = None
) -> Footprint:
    """Analyse a model at a size that its run will need a trace of anyway.

    Parameters
    ----------
    programs
        Of the module, which keep what is traced here.
    size
        (y, x) in px; if the module does not take it, those of :func:`analyze` are tried.
    output
        See :func:`analyze`.

    Raises
    ------
    ModelError
        See :func:`analyze`.
    """
    try:
        program = programs.at(size)
    except ModelError:
        program = programs.first(None)
    return _footprint(programs, program, output)


def analyze_outputs(
    module: nn.Module, channels: int = 3, size: int | None = None
) -> tuple[Footprint, ...]:
    """Analyse every output of a model, tracing it once.

    An output that is no map (b, c, y, x) has that as its blocker.  Parameters are those of
    :func:`analyze`.

    Raises
    ------
    ModelError
        If the module cannot be exported at any of the sizes, or returns no tensor that depends on
        the image.
    """
    programs = Programs(module, channels)
    program = programs.first(size)
    names = [output.name for output in program.built.outputs]
    if not names:
        program.choose()
    return tuple(_footprint_or_reason(programs, program, name) for name in names)


def _footprint(programs: Programs, program: TracedProgram, output: str | int | None) -> Footprint:
    found = program.steady(output)
    if found.graph is None:
        return _blocked(programs, program, found)
    sizes = sizing(programs, found.graph, found.output)
    if sizes.blockers:
        return _blocked(programs, program, replace(found, graph=None, blockers=sizes.blockers))
    graph = sizes.graph
    strides = [node_strides(graph, axis)[graph.output] for axis in (0, 1)]
    return Footprint(
        blockers=(),
        size=program.size[0],
        stride=(strides[0], strides[1]),
        period=(period(graph, 0), period(graph, 1)),
        shift_invariant=not sizes.no_period and shift_invariant(graph),
        lost=(lost_margin(graph, 0), lost_margin(graph, 1)),
        graph=graph,
        module=programs.module,
        channels=programs.channels,
        outputs=found.outputs,
        output=found.output,
        only=sizes.compared.only,
        others=sizes.compared.others,
        no_period=sizes.no_period,
        pads_itself=sizes.pads_itself,
    )


def _blocked(programs: Programs, program: TracedProgram, found: Trace) -> Footprint:
    one = Fraction(1)
    return Footprint(
        blockers=found.blockers,
        size=program.size[0],
        stride=(one, one),
        period=(1, 1),
        shift_invariant=True,
        lost=(0, 0),
        graph=None,
        module=programs.module,
        channels=programs.channels,
        outputs=found.outputs,
        output=found.output,
    )


def _footprint_or_reason(programs: Programs, program: TracedProgram, name: str) -> Footprint:
    """Footprint of an output; one that is no map says so."""
    try:
        return _footprint(programs, program, name)
    except ModelError as error:
        outputs = tuple((o.name, o.value.shape) for o in program.built.outputs)
        blocker = Blocker("", "output", str(error))
        return _blocked(programs, program, Trace(None, (blocker,), outputs, name))


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
    footprints = layer_footprints(graph)
    return tuple(
        LayerRow(
            layer=node.layer,
            op=_plain_name(node.op),
            kernel=getattr(node.rule, "kernel", None),
            stride=(strides[0][index], strides[1][index]),
            footprint=footprints[index],
            carried_rows=plan.rows[index].largest_carry,
        )
        for index, node in enumerate(graph.nodes)
        if index > 0
    )
