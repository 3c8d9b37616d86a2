"""What does a map of VGG-16 cost at once, against its patches of 224 px every 32 px in batches?

    python -m benchmarks.dense_vgg                # some five minutes on 2 cores
    python -m benchmarks.dense_vgg --size 512 --patches 16 --rounds 1 --out /tmp/dense.json

The dense map is gigafcn's, from file to Zarr; the patches are preloaded and the module runs at its
best batch and layout, without reading or writing.  They cost the same each, so some of them are
timed.  VGG pads its convolutions, so the two maps differ; what is compared is time.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

import gigafcn
from benchmarks.compare.images import drawn
from benchmarks.machine import machine
from gigafcn.model.zoo import build

if TYPE_CHECKING:
    from torch import nn

RESULTS = Path(__file__).resolve().parent / "results" / "dense_vgg.json"
PATCH_PX, STRIDE_PX = 224, 32
BATCHES = (4, 16, 32)


def patch_seconds(module: nn.Module, batch: int, count: int) -> float:
    """Seconds per patch; the module is warm."""
    layout = torch.channels_last
    pixels = torch.rand(batch, 3, PATCH_PX, PATCH_PX).contiguous(memory_format=layout)
    calls = max(1, count // batch)
    with torch.inference_mode():
        module(pixels)
        start = time.perf_counter()
        for _ in range(calls):
            module(pixels)
    return (time.perf_counter() - start) / (calls * batch)


def best_patches(module: nn.Module, count: int) -> tuple[nn.Module, int, bool]:
    """The module, batch and layout that take the least time per patch."""
    tried = {}
    for last in (False, True):
        layout = torch.channels_last if last else torch.contiguous_format
        module = module.to(memory_format=layout)  # type: ignore[call-overload]
        for batch in BATCHES:
            tried[last, batch] = patch_seconds(module, batch, min(count, max(BATCHES)))
    last, batch = min(tried, key=tried.__getitem__)
    layout = torch.channels_last if last else torch.contiguous_format
    return module.to(memory_format=layout), batch, last  # type: ignore[call-overload]


def dense_run(module: nn.Module, image: Path, folder: Path) -> tuple[dict[str, float], Any]:
    """Seconds from file to Zarr, those of computing and storing alone, and the cells (y, x)."""
    start = time.perf_counter()
    result = gigafcn.infer(
        image, module, folder / "map.zarr", patch=PATCH_PX, overwrite=True, activation="softmax"
    )
    seconds = time.perf_counter() - start
    compute = float(result.summary["compute_seconds"])
    return {"dense_seconds": seconds, "dense_compute_seconds": compute}, result.shape[1:]


def measured(size: int, count: int, rounds: int, folder: Path) -> dict[str, Any]:
    """Both ways, taking turns."""
    module = build("vgg16")
    image, _ = drawn(folder, size)
    small, _ = drawn(folder, 512)
    dense_run(module, small, folder)
    ready, batch, last = best_patches(module, count)
    rows = []
    for _ in range(rounds):
        dense, cells = dense_run(module, image, folder)
        patches = patch_seconds(ready, batch, count) * cells[0] * cells[1]
        times = patches / dense["dense_seconds"]
        rows.append(dense | {"patches_seconds": patches, "times": times})
        print(json.dumps(rows[-1]), flush=True)
    return {
        "size_px": size,
        "cells": list(cells),
        "batch": batch,
        "channels_last": last,
        "patches_timed": count,
        "rounds": rows,
        "times": statistics.median(row["times"] for row in rows),
    }


def main() -> None:
    """Measure and write a JSON file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--size", type=int, default=2048)
    parser.add_argument("--patches", type=int, default=128, help="that are timed per round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    with tempfile.TemporaryDirectory() as folder:
        row = measured(chosen.size, chosen.patches, chosen.rounds, Path(folder))
    chosen.out.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"machine": machine()} | row, indent=1)
    chosen.out.write_text(text + "\n", encoding="utf-8")
    print(f"{row['times']:.1f} times as fast as patch by patch")


if __name__ == "__main__":
    main()
