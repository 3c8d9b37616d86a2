"""MONAI's ``sliding_window_inference`` over the whole image in memory.

Logits are blended and softmax comes after.  ``buffer_steps`` of 0 is the plain path; else windows
are gathered in a buffer along x before they are added to the output.
"""

from __future__ import annotations

from typing import Any

import torch
from monai.inferers.utils import sliding_window_inference

from benchmarks.compare.peers.task import Task, new_map, read_image, serve


def run(task: Task) -> dict[str, Any]:
    """Map an image."""
    network, settings = task.loaded(), task.settings
    with torch.inference_mode():
        pixels = task.input(network, read_image(task.image))
        logits = sliding_window_inference(
            pixels,
            settings["window"],
            settings["batch"],
            network.module,
            overlap=settings["overlap"],
            mode=settings["weights"],
            buffer_steps=settings["buffer_steps"] or None,
        )
        assert isinstance(logits, torch.Tensor)
        del pixels
        stored = task.stored(logits[0])
    new_map(task, stored.shape)[...] = stored
    return {"array": "", "axes": "cyx"}


if __name__ == "__main__":
    serve(run, ("monai", "numpy", "zarr", "tifffile"))
