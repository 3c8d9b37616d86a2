"""TIAToolbox 2's ``SemanticSegmentor`` in slide mode: TIFF to Zarr by its own reader and writer.

It stores float32 whatever is asked for, and averages overlapping probabilities.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import zarr

from benchmarks.architectures.torchvision_models import import_torchvision
from benchmarks.compare.peers.task import Task, empty, serve

import_torchvision()  # TIAToolbox imports it for models of its own

from tiatoolbox.models.engine.io_config import IOSegmentorConfig  # noqa: E402
from tiatoolbox.models.engine.semantic_segmentor import SemanticSegmentor  # noqa: E402
from tiatoolbox.models.models_abc import ModelABC  # noqa: E402


class Probabilities(ModelABC):  # type: ignore[misc]
    """The network as TIAToolbox wants one: stored pixels in, probabilities out."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.task, self.network = task, task.loaded()
        self.net = self.network.module

    def forward(self, stored: torch.Tensor) -> torch.Tensor:
        """Probabilities (n, classes, y, x) of stored pixels (n, 3, y, x)."""
        scores: torch.Tensor = self.net(self.task.input(self.network, stored)).softmax(1)
        return scores

    @staticmethod
    def infer_batch(model: Any, batch_data: Any, *, device: str) -> Any:
        """Probabilities (n, y, x, classes) of stored pixels (n, y, x, 3)."""
        with torch.inference_mode():
            return (
                model(torch.as_tensor(batch_data).permute(0, 3, 1, 2)).permute(0, 2, 3, 1).numpy()
            )


def run(task: Task) -> dict[str, Any]:
    """Map an image."""
    settings = task.settings
    window = settings["window"]
    step = round(window * (1 - settings["overlap"]))
    baseline = {"units": "baseline", "resolution": 1.0}
    layout = IOSegmentorConfig(
        input_resolutions=[baseline],
        output_resolutions=[baseline],
        patch_input_shape=(window, window),
        patch_output_shape=(window, window),
        stride_shape=(step, step),
        save_resolution=baseline,
    )
    engine = SemanticSegmentor(
        model=Probabilities(task), batch_size=settings["batch"], num_workers=0, verbose=False
    )
    engine.run(
        images=[Path(task.image)],
        patch_mode=False,
        ioconfig=layout,
        save_dir=empty(task.output),
        output_type="zarr",
        auto_get_mask=False,
        return_probabilities=True,
        device="cpu",
    )
    (found,) = Path(task.output).glob("*.zarr")
    arrays = {name: array.shape for name, array in zarr.open_group(found, mode="r").arrays()}
    name = "probabilities"
    if name not in arrays:
        raise RuntimeError(f"no {name} among {arrays}")
    return {"array": f"{found.name}/{name}", "axes": "yxc"}


if __name__ == "__main__":
    serve(run, ("tiatoolbox", "numpy", "zarr", "tifffile", "dask"))
