"""What was asked for, checked against the slide and the model, as a complete plan.

Everything that can be refused is refused here, before any output exists.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from gigafcn.analysis import Footprint, analyze
from gigafcn.engine.pixels import PRECISIONS
from gigafcn.engine.reading import PaddedImage
from gigafcn.errors import UsageError
from gigafcn.model.loading import LoadedModel, load_model
from gigafcn.output.palette import colours_for
from gigafcn.output.spec import MapSpec
from gigafcn.plan.map_geometry import MapGeometry, map_geometry
from gigafcn.plan.planning import Demand, Layout, choose_layout
from gigafcn.plan.run_plan import RunPlan
from gigafcn.run import choices
from gigafcn.schedule.job import untouched_graph
from gigafcn.schedule.resources import available_memory, threads_per_worker
from gigafcn.slide.opening import Source, open_slide

if TYPE_CHECKING:
    from pathlib import Path

    from gigafcn.graph.model_graph import ModelGraph
    from gigafcn.run.options import Options
    from gigafcn.slide.protocol import Slide

log = logging.getLogger(__name__)

Pair = tuple[int, int]
MEMORY_SHARE = 0.5
"""Part of the free memory that a run takes unless told otherwise."""


@dataclass(frozen=True, slots=True)
class Request:
    """A run that can start."""

    slide: Slide
    model: LoadedModel
    footprint: Footprint
    plan: RunPlan
    layout: Layout
    demand: Demand
    image: PaddedImage
    mpp: tuple[float, float] | None
    """Micrometres (y, x) per level-0 px."""

    options: Options

    @property
    def graph(self) -> ModelGraph:
        """Traced for the padded image, as the module has it: nothing folded or placed."""
        assert self.footprint.graph is not None
        return self.footprint.graph


def prepare(source: Source, model: str | Path | nn.Module, options: Options) -> Request:
    """Open slide and model, analyse, plan.

    Raises
    ------
    SlideError
        If the slide cannot be opened or does not fit the model.
    ModelError
        If the model cannot be loaded, exported or tiled exactly.
    UsageError
        If an option cannot be carried out.
    """
    device = choices.device(options.device)
    slide = open_slide(source)
    try:
        return _prepared(slide, load_model(model, trust=options.trust), options, device)
    except BaseException:
        slide.close()
        raise


def _prepared(slide: Slide, model: LoadedModel, options: Options, device: str) -> Request:
    level = choices.level(slide, options.level)
    channels = choices.channels(slide, model, options.channels)
    footprint = analyze(model.module, len(channels))
    footprint.require_local()
    geometry = map_geometry(
        slide.levels[level].shape,
        period=footprint.period,
        stride=footprint.stride,
        lost=footprint.lost,
        used=_used(footprint),
        border=options.border,
    )
    period = footprint.output_period
    footprint = footprint.at(untouched_graph(model.module, len(channels), geometry))
    assert footprint.graph is not None
    activation, exclusive = choices.activation(model, footprint.graph, options.activation)
    workers = options.workers or 1
    demand = Demand(
        graph=footprint.graph,
        box=choices.map_part(slide, level, geometry, options.region),
        period=period,
        stride=footprint.stride,
        classes=footprint.graph.result.channels,
        dtype=choices.dtype(options.dtype, footprint.graph, activation),
        labels=exclusive and options.save == "both",
        item=torch.empty(0, dtype=PRECISIONS[options.precision]).element_size(),
        stored_bytes=slide.dtype.itemsize * slide.channels,
        weights=sum(p.numel() * p.element_size() for p in model.module.parameters()),
    )
    layout = choose_layout(
        demand,
        tile=options.tile,
        strip=options.strip,
        budget=(options.memory or int(available_memory() * MEMORY_SHARE)) // workers,
        workers=workers,
    )
    mpp = choices.mpp(slide, options.slide_mpp)
    chosen = _Chosen(level, channels, activation, device, mpp)
    plan = _plan(slide, model, options, geometry, demand, layout, chosen)
    image = PaddedImage(slide, level, channels, geometry)
    return Request(slide, model, footprint, plan, layout, demand, image, mpp, options)


@dataclass(frozen=True, slots=True)
class _Chosen:
    """Single choices that the plan takes over."""

    level: int
    channels: tuple[int, ...]
    activation: str
    device: str
    mpp: tuple[float, float] | None


def _plan(
    slide: Slide,
    model: LoadedModel,
    options: Options,
    geometry: MapGeometry,
    demand: Demand,
    layout: Layout,
    chosen: _Chosen,
) -> RunPlan:
    down = slide.levels[chosen.level].downsample
    mpp = None if chosen.mpp is None else (chosen.mpp[0] * down[0], chosen.mpp[1] * down[1])
    return RunPlan(
        geometry=geometry,
        spec=_spec(slide, model, options, demand, layout, geometry, mpp),
        box=demand.box,
        level=chosen.level,
        channels=chosen.channels,
        scaling=choices.scaling(slide, model, options, len(chosen.channels)),
        activation=chosen.activation,
        tile=layout.tile,
        strip=layout.strip,
        block=layout.block,
        period=demand.period,
        precision=options.precision,
        device=chosen.device,
        threads=threads_per_worker(options.workers or 1),
    )


def _used(footprint: Footprint) -> Pair:
    """One input size (y, x) that the model uses to the last pixel."""
    assert footprint.graph is not None
    sizes = [
        int(footprint.graph.result.grid[a] * footprint.stride[a]) + footprint.lost[a]
        for a in (0, 1)
    ]
    return sizes[0], sizes[1]


def _spec(
    slide: Slide,
    model: LoadedModel,
    options: Options,
    demand: Demand,
    layout: Layout,
    geometry: MapGeometry,
    mpp: tuple[float, float] | None,
) -> MapSpec:
    names = options.classes or model.classes or [f"class {i}" for i in range(demand.classes)]
    if len(names) != demand.classes:
        raise UsageError(
            f"{len(names)} class names for a model with {demand.classes} output channels: "
            f"{', '.join(names)}"
        )
    own_colours = model.colours if tuple(names) == model.classes else None
    offset = [
        float(geometry.offset[a] + demand.box.spans[a].start * geometry.stride[a]) for a in (0, 1)
    ]
    return MapSpec(
        shape=demand.box.shape,
        classes=tuple(names),
        colours=own_colours or colours_for(list(names)),
        dtype=demand.dtype,
        chunk=layout.chunk,
        shard=layout.shard,
        mpp=mpp,
        stride=geometry.stride,
        offset=(offset[0], offset[1]),
        labels=demand.labels,
        name=slide.name,
    )


def provenance(request: Request) -> dict[str, Any]:
    """What a map says about its making, but for what only the run itself knows."""
    slide, plan = request.slide, request.plan
    return {
        "slide": {
            "name": slide.name,
            "fingerprint": slide.fingerprint(),
            "shape": list(slide.levels[0].shape),
            "mpp": request.mpp,
        },
        "model": {
            "name": request.model.name,
            "source": request.model.source,
            "weights_sha256": request.model.weights_hash(),
        },
        "mode": "exact",
        "halo": list(request.footprint.halo),
        "period": list(request.footprint.period),
        "plan": plan.to_json(),
    }
