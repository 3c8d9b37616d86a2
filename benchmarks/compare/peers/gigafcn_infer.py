"""``gigafcn.infer``: exact in fp32 or bf16, blend, patch.  Pyramid and picture count as well."""

from __future__ import annotations

from typing import Any

import gigafcn
from benchmarks.compare.peers.task import Task, empty, serve


def run(task: Task) -> dict[str, Any]:
    """Map an image."""
    network = task.loaded()
    result = gigafcn.infer(
        task.image,
        network.module,
        empty(task.output),
        dtype=task.dtype,
        mean=network.mean,
        std=network.std,
        overwrite=True,
        device="cpu",
        **task.settings,
    )
    return {
        "array": "0",
        "axes": "cyx",
        "compute_seconds": result.summary["compute_seconds"],
        "certificate": result.certificate["class"],
    }


if __name__ == "__main__":
    serve(run, ("gigafcn", "numpy", "zarr", "tifffile"))
