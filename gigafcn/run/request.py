"""What was asked for, checked against the slide and the model, as a complete plan.

Everything that can be refused is refused here, before any output exists.
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
import torch
from torch import nn

from gigafcn.analysis import Footprint, analyze, output_period
from gigafcn.engine.pixels import ACTIVATIONS, PRECISIONS
from gigafcn.engine.reading import PaddedImage
from gigafcn.errors import RunError, SlideError, UsageError
from gigafcn.geometry import Box
from gigafcn.model.loading import LoadedModel, load_model
from gigafcn.output.palette import colours_for
from gigafcn.output.spec import MapSpec
from gigafcn.plan.map_geometry import MapGeometry, map_geometry
from gigafcn.plan.planning import Demand, Layout, choose_layout
from gigafcn.plan.run_plan import RunPlan, Scaling
from gigafcn.schedule.job import untouched_graph
from gigafcn.slide.opening import Source, open_slide

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from gigafcn.graph.model_graph import ModelGraph
    from gigafcn.slide.protocol import Slide

log = logging.getLogger(__name__)

Pair = tuple[int, int]
MEMORY_SHARE = 0.5
"""Part of the free memory that a run takes unless told otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Options of :func:`gigafcn.infer` that shape the plan, with its defaults."""

    activation: str | None = None
    scale: float | None = None
    mean: Sequence[float] | None = None
    std: Sequence[float] | None = None
    dtype: str = "auto"
    precision: str = "fp32"
    tile: int | Pair | None = None
    strip: int | None = None
    memory: int | None = None
    region: tuple[int, int, int, int] | None = None
    device: str = "auto"
    workers: int | None = None
    level: int | None = None
    channels: Sequence[int] | None = None
    border: str = "cover"
    slide_mpp: float | tuple[float, float] | None = None
    save: str = "both"
    classes: Sequence[str] | None = None
    trust: bool = False

    def __post_init__(self) -> None:
        """Refuse what no slide and no model could make right."""
        _one_of("activation", self.activation, (None, *ACTIVATIONS))
        _one_of("dtype", self.dtype, ("auto", "uint8", "float16", "float32"))
        _one_of("precision", self.precision, tuple(PRECISIONS))
        _one_of("save", self.save, ("both", "probabilities"))
        if self.workers is not None and self.workers < 1:
            raise UsageError(f"workers must be at least 1, got {self.workers}")


def _one_of(name: str, value: object, allowed: tuple[object, ...]) -> None:
    if value not in allowed:
        known = ", ".join(str(a) for a in allowed if a is not None)
        raise UsageError(f"{name} is {value!r}; choose one of {known}")


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
    device = _device(options.device)
    slide = open_slide(source)
    try:
        return _prepared(slide, load_model(model, trust=options.trust), options, device)
    except BaseException:
        slide.close()
        raise


def _prepared(slide: Slide, model: LoadedModel, options: Options, device: str) -> Request:
    level = _level(slide, options.level)
    channels = _channels(slide, model, options.channels)
    footprint = analyze(model.module, len(channels))
    footprint.require_local()
    assert footprint.graph is not None
    geometry = map_geometry(
        slide.levels[level].shape,
        period=footprint.period,
        stride=footprint.stride,
        lost=footprint.lost,
        used=_used(footprint),
        border=options.border,
    )
    used_period = [output_period(footprint.graph, axis) for axis in (0, 1)]
    graph = untouched_graph(model.module, len(channels), geometry)
    box = _part(slide, level, geometry, options.region)
    activation, exclusive = _activation(model, graph, options.activation)
    dtype = _dtype(options.dtype, graph, activation)
    demand = Demand(
        graph=graph,
        box=box,
        period=(used_period[0], used_period[1]),
        stride=footprint.stride,
        classes=graph.result.channels,
        dtype=dtype,
        labels=exclusive and options.save == "both",
        item=torch.empty(0, dtype=PRECISIONS[options.precision]).element_size(),
        stored_bytes=slide.dtype.itemsize * slide.channels,
        weights=sum(p.numel() * p.element_size() for p in model.module.parameters()),
    )
    workers = options.workers or 1
    layout = choose_layout(
        demand,
        tile=options.tile,
        strip=options.strip,
        budget=(options.memory or _free_memory()) // workers,
        workers=workers,
    )
    mpp = _mpp(slide, options.slide_mpp)
    down = slide.levels[level].downsample
    level_mpp = None if mpp is None else (mpp[0] * down[0], mpp[1] * down[1])
    plan = RunPlan(
        geometry=geometry,
        spec=_spec(slide, model, options, demand, layout, geometry, level_mpp),
        box=box,
        level=level,
        channels=channels,
        scaling=_scaling(slide, model, options, len(channels)),
        activation=activation,
        tile=layout.tile,
        strip=layout.strip,
        block=layout.block,
        period=demand.period,
        precision=options.precision,
        device=device,
        threads=max(1, available_cpus() // workers),
    )
    image = PaddedImage(slide, level, channels, geometry)
    return Request(slide, model, footprint.at(graph), plan, layout, demand, image, mpp, options)


def _used(footprint: Footprint) -> Pair:
    """One input size (y, x) that the model uses to the last pixel."""
    assert footprint.graph is not None
    sizes = [
        int(footprint.graph.result.grid[a] * footprint.stride[a]) + footprint.lost[a]
        for a in (0, 1)
    ]
    return sizes[0], sizes[1]


def _device(name: str) -> str:
    """A device that is there."""
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise RunError(f"device {name}: no CUDA GPU is visible here; use --device cpu")
    if name.startswith("cuda:") and int(name[5:]) >= torch.cuda.device_count():
        raise RunError(f"device {name}: only {torch.cuda.device_count()} CUDA GPUs are visible")
    if name == "mps" and not torch.backends.mps.is_available():
        raise RunError("device mps: not available on this machine; use --device cpu")
    return name


def _level(slide: Slide, level: int | None) -> int:
    chosen = level or 0
    if not 0 <= chosen < len(slide.levels):
        raise UsageError(f"{slide.name} has levels 0 to {len(slide.levels) - 1}, not {chosen}")
    return chosen


def _channels(slide: Slide, model: LoadedModel, asked: Sequence[int] | None) -> tuple[int, ...]:
    chosen = tuple(range(slide.channels)) if asked is None else tuple(asked)
    for channel in chosen:
        if not 0 <= channel < slide.channels:
            raise UsageError(f"{slide.name} has channels 0 to {slide.channels - 1}, not {channel}")
    wanted = model.channels
    if wanted is not None and wanted != len(chosen):
        raise SlideError(
            f"{slide.name} gives {len(chosen)} channels, model {model.name} takes {wanted}; "
            f"choose them with --channels"
        )
    return chosen


def _part(
    slide: Slide, level: int, geometry: MapGeometry, region: tuple[int, int, int, int] | None
) -> Box:
    """The part of the map to compute, in map px."""
    if region is None:
        return Box.whole(geometry.shape)
    asked = Box(*region)
    whole = Box.whole(slide.levels[0].shape)
    if asked.is_empty or not whole.contains(asked):
        raise UsageError(
            f"region {tuple(asked)} (y0, x0, y1, x1) is not inside the image of "
            f"{whole.y1} x {whole.x1} px (y, x)"
        )
    down = slide.levels[level].downsample
    at_level = Box(
        int(asked.y0 / down[0]),
        int(asked.x0 / down[1]),
        -int(-asked.y1 // down[0]),
        -int(-asked.x1 // down[1]),
    ).clip(geometry.image)
    cells = geometry.cells(at_level)
    if cells.is_empty:
        raise UsageError(f"region {tuple(asked)} (y0, x0, y1, x1) holds no pixel of the map")
    return cells


def _activation(model: LoadedModel, graph: ModelGraph, asked: str | None) -> tuple[str, bool]:
    """What to apply, and whether the classes exclude each other."""
    last = graph.result.op
    has_softmax, has_sigmoid = "softmax" in last, "sigmoid" in last
    classes = graph.result.channels
    if asked is not None:
        chosen = asked
    elif has_softmax or has_sigmoid:
        chosen = "none"
        log.info("the model ends in %s, so no activation is added", last.split(".")[1])
    elif model.activation is not None:
        chosen = model.activation
    else:
        chosen = "sigmoid" if classes == 1 else "softmax"
        log.info(
            "activation: %s (%d output channels); change it with --activation", chosen, classes
        )
    exclusive = classes > 1 and chosen != "sigmoid" and not has_sigmoid
    return chosen, exclusive


def _dtype(asked: str, graph: ModelGraph, activation: str) -> str:
    if asked != "auto":
        return asked
    ends = "softmax" in graph.result.op or "sigmoid" in graph.result.op
    return "uint8" if activation != "none" or (ends and "log" not in graph.result.op) else "float32"


def _scaling(slide: Slide, model: LoadedModel, options: Options, channels: int) -> Scaling:
    scale = options.scale
    if scale is None:
        scale = {"u1": 1 / 255, "u2": 1 / 65535}.get(slide.dtype.str[1:], 1.0)
    mean = tuple(options.mean) if options.mean is not None else model.mean or (0.0,)
    std = tuple(options.std) if options.std is not None else model.std or (1.0,)
    for name, numbers in (("mean", mean), ("std", std)):
        if len(numbers) not in (1, channels):
            raise UsageError(f"{name} has {len(numbers)} numbers for {channels} channels")
        if not np.isfinite(numbers).all():
            raise UsageError(f"{name} must be finite, got {numbers}")
    if not all(std):
        raise UsageError(f"std must not be 0, got {std}")
    return Scaling(float(scale), tuple(map(float, mean)), tuple(map(float, std)))


def _mpp(slide: Slide, given: float | tuple[float, float] | None) -> tuple[float, float] | None:
    if given is None:
        return slide.mpp
    pair = (given, given) if isinstance(given, int | float) else (given[0], given[1])
    if min(pair) <= 0:
        raise UsageError(f"slide_mpp must be positive, got {given} µm/px")
    return float(pair[0]), float(pair[1])


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


def available_cpus() -> int:
    """CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _free_memory() -> int:
    return int(psutil.virtual_memory().available * MEMORY_SHARE)


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
