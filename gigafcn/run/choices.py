"""Single choices of a run: from what was asked for, the slide and the model.

Each is refused here, with what would do, if it cannot be carried out.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from gigafcn.errors import RunError, SlideError, UsageError
from gigafcn.geometry import Box
from gigafcn.model.loading import LoadedModel, load_model
from gigafcn.plan.run_plan import Scaling
from gigafcn.run.declared import refuse_contradictions
from gigafcn.schedule.crew import MEMORY_SHARE
from gigafcn.schedule.resources import available_memory, threads_per_worker
from gigafcn.slide.protocol import colours_of
from gigafcn.slide.wanted import Wanted

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

    from gigafcn.plan.image_grid import ImageGrid
    from gigafcn.plan.map_geometry import MapGeometry
    from gigafcn.run.options import Options
    from gigafcn.slide.protocol import Slide

log = logging.getLogger(__name__)


def device(name: str) -> str:
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


def work_device(options: Options) -> str:
    """Device that tiles are computed on: of this process's machine, or of foreign workers."""
    crew = options.crew
    if crew is None:
        return device(options.device)
    if options.device == "auto":
        return "cuda" if crew.gpus else "cpu"
    if options.device.startswith("cuda") and not crew.gpus:
        raise RunError(f"device {options.device}: a worker of the cluster sees no GPU")
    return options.device


def device_here(chosen: str) -> str:
    """The run's device, or the CPU where only the workers have one."""
    return chosen if chosen == "cpu" or torch.get_device_module(chosen).is_available() else "cpu"


def threads(options: Options) -> int:
    """Threads of each worker's arithmetic."""
    return options.crew.threads if options.crew else threads_per_worker(options.workers or 1)


def level(slide: Slide, level: int | None) -> int:
    """Pyramid level to read."""
    chosen = level or 0
    if not 0 <= chosen < len(slide.levels):
        raise UsageError(f"{slide.name} has levels 0 to {len(slide.levels) - 1}, not {chosen}")
    return chosen


def channels(
    slide: Slide, model: LoadedModel, asked: Sequence[int | str] | None
) -> tuple[int, ...]:
    """Channels of the slide that the model sees, in its order."""
    chosen = colours_of(slide)
    if asked is not None:
        chosen = tuple(_channel(slide, one) for one in asked)
    elif slide.traits.alpha is not None:
        log.info("channel %d is alpha and not fed to the model, unless --channels names it",
                 slide.traits.alpha)  # fmt: skip
    if not chosen:
        raise UsageError("channels must name one channel at least")
    wanted = model.channels
    if wanted is not None and wanted != len(chosen):
        alpha = slide.traits.alpha
        beside = f" beside alpha, channel {alpha}" if alpha not in (None, *chosen) else ""
        raise SlideError(
            f"{slide.name} gives {len(chosen)} channels{beside}, model {model.name} takes "
            f"{wanted}; choose them with --channels"
        )
    return chosen


def _channel(slide: Slide, asked: int | str) -> int:
    """Number of a channel given by number or name; case matters only where it must."""
    if not isinstance(asked, str):
        if not 0 <= asked < slide.channels:
            raise UsageError(f"{slide.name} has channels 0 to {slide.channels - 1}, not {asked}")
        return asked
    names = slide.channel_names
    found = [index for index, name in enumerate(names) if name == asked]
    found = found or [i for i, name in enumerate(names) if name.casefold() == asked.casefold()]
    if len(found) != 1:
        what = "no channel" if not found else f"{len(found)} channels"
        known = ", ".join(f"{index} {name}" for index, name in enumerate(names))
        raise UsageError(f"{slide.name} has {what} named {asked!r}; its channels are {known}")
    return found[0]


def wanted(options: Options, *, every: bool = False) -> Wanted:
    """What of a slide's file is wanted.

    Parameters
    ----------
    every
        Whether the one who asks can make a map of each image.
    """
    assert not isinstance(options.image, str)
    return Wanted(
        plane=options.plane or {},
        image=options.image,
        levels_from=options.levels_from,
        orient=options.orient,
        named=not options.deidentify,
        every=every,
    )


def covered(slide: Slide, options: Options) -> Options:
    """The options with the scanned area as region, if the slide names one and none was given."""
    bounds = slide.traits.bounds
    if not options.crop or options.region is not None or bounds is None:
        return options
    if bounds != Box.whole(slide.levels[0].shape):
        log.info(
            "the scanned area is mapped, %d x %d px from y %d, x %d on; --no-crop maps the whole",
            *bounds.shape, bounds.y0, bounds.x0,
        )  # fmt: skip
    return replace(options, region=bounds)


def output(model: LoadedModel, options: Options) -> str | int | None:
    """Which of the model's outputs is the map; None decides by their names."""
    return model.output if options.output_name is None else options.output_name


def memory(options: Options) -> int:
    """Bytes that all workers together may take; with a foreign cluster the option is for each."""
    if options.crew is not None:
        return options.crew.count * (options.memory or options.crew.memory)
    return options.memory or int(available_memory() * MEMORY_SHARE)


def device_memory(device: str, options: Options) -> int:
    """Bytes of a GPU that one worker may take; 0 on the CPU, or where only workers see a GPU."""
    if not device.startswith("cuda") or not torch.cuda.is_available():
        return 0
    total = torch.cuda.mem_get_info(device)[1]
    each = -(-(options.workers or 1) // torch.cuda.device_count())
    return int(total * MEMORY_SHARE) // each


def decoded(slide: Slide, grid: ImageGrid) -> int:
    """Bytes per column of the image of what the slide decodes at once."""
    rows = slide.levels[grid.level].decoded_rows
    return grid.decoded_bytes(rows, slide.dtype.itemsize, slide.channels)


def map_part(
    slide: Slide,
    grid: ImageGrid,
    geometry: MapGeometry,
    region: tuple[int, int, int, int] | None,
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
    # The image's px that the region touches, in whole numbers.
    in_image = Box(
        asked.y0 // grid.pixel[0],
        asked.x0 // grid.pixel[1],
        -(-asked.y1 // grid.pixel[0]),
        -(-asked.x1 // grid.pixel[1]),
    ).clip(geometry.image)
    cells = geometry.cells(in_image)
    if cells.is_empty:
        raise UsageError(f"region {tuple(asked)} (y0, x0, y1, x1) holds no pixel of the map")
    return cells


def model(spec: str | Path | nn.Module, options: Options) -> LoadedModel:
    """Load the model, and name what its file leaves open and no option says either."""
    loaded = load_model(
        spec,
        trust=options.trust,
        sha256=options.sha256,
        allow_unexpected=options.allow_unexpected,
    )
    left_open = [key for key in loaded.unset if not _given(options, key)]
    if left_open:
        log.warning("%s leaves open: %s; see configs/models/", spec, ", ".join(left_open))
    return loaded


def _given(options: Options, key: str) -> bool:
    """Whether an option says what a model file would say under ``table.key``."""
    return getattr(options, key.partition(".")[2], None) is not None


def scaling(slide: Slide, model: LoadedModel, options: Options, channels: int) -> Scaling:
    """How stored pixels become the model's input."""
    scale = model.scale if options.scale is None else options.scale
    if scale is None:
        scale = {"u1": 1 / 255, "u2": 1 / 65535}.get(slide.dtype.str[1:], 1.0)
    scales = tuple(scale) if isinstance(scale, Sequence) else (scale,)
    mean = tuple(options.mean) if options.mean is not None else model.mean or (0.0,)
    std = tuple(options.std) if options.std is not None else model.std or (1.0,)
    for name, numbers in (("scale", scales), ("mean", mean), ("std", std)):
        if len(numbers) not in (1, channels):
            raise UsageError(f"{name} has {len(numbers)} numbers for {channels} channels")
        if not np.isfinite(numbers).all():
            raise UsageError(f"{name} must be finite, got {numbers}")
    if not all(std):
        raise UsageError(f"std must not be 0, got {std}")
    factor = float(scales[0]) if len(scales) == 1 else tuple(map(float, scales))
    chosen = Scaling(factor, tuple(map(float, mean)), tuple(map(float, std)))
    refuse_contradictions(slide, chosen)
    return chosen


def mpp(slide: Slide, given: float | tuple[float, float] | None) -> tuple[float, float] | None:
    """Micrometres (y, x) per level-0 px, given or by the slide."""
    if given is None:
        return slide.mpp
    pair = (given, given) if isinstance(given, int | float) else (given[0], given[1])
    if min(pair) <= 0:
        raise UsageError(f"slide_mpp must be positive, got {given} µm/px")
    return float(pair[0]), float(pair[1])
