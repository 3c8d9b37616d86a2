"""What was asked for, checked against the slide and the model, as a complete plan.

Everything that can be refused is refused here, before any output exists.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import nn

from gigafcn.analysis import Footprint, analyze_at
from gigafcn.engine.allocation import share_heaps
from gigafcn.engine.forward import Forward
from gigafcn.engine.pixels import PRECISIONS
from gigafcn.engine.probe import module_meaning, small_shapes
from gigafcn.engine.reading import PaddedImage
from gigafcn.errors import ModelError, NonLocalError, UnsteadyError, UsageError
from gigafcn.graph.programs import Programs, likely_padded
from gigafcn.output.palette import colours_for
from gigafcn.output.spec import MapSpec
from gigafcn.plan.planning import Layout, choose_layout
from gigafcn.plan.projection import Demand, lane_px
from gigafcn.plan.run_plan import RunPlan
from gigafcn.run import choices
from gigafcn.run.activation import Activation, activation
from gigafcn.run.known_model import KnownModel
from gigafcn.run.padding import footprint_at, laid_out
from gigafcn.run.resolution import image_grid, placed
from gigafcn.run.saving import named_classes, saving
from gigafcn.run.tissue import with_tissue
from gigafcn.run.windowed import ways_out, windowed
from gigafcn.slide.opening import Source, open_wanted
from gigafcn.slide.orientation import tell_turn

if TYPE_CHECKING:
    from pathlib import Path

    from gigafcn.graph.model_graph import ModelGraph
    from gigafcn.meaning import Meaning
    from gigafcn.model.loading import LoadedModel
    from gigafcn.plan.image_grid import ImageGrid
    from gigafcn.plan.map_geometry import MapGeometry
    from gigafcn.plan.window_layout import WindowDemand
    from gigafcn.plan.windows import Windows
    from gigafcn.run.classifiers import Classifier
    from gigafcn.run.options import Options
    from gigafcn.slide.protocol import Slide

log = logging.getLogger(__name__)

Pair = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Request:
    """A run that can start."""

    slide: Slide
    model: LoadedModel
    footprint: Footprint | None
    """None in blend and patch, which need none."""

    plan: RunPlan
    layout: Layout
    demand: Demand | WindowDemand
    image: PaddedImage
    grid: ImageGrid
    """Which pixels of the slide the model sees."""

    mpp: tuple[float, float] | None
    """Micrometres (y, x) per level-0 px."""

    options: Options
    forward: Forward | None = None
    """The placed module in blend and patch."""

    classifier: Classifier | None = None
    """What was converted, if the model is a classifier of patches, in exact mode."""

    @property
    def original(self) -> LoadedModel:
        """The model as it was loaded, before a classifier was converted."""
        return self.classifier.loaded if self.classifier else self.model

    @property
    def exact(self) -> Footprint:
        """The model's footprint, in exact mode."""
        assert self.footprint is not None
        return self.footprint

    @property
    def graph(self) -> ModelGraph:
        """Traced for the padded image, as the module has it: nothing folded or placed."""
        assert self.exact.graph is not None
        return self.exact.graph


def prepare(
    source: Source,
    model: str | Path | nn.Module | KnownModel,
    options: Options,
    name: str | None = None,
) -> Request:
    """Open slide and model, analyse, plan.

    Parameters
    ----------
    name
        What to call the slide; None is its own name.

    Raises
    ------
    SlideError
        If the slide cannot be opened or does not fit the model.
    ModelError
        If the model cannot be loaded, exported or tiled exactly.
    UsageError
        If an option cannot be carried out.
    """
    share_heaps()
    device, known = choices.work_device(options), KnownModel.of(model)
    slide = open_wanted(source, choices.wanted(options, every=True))
    slide.name = name or slide.name
    tell_turn(slide.name, slide.traits.orientation, turned=slide.traits.turned)
    try:
        options = choices.covered(slide, options)
        return _prepared(slide, known.loaded(options), known, options, device)
    except BaseException:
        slide.close()
        raise


def _prepared(
    slide: Slide, model: LoadedModel, known: KnownModel, options: Options, device: str
) -> Request:
    grid = image_grid(slide, model, options)
    channels = choices.channels(slide, model, options.channels)
    mpp = choices.mpp(slide, options.slide_mpp)
    if options.mode != "exact":
        chosen = _Chosen(grid, channels, None, device, mpp)
        return _windowed_request(slide, model, options, chosen)
    if options.window is not None:
        raise UsageError(f"window {options.window} is for mode blend and patch, not mode exact")
    model, classifier, traced, size = _traced(known, model, options, len(channels), grid.shape)
    output = choices.output(model, options)
    footprint = known.footprint(
        (id(model.module), len(channels), output),
        lambda: _footprint(model, traced, size, output, trust=options.trust),
    )
    period = footprint.output_period
    geometry, footprint = _placed(grid.shape, footprint, traced, classifier, model, options)
    assert footprint.graph is not None
    classes = footprint.graph.result.channels
    meaning = _meaning(known, model, len(channels), output, footprint.size)
    found = activation(model, meaning, classes, options)
    kept = saving(model, options, classes, found, stride=geometry.stride, mpp=grid.mpp)
    demand = Demand(
        graph=footprint.graph,
        box=kept.aligned(choices.map_part(slide, grid, geometry, options.region), geometry.shape),
        period=period,
        stride=footprint.stride,
        classes=classes,
        saving=kept,
        **_sizes(slide, grid, model, options, device),
    )
    layout = _layout(demand, options)
    chosen = _Chosen(grid, channels, found, device, mpp)
    plan = _plan(slide, model, options, geometry, demand, layout, chosen)
    return Request(
        slide, model, footprint, plan, layout, demand, _image(slide, plan, options), grid, mpp,
        options, classifier=classifier,
    )  # fmt: skip


def _meaning(
    known: KnownModel, model: LoadedModel, channels: int, output: str | int | None, size: int
) -> Meaning:
    """What the output of a model is, found once."""
    forward = Forward(model.module, output)
    return known.meaning(
        (id(model.module), channels, output),
        lambda: module_meaning(forward, small_shapes(channels, size)),
    )


def _traced(
    known: KnownModel, model: LoadedModel, options: Options, channels: int, image: Pair
) -> tuple[LoadedModel, Classifier | None, Programs, Pair]:
    """The model that runs, what it was converted from, its traces, and a size for the first."""
    traced, size = Programs(model.module, channels), likely_padded(image)
    classifier = known.classifier(options, channels, lambda: traced.gives_map(size))
    if classifier is None:
        return model, None, traced, size
    padded = classifier.geometry(image, options.border).padded
    converted = classifier.converted
    return converted, classifier, Programs(converted.module, channels), padded


def _image(slide: Slide, plan: RunPlan, options: Options) -> PaddedImage:
    return PaddedImage(slide, plan.level, plan.channels, plan.geometry, options.strict)


def _sizes(
    slide: Slide, grid: ImageGrid, model: LoadedModel, options: Options, device: str
) -> dict[str, int]:
    """Columns side by side; bytes of a value while computing, of waiting px, of all weights."""
    return {
        "item": torch.empty(0, dtype=PRECISIONS[options.precision]).element_size(),
        "lanes": choices.threads(options) if device == "cpu" else 1,
        "device_memory": choices.device_memory(device, options),
        "stored_bytes": grid.pixel_bytes(slide.dtype.itemsize, slide.channels),
        "decoded": choices.decoded(slide, grid),
        "weights": sum(p.numel() * p.element_size() for p in model.module.parameters()),
    }


def _layout(demand: Demand, options: Options) -> Layout:
    workers = options.workers or 1
    return choose_layout(
        demand,
        tile=options.tile,
        strip=options.strip,
        budget=choices.memory(options) // workers,
        workers=workers,
    )


def _placed(
    image: Pair,
    footprint: Footprint,
    traced: Programs,
    classifier: Classifier | None,
    model: LoadedModel,
    options: Options,
) -> tuple[MapGeometry, Footprint]:
    """How map and image relate, and the footprint at the size of the model's input."""
    if classifier is not None and options.pad is not None:
        raise UsageError(
            f"pad {options.pad} is for models that map an image; a classifier of patches is laid "
            f"over the image patch by patch"
        )
    try:
        if classifier is None:
            border = options.border or "cover"
            return laid_out(image, footprint, traced, border=border, pad=options.pad)
        geometry = classifier.geometry(image, options.border)
        return geometry, footprint_at(footprint, traced, geometry)
    except ModelError as error:
        raise type(error)(f"{error}; {ways_out(model, trust=options.trust)}") from error


def _footprint(
    model: LoadedModel, traced: Programs, size: Pair, output: str | int | None, *, trust: bool
) -> Footprint:
    """The footprint of a model that can be tiled exactly; else say how it can be run."""
    ways = ways_out(model, trust=trust)
    if model.whole_image_refusal is not None:
        raise NonLocalError(f"{model.whole_image_refusal}; {ways}")
    if not model.exportable:
        raise ModelError(
            f"model {model.name} ({model.format}) is not made of torch's ops, so nothing shows "
            f"what its pixels depend on; {ways}"
        )
    try:
        footprint = analyze_at(traced, size, output)
        footprint.require_local()
    except UnsteadyError:
        raise  # on windows it would be no steadier
    except ModelError as error:
        raise type(error)(f"{error}; {ways}") from error
    return footprint


def _windowed_request(
    slide: Slide, model: LoadedModel, options: Options, chosen: _Chosen
) -> Request:
    channels = chosen.channels
    found = windowed(
        slide, model, options, chosen.grid, channels=len(channels), device=chosen.device
    )
    chosen = replace(chosen, activation=found.activation, windows=found.windows)
    plan = _plan(slide, model, options, found.geometry, found.demand, found.layout, chosen)
    return Request(
        slide, model, None, plan, found.layout, found.demand, _image(slide, plan, options),
        chosen.grid, chosen.mpp, options, found.forward,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Chosen:
    """Single choices that the plan takes over."""

    grid: ImageGrid
    channels: tuple[int, ...]
    activation: Activation | None
    device: str
    mpp: tuple[float, float] | None
    windows: Windows | None = None


def _plan(
    slide: Slide,
    model: LoadedModel,
    options: Options,
    geometry: MapGeometry,
    demand: Demand | WindowDemand,
    layout: Layout,
    chosen: _Chosen,
) -> RunPlan:
    assert chosen.activation is not None
    plan = RunPlan(
        geometry=geometry,
        spec=_spec(slide, model, options, demand, layout, geometry, chosen),
        box=demand.box,
        level=chosen.grid.level,
        channels=chosen.channels,
        scaling=choices.scaling(slide, model, options, len(chosen.channels)),
        activation=chosen.activation.name,
        meaning=chosen.activation.why,
        rest=demand.saving.rest,
        tile=layout.tile,
        strip=layout.strip,
        block=layout.block,
        period=demand.period,
        precision=options.precision,
        device=chosen.device,
        threads=choices.threads(options),
        mode=options.mode,
        windows=chosen.windows,
        pixel=chosen.grid.pixel,
        output=choices.output(model, options),
        averaged=demand.saving.averaged,
        lanes=demand.lanes if isinstance(demand, Demand) else 1,
        lane=lane_px(demand, layout.block) if isinstance(demand, Demand) else 1,
    )
    return with_tissue(plan, slide, options, demand)


def _other(names: tuple[str, ...]) -> str:
    """Name of the class that a model's output leaves out."""
    return "other" if "other" not in names else "none of these"


def _spec(
    slide: Slide,
    model: LoadedModel,
    options: Options,
    demand: Demand | WindowDemand,
    layout: Layout,
    geometry: MapGeometry,
    chosen: _Chosen,
) -> MapSpec:
    saving = demand.saving
    names, _ = named_classes(model, options.classes, demand.classes)
    own_colours = model.colours if names == model.classes else None
    offset = [
        float(geometry.offset[a] + demand.box.spans[a].start * geometry.stride[a]) for a in (0, 1)
    ]
    stride = [geometry.stride[a] * saving.averaged[a] for a in (0, 1)]
    if saving.rest:
        names = (*names, _other(names))
        own_colours = None
    return MapSpec(
        shape=saving.shape(demand.box),
        classes=names,
        colours=own_colours or colours_for(list(names)),
        dtype=saving.dtype,
        chunk=layout.chunk,
        shard=layout.shard,
        mpp=chosen.grid.mpp,
        stride=(stride[0], stride[1]),
        offset=(offset[0], offset[1]),
        labels=saving.labels,
        name=slide.name,
        scores=None if len(saving.scores) == len(names) else saving.scores,
        place=placed(slide, chosen.grid, chosen.mpp),
    )
