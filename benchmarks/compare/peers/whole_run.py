"""The whole run: what every map is compared with.  The untouched module on the whole image."""

from __future__ import annotations

from typing import Any

import torch

from benchmarks.compare.peers.task import Task, new_map, read_image, serve


def run(task: Task) -> dict[str, Any]:
    """Map an image whose sides are multiples of the model's period."""
    network = task.loaded()
    with torch.inference_mode():
        pixels = task.input(network, read_image(task.image))
        stored = task.stored(network.module(pixels)[0])
    new_map(task, stored.shape)[...] = stored
    return {"array": "", "axes": "cyx"}


if __name__ == "__main__":
    serve(run, ("numpy", "zarr", "tifffile"))
