"""Exact without a sweep: each tile with its halo as one window of the module, cropped.

The module has its best layout, norms folded.  The window is as large as the memory allows that
gigafcn took: what a process takes is measured on some, and about linear in their px.
Windows begin on the model's period and end at the image's true border, so its own padding acts
there and nowhere else.
"""

from __future__ import annotations

import functools
import math
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import torch

import gigafcn
from benchmarks.bare import folded
from benchmarks.compare.networks import load_network
from benchmarks.compare.peers.task import Task, new_map, serve
from benchmarks.machine import peak_bytes
from gigafcn.geometry import Box

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

TRIED_PX = (512, 1024)
"""Sides of the first windows whose memory is measured, multiples of the period."""

MOST_TRIED = 4
"""Windows measured after these, each where the last two say that the memory ends."""


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


def peak_of(network: str, side: int, dtype: str) -> int:
    """Peak bytes of a process of its own for one window and what is stored of it."""
    command = [sys.executable, "-m", __spec__.name, network, str(side), dtype]
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"a window of {side} px: {done.stderr[-300:]}")
    return int(done.stdout)


def print_peak(network: str, side: int, dtype: str) -> None:
    """Map one window of noise, and print this process's peak in bytes."""
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    reach(network)
    module = best_module(network)
    pixels = torch.rand(1, 3, side, side).contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        Task("", network, "", dtype, {}).stored(module(pixels)[0])
    print(peak_bytes())


@functools.cache
def tile_px(network: str, memory: int, dtype: str) -> int:
    """Side of the tiles whose windows fit the memory; at least one period."""
    return largest_tile(lambda side: peak_of(network, side, dtype), memory, *reach(network))


def largest_tile(peak: Callable[[int], int], memory: int, halo: int, period: int) -> int:
    """The largest tile of whole periods whose window, with its halo, keeps to the memory.

    Parameters
    ----------
    peak
        Bytes that a window of such a side takes.
    """
    peaks = {side: peak(side) for side in TRIED_PX}
    for _ in range(MOST_TRIED):
        small, large = sorted(peaks)[-2:]
        slope = (peaks[large] - peaks[small]) / (large**2 - small**2)
        most = max(0.0, large**2 + (memory - peaks[large]) / slope)
        side = max(period, (math.isqrt(int(most)) - 2 * halo) // period * period) + 2 * halo
        if side in peaks:
            break
        peaks[side] = peak(side)
    fitting = [side for side, taken in peaks.items() if taken <= memory]
    return max(period, (max(fitting, default=0) - 2 * halo) // period * period)


def run(task: Task) -> dict[str, Any]:
    """Map an image, or the middle of it, whose sides are multiples of the model's period."""
    network = load_network(task.network)
    module, (halo, period) = best_module(task.network), reach(task.network)
    slide = gigafcn.open_slide(task.image)
    image = Box.whole(slide.levels[0].shape)
    tile = task.settings.get("tile") or tile_px(task.network, task.settings["memory"], task.dtype)
    part = middle(image, task.settings.get("most_px"), tile, period)
    tile = even(part.y.size, tile, period)
    target, computed = new_map(task, (3, *part.shape)), 0
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
                computed += window.area
    slide.close()
    told = {"side": tile + 2 * halo, "tile": tile, "halo": halo, "times": computed / part.area}
    return {"array": "", "axes": "cyx", "window": told, "pixels": part.area, "box": list(part)}


def even(side: int, tile: int, period: int) -> int:
    """The side of as many tiles, none of them much smaller than the others."""
    count = math.ceil(side / tile)
    return math.ceil(side / count / period) * period


def middle(image: Box, most_px: int | None, tile: int, period: int) -> Box:
    """The middle of an image, whole tiles of at most so many px, on the model's period."""
    if most_px is None or max(image.shape) <= most_px:
        return image
    side = max(1, most_px // tile) * tile
    y, x = ((whole - side) // 2 // period * period for whole in image.shape)
    return Box(y, x, y + side, x + side)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print_peak(sys.argv[1], int(sys.argv[2]), sys.argv[3])
    else:
        serve(run, ("gigafcn", "numpy", "zarr", "tifffile"))
