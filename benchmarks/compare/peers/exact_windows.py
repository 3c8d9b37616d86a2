"""Exact without a sweep: each tile with its halo as one window of the module, cropped.

The module has its best layout, norms folded.  The window is as large as the memory allows that
gigafcn took: what a process takes is measured on two windows and taken to be linear in their px,
then on the window that follows from that, which shrinks until it keeps to the memory.
Windows begin on the model's period and end at the image's true border, so its own padding acts
there and nowhere else.
"""

from __future__ import annotations

import ctypes
import functools
import gc
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

import gigafcn
from benchmarks.bare import folded
from benchmarks.compare.networks import load_network
from benchmarks.compare.peers.task import Task, new_map, serve
from benchmarks.machine import peak_bytes
from gigafcn.geometry import Box

if TYPE_CHECKING:
    from torch import nn

TRIED_PX = (512, 1024)
"""Windows whose memory is measured, on the multiple of the period."""


@functools.cache
def best_module(network: str) -> nn.Module:
    """The module in the layout that is best on CPUs."""
    module = folded(load_network(network).module)
    return module.to(memory_format=torch.channels_last)  # type: ignore[no-any-return, call-overload]


@functools.cache
def reach(network: str) -> tuple[int, int]:
    """The halo, rounded up to whole periods, and the period, each the larger of both axes."""
    found = gigafcn.analyze(load_network(network).module)
    found.require_local()
    period = max(found.period)
    return math.ceil(max(found.halo_aligned) / period) * period, period


def peak_of(task: Task, side: int) -> int:
    """Peak bytes of this process for one window and what is stored of it."""
    module = best_module(task.network)
    _begin_anew()
    pixels = torch.rand(1, 3, side, side).contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        task.stored(module(pixels)[0])
    return peak_bytes()


def _begin_anew() -> None:
    """Hand back what is kept of other windows, and forget the peak."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


@functools.cache
def tile_px(network: str, memory: int, dtype: str) -> int:
    """Side of the tiles whose windows fit the memory; at least one period."""
    halo, period = reach(network)
    task = Task("", network, "", dtype, {})
    small, large = (peak_of(task, side) for side in TRIED_PX)
    slope = (large - small) / (TRIED_PX[1] ** 2 - TRIED_PX[0] ** 2)
    base = small - slope * TRIED_PX[0] ** 2
    window = math.isqrt(max(0, int((memory - base) / slope)))
    tile = max(period, (window - 2 * halo) // period * period)
    while tile > period and peak_of(task, tile + 2 * halo) > memory:
        tile -= period
    _begin_anew()
    return tile


def run(task: Task) -> dict[str, Any]:
    """Map an image, or the middle of it, whose sides are multiples of the model's period."""
    network = load_network(task.network)
    module, (halo, period) = best_module(task.network), reach(task.network)
    tile = task.settings.get("tile") or tile_px(task.network, task.settings["memory"], task.dtype)
    slide = gigafcn.open_slide(task.image)
    image = Box.whole(slide.levels[0].shape)
    part = middle(image, task.settings.get("most_px"), period)
    target = new_map(task, (3, *part.shape))
    with torch.inference_mode():
        for y in range(part.y0, part.y1, tile):
            for x in range(part.x0, part.x1, tile):
                box = Box(y, x, y + tile, x + tile).intersect(part)
                window = Box(y - halo, x - halo, box.y1 + halo, box.x1 + halo).intersect(image)
                stored = torch.from_numpy(slide.read(window)).permute(2, 0, 1)[None]
                rows, columns = box.relative_to(window)
                scores = task.stored(module(network.pixels(stored))[0, :, rows, columns])
                rows, columns = box.relative_to(part)
                target[:, rows, columns] = scores
    slide.close()
    told = {"side": tile + 2 * halo, "tile": tile, "halo": halo}
    return {"array": "", "axes": "cyx", "window": told, "pixels": part.area, "box": list(part)}


def middle(image: Box, most_px: int | None, period: int) -> Box:
    """The middle of an image, no larger than asked for, on the model's period."""
    if most_px is None or max(image.shape) <= most_px:
        return image
    y, x = ((side - most_px) // 2 // period * period for side in image.shape)
    return Box(y, x, y + most_px, x + most_px)


if __name__ == "__main__":
    serve(run, ("gigafcn", "numpy", "zarr", "tifffile"))
