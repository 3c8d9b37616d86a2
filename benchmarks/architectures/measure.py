"""Measure one row: analysis, sweep against module, NaN poison, and far pixels where it is blocked.

Everything runs on the CPU in one process that builds one model.  The sweep is compared with the
untouched module on two images of noise, one tall and one wide: so long that along that axis a tile
and its halo end within the image, if the time allows, and three periods or 96 px across.  Each is
cut into at least 3 x 3 tiles that are not square, with cuts on no multiple of a period.
"""

from __future__ import annotations

import copy
import math
import time
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from benchmarks.architectures.converted import converted
from benchmarks.architectures.entry import CLASSIFIER, Entry, ready
from benchmarks.architectures.far import far_pixels
from benchmarks.architectures.poison import poison_axis
from benchmarks.architectures.probe import probe
from gigafcn.analysis import Footprint, analyze
from gigafcn.engine.placing import placed_on
from gigafcn.engine.sweep import Sweep
from gigafcn.errors import GigafcnError
from gigafcn.geometry import Box, Span
from gigafcn.plan.demand import cut
from gigafcn.plan.sweep_plan import plan_sweep

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gigafcn.graph.model_graph import ModelGraph

RUN_SECONDS = 4.0
"""Processor time that sweeps and whole runs on one image should take at most."""

RUN_COST = 30.0
"""How often an fp32 pass over the image that amounts to, halos of the tiles included."""

LONGEST_SIDE = 3072
SHORTEST_SIDE = 96
"""Px of the images for sweep against module."""

FP64_BOUND = 1e-12
"""Largest difference of sweep and module in fp64, as a part of the largest logit."""


def measure(entry: Entry) -> dict[str, Any]:
    """All that the table says of one model."""
    row: dict[str, Any] = {
        "library": entry.library,
        "architecture": entry.architecture,
        "variant": entry.variant,
    }
    model = ready(entry)
    start, started = time.perf_counter(), time.process_time()
    try:
        found = analyze(model, entry.channels, entry.size)
        halo, aligned = found.halo, found.halo_aligned
    except GigafcnError as error:
        message = str(error)
        return row | {"exports": "cannot be exported" not in message, "error": message}
    row |= {
        "exports": True,
        "local": found.local,
        "analysis_seconds": time.perf_counter() - start,
        "analysis_processor_seconds": time.process_time() - started,
    }
    if not found.local:
        row["blockers"] = [[b.layer, b.op, b.reason] for b in found.blockers]
        if entry.variant == CLASSIFIER:
            row["converted"] = converted(model, entry.channels)
        return row | {"far": far_pixels(model, entry, found)}
    try:
        in_double(model, entry.channels, found.size)
    except RuntimeError as error:
        return row | {
            "failed": f"local, halo {halo}, but there is no fp64 to compare with: {error}"
        }
    return row | {
        "halo": halo,
        "halo_aligned": aligned,
        "stride": [str(s) for s in found.stride],
        "period": found.period,
        "shift_invariant": found.shift_invariant,
        "poison": [poison_axis(model, found, axis, halo) for axis in (0, 1)],
        "runs": [sweep_against_module(model, found, axis, halo) for axis in (0, 1)],
    }


def in_double(model: nn.Module, channels: int, size: int) -> None:
    """Raise what the module says in fp64, if it casts to fp32 within."""
    whole(copy.deepcopy(model).double(), torch.zeros(1, channels, size, size, dtype=torch.float64))


def sweep_against_module(
    model: nn.Module, found: Footprint, axis: int, halo: tuple[int, ...]
) -> dict[str, Any]:
    """Differences in fp32 and fp64 of sweep and module on an image that is long along an axis."""
    graph, image = probe(model, found, axis, _sides(model, found, axis, halo))
    whole64 = whole(copy.deepcopy(model).double(), image.double())
    whole32 = whole(model, image).double()
    channels_last = copy.deepcopy(model).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    last32 = whole(channels_last, image.contiguous(memory_format=torch.channels_last)).double()
    tile = _tile(graph)
    before, after = halo[2 * axis : 2 * axis + 2]
    return {
        "size": graph.size,
        "tile": tile,
        "tiles": [-(-n // t) for n, t in zip(graph.result.grid, tile, strict=True)],
        "beyond_footprint": graph.size[axis] >= before + after + tile[axis] * found.stride[axis],
        "largest": float(whole64.abs().max()),
        "fp64": _largest(swept(graph, image.double(), tile) - whole64),
        "fp32_sweep": _largest(swept(graph, image, tile).double() - whole64),
        "fp32_module": _largest(whole32 - whole64),
        "fp32_module_channels_last": _largest(last32 - whole64),
    }


def fp64_within(run: dict[str, Any]) -> bool:
    """Whether the sweep agrees with the module in fp64."""
    return bool(run["fp64"] <= FP64_BOUND * run["largest"])


def fp32_within(run: dict[str, Any], layout: str = "") -> bool:
    """Whether the sweep in fp32 is as near to the module's fp64 as the module's own fp32 is.

    The module has its default layout, or the sweep's with ``layout="_channels_last"``: oneDNN adds
    in another order there.
    """
    own = run[f"fp32_module{layout}"]
    return bool(run["fp32_sweep"] <= 2 * own + 1e-6 * run["largest"])


def whole(model: nn.Module, image: Tensor) -> Tensor:
    """What the untouched module says of the whole image."""
    with torch.inference_mode():
        result: Tensor = model(image)
    return result


def swept(graph: ModelGraph, image: Tensor, tile: tuple[int, int]) -> Tensor:
    """The map by sweeps, tile by tile, as ``infer`` computes it: norms folded, weights packed."""
    placed = placed_on(graph, torch.device("cpu"), image.dtype)
    result = image.new_full((1, graph.result.channels, *graph.result.grid), math.nan)

    def read(box: Box) -> Tensor:
        window = image[:, :, box.y0 : box.y1, box.x0 : box.x1]
        return window.contiguous(memory_format=torch.channels_last)

    def write(box: Box, pixels: Tensor) -> None:
        result[:, :, box.y0 : box.y1, box.x0 : box.x1] = pixels

    steps = [max(1, int(0.55 * t)) for t in tile]
    with torch.inference_mode():
        for part in _tiles(graph.result.grid, tile):
            plan = plan_sweep(
                placed.nodes, placed.output, part, strip=steps[0], block=steps[1], period=(1, 1)
            )
            Sweep(placed, plan).run(read, write)
    return result


def _tiles(grid: tuple[int, int], tile: tuple[int, int]) -> Iterator[Box]:
    for y in cut(Span(0, grid[0]), tile[0]):
        for x in cut(Span(0, grid[1]), tile[1]):
            yield Box.of(y, x)


def _tile(graph: ModelGraph) -> tuple[int, int]:
    """A tile of which at least 3 x 3 are needed, and whose cuts are on no period if possible."""
    grid = graph.result.grid
    return max(1, int(grid[0] / 3.2)), max(1, int(grid[1] / 2.7))


def _sides(
    model: nn.Module, found: Footprint, axis: int, halo: tuple[int, ...]
) -> tuple[int, tuple[int, ...]]:
    """Px along an axis, and px to try across it."""
    assert found.graph is not None
    image = torch.randn(1, found.channels, *found.graph.size)
    whole(model, image)
    start = time.process_time()
    whole(model, image)
    per_pixel = (time.process_time() - start) / (found.graph.size[0] * found.graph.size[1])
    across = max(3 * found.period[1 - axis], SHORTEST_SIDE)
    affordable = int(RUN_SECONDS / RUN_COST / per_pixel / across)
    wanted = int(1.5 * sum(halo[2 * axis : 2 * axis + 2])) + 4 * found.period[axis]
    long = max(min(wanted, affordable, LONGEST_SIDE), 256)
    return long, (across, 2 * across, found.graph.size[1 - axis])


def _largest(difference: Tensor) -> float:
    """Largest magnitude; NaN if any is."""
    return float(difference.abs().max())
