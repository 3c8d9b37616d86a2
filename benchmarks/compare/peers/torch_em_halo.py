"""torch-em's ``predict_with_halo`` and ``predict_with_halo_pipelined``, from memory into Zarr.

Its default ``preprocess`` normalises every block by itself; here pixels are normalised as the model
was trained, which is what its documentation asks for in that case.
"""

from __future__ import annotations

from typing import Any

import torch

from benchmarks.architectures.torchvision_models import import_torchvision
from benchmarks.compare.peers.task import Task, new_map, read_image, serve

import_torchvision()  # torch-em imports it by the way

from torch_em.util import prediction  # noqa: E402


def run(task: Task) -> dict[str, Any]:
    """Map an image."""
    network, settings = task.loaded(), task.settings
    image = read_image(task.image)[0].numpy()
    block, halo = settings["block"], settings["halo"]

    def preprocess(stored: Any) -> Any:
        return task.input(network, torch.from_numpy(stored)[None])[0].numpy()

    def postprocess(logits: Any) -> Any:
        return task.stored(torch.from_numpy(logits))

    def predict(module: torch.nn.Module, pixels: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode():
            scores: torch.Tensor = module(pixels)
        return scores

    arguments: dict[str, Any] = {
        "gpu_ids": ["cpu"],
        "block_shape": (block, block),
        "halo": (halo, halo),
        "output": new_map(task, (3, *image.shape[1:])),
        "preprocess": preprocess,
        "postprocess": postprocess,
        "with_channels": True,
        "disable_tqdm": True,
        "prediction_function": predict,
    }
    if settings["pipelined"]:
        prediction.predict_with_halo_pipelined(
            image, network.module, **arguments, batch_size=settings["batch"]
        )
    else:
        prediction.predict_with_halo(image, network.module, **arguments)
    return {"array": "", "axes": "cyx"}


if __name__ == "__main__":
    serve(run, ("torch-em", "numpy", "zarr", "tifffile"))
