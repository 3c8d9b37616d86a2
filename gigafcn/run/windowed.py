"""What blend and patch were asked for, checked against slide and model, as windows and a layout.

The module is placed and called once on noise: that shows how many classes and px it gives for a
window, whether it ends in an activation, and how many windows fit into one call.
"""

from __future__ import annotations

import logging
import shlex
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from gigafcn.engine.axes import SCORES, USUAL, named
from gigafcn.engine.forward import Forward, tuned_forward
from gigafcn.engine.pixels import PRECISIONS
from gigafcn.engine.probe import Probe, module_meaning, probed
from gigafcn.errors import ModelError, UsageError
from gigafcn.plan.window_layout import WindowDemand, choose_window_layout
from gigafcn.plan.windows import Windows, blend_windows, patch_windows, windows_geometry
from gigafcn.run import choices
from gigafcn.run.activation import Activation, activation
from gigafcn.run.saving import saving

if TYPE_CHECKING:
    from gigafcn.model.loading import LoadedModel
    from gigafcn.plan.image_grid import ImageGrid
    from gigafcn.plan.map_geometry import MapGeometry
    from gigafcn.plan.planning import Layout
    from gigafcn.run.options import Options
    from gigafcn.slide.protocol import Slide

log = logging.getLogger(__name__)

Pair = tuple[int, int]

CALL_PX = {"cpu": 512 * 512, "cuda": 16 * 512 * 512}
"""Px of a call of the module, by kind of device, unless the batch was given."""

PATCH_CALLS = 2
"""Times as many px in a call of a classifier on a processor.  Nets whose first layer strides have
small maps, of which more fit the caches: ResNet-18 is 1.02 to 1.08 times as fast; VGG-16, whose
first layers are as large as the window, 0.96 times (2 cores of an Intel Xeon;
``benchmarks/batches.py``)."""

MOST_WINDOWS = 64
"""Windows of a call, unless the batch was given."""


@dataclass(frozen=True, slots=True)
class Windowed:
    """Everything that a plan of blend or patch needs."""

    windows: Windows
    geometry: MapGeometry
    demand: WindowDemand
    layout: Layout
    activation: Activation
    forward: Forward


def windowed(
    slide: Slide,
    model: LoadedModel,
    options: Options,
    grid: ImageGrid,
    *,
    channels: int,
    device: str,
) -> Windowed:
    """Plan a run of blend or patch.

    Raises
    ------
    UsageError, SlideError
        If the windows cannot be laid out as asked for.
    ModelError
        If the model does not take such windows, or returns nothing that fits the mode.
    """
    size = window_size(model, options)
    image = grid.shape
    if options.mode == "patch":
        _patches(image, size, model, options, 1)  # what does not fit needs no model to say so
    place: dict[str, Any] = {
        "device": torch.device(choices.device_here(device)),
        "dtype": PRECISIONS[options.precision],
    }
    shape = (channels, *size)
    forward = tuned_forward(model.module, choices.output(model, options), shape, **place)
    probe = probed(forward, shape, _batches(options, size, device), **place)
    windows = replace(_windows(image, size, model, options, probe), axes=probe.axes)
    forward = replace(forward, axes=probe.axes)
    _say_axes(model, probe.axes)
    geometry = windows_geometry(image, windows, border=options.border or "valid")
    meaning = module_meaning(replace(forward, module=model.module), [shape])
    found = activation(model, meaning, probe.classes, options)
    kept = saving(model, options, probe.classes, found, stride=geometry.stride, mpp=grid.mpp)
    part = choices.map_part(slide, grid, geometry, options.region)
    demand = WindowDemand(
        windows=windows,
        box=kept.aligned(part, geometry.shape),
        classes=probe.classes,
        saving=kept,
        item=torch.empty(0, dtype=PRECISIONS[options.precision]).element_size(),
        channels=channels,
        stored_bytes=grid.pixel_bytes(slide.dtype.itemsize, slide.channels),
        decoded=choices.decoded(slide, grid),
        weights=sum(p.numel() * p.element_size() for p in model.module.parameters()),
        forward=probe.memory,
    )
    workers = options.workers or 1
    layout = choose_window_layout(
        demand, tile=options.tile, budget=choices.memory(options) // workers, workers=workers
    )
    return Windowed(windows, geometry, demand, layout, found, forward)


def _say_axes(model: LoadedModel, axes: str) -> None:
    """Name an unusual order of dimensions, which is put right."""
    if axes not in (USUAL, SCORES):
        log.info("model %s returns %s; its map is taken from there", model.name, named(axes))


def window_size(model: LoadedModel, options: Options) -> Pair:
    """The window asked for, or the model's own.

    Raises
    ------
    UsageError
        If there is none, or it is no size.
    ModelError
        If the model takes another size only.
    """
    if options.window is None:
        if model.window is not None:
            return model.window
        raise UsageError(
            f"mode {options.mode} needs the size of its windows, and model {model.name} states "
            f"none; give the patch size that it was trained on with --window PX"
        )
    size = _pair("window", options.window)
    if model.fixed and model.window is not None and size != model.window:
        raise ModelError(
            f"model {model.name} takes windows of {model.window[0]} x {model.window[1]} px (y, x) "
            f"only, not of {size[0]} x {size[1]} px; leave out --window"
        )
    return size


def _pair(name: str, value: int | Pair) -> Pair:
    sides = (value, value) if isinstance(value, int) else tuple(value)
    if len(sides) != 2 or min(sides) < 1:
        raise UsageError(f"{name} must be one or two positive numbers of px (y, x), got {value}")
    return sides[0], sides[1]


def _batches(options: Options, size: Pair, device: str) -> list[int]:
    """Windows per call to try, the most first."""
    if options.batch is not None:
        return [options.batch]
    gpu = device.startswith("cuda")
    budget = CALL_PX["cuda" if gpu else "cpu"]
    if options.mode == "patch" and not gpu:
        budget *= PATCH_CALLS
    most = max(1, min(MOST_WINDOWS, budget // (size[0] * size[1])))
    return [most >> halved for halved in range(most.bit_length())]


def _windows(
    image: Pair, size: Pair, model: LoadedModel, options: Options, probe: Probe
) -> Windows:
    shown = f"{probe.cell[0]} x {probe.cell[1]} px for a window of {size[0]} x {size[1]} px"
    if options.mode == "patch":
        if probe.cell != (1, 1):
            raise ModelError(
                f"model {model.name} gives {shown} (y, x), so it is no classifier of patches; "
                f"take --mode blend"
            )
        return _patches(image, size, model, options, probe.batch)
    if probe.cell == (1, 1) and size != (1, 1):
        raise ModelError(
            f"model {model.name} gives one px for a window of {size[0]} x {size[1]} px (y, x), so "
            f"there is nothing to blend; take --mode patch"
        )
    if any(s % c and c % s for s, c in zip(size, probe.cell, strict=True)):
        raise ModelError(
            f"model {model.name} gives {shown} (y, x), and blend needs the window's size, or that "
            f"times or divided by a whole number; nets that lose a margin run in exact mode"
        )
    return blend_windows(
        image,
        size,
        cell=probe.cell,
        overlap=options.overlap,
        weights=options.blend_weights,
        batch=probe.batch,
    )


def _patches(image: Pair, size: Pair, model: LoadedModel, options: Options, batch: int) -> Windows:
    step = options.step if options.step is not None else model.step or size
    return patch_windows(
        image, size, step=_pair("step", step), batch=batch, border=options.border or "valid"
    )


def ways_out(model: LoadedModel, *, trust: bool) -> str:
    """The two commands that run a model which cannot be tiled exactly."""
    spec = shlex.quote(model.source or model.name) + (" --trust" if trust else "")
    window = "PX" if model.window is None else _flag(model.window)
    step = window if model.step is None else _flag(model.step)
    command = f"gigafcn infer SLIDE -m {spec}"
    return (
        f"it runs approximately on windows: {command} --mode blend --window {window}, or, if it "
        f"classifies patches: {command} --mode patch --window {window} --step {step}"
    )


def _flag(pair: Pair) -> str:
    return str(pair[0]) if pair[0] == pair[1] else f"{pair[0]},{pair[1]}"
