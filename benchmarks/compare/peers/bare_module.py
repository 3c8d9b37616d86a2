"""The limit to measure against: the module alone on preloaded crops, for some seconds.

No image is read and no map is written, whatever the task says.
"""

from __future__ import annotations

import functools
import time
from typing import Any

import torch

from benchmarks.bare import folded
from benchmarks.compare.networks import load_network
from benchmarks.compare.peers.task import Task, serve


@functools.cache
def module_at(network: str, fold: bool, channels_last: bool) -> torch.nn.Module:
    """The module at one setting; made once."""
    module = load_network(network).module
    module = folded(module) if fold else module
    if channels_last:
        return module.to(memory_format=torch.channels_last)  # type: ignore[no-any-return, call-overload]
    return module


def run(task: Task) -> dict[str, Any]:
    """Run crops until the time is over."""
    settings = task.settings
    module = module_at(task.network, settings["folded"], settings["channels_last"])
    layout = torch.channels_last if settings["channels_last"] else torch.contiguous_format
    crop, batch = settings["crop"], settings["batch"]
    pixels = torch.rand(batch, 3, crop, crop).contiguous(memory_format=layout)
    done, lasted = 0, 0.0
    with torch.inference_mode():
        module(pixels)
        start = time.perf_counter()
        while lasted < settings["least_seconds"]:
            module(pixels)
            done += batch * crop * crop
            lasted = time.perf_counter() - start
    return {"seconds": lasted, "pixels": done}


if __name__ == "__main__":
    serve(run, ())
