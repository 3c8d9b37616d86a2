"""The recipe of dask's documentation: ``map_overlap`` over chunks, with threads, TIFF to Zarr."""

from __future__ import annotations

from typing import Any

import dask
import dask.array
import tifffile
import torch
import zarr

from benchmarks.compare.peers.task import Task, new_map, serve


def run(task: Task) -> dict[str, Any]:
    """Map an image."""
    network, settings = task.loaded(), task.settings
    threads = torch.get_num_threads()
    workers, chunk, halo = settings["workers"], settings["chunk"], settings["halo"]

    def predict(stored: Any) -> Any:
        with torch.inference_mode():
            planes = torch.from_numpy(stored).permute(2, 0, 1)[None]
            logits = network.module(task.input(network, planes))
            return task.stored(logits[0]).transpose(1, 2, 0)

    torch.set_num_threads(threads // workers)
    try:
        with tifffile.imread(task.image, aszarr=True) as store:
            image = dask.array.from_array(zarr.open(store, mode="r"), chunks=(chunk, chunk, 3))
            depth = {0: halo, 1: halo, 2: 0}
            scores = image.map_overlap(
                predict, depth=depth, boundary="reflect", dtype=task.dtype, meta=image._meta
            )
            target = new_map(task, scores.shape, chunks=(chunk, chunk, 3))
            with dask.config.set(scheduler="threads", num_workers=workers):
                dask.array.store(scores, target, lock=False)
    finally:
        torch.set_num_threads(threads)
    return {"array": "", "axes": "yxc"}


if __name__ == "__main__":
    serve(run, ("dask", "numpy", "zarr", "tifffile"))
