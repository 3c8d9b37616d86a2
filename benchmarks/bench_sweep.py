"""How fast is the sweep, and the whole of ``infer``, against the bare module?  How much memory?

Ratios within one run: bare module, sweep and ``infer`` take turns, and the median of the pairwise
ratios is reported.  Memory is the peak resident size of a process of its own.  A net of each kind
of padding runs on an image of an odd size too, and is planned for one of 100 003 x 99 991 px.

    python -m benchmarks.bench_sweep --out benchmarks/results/sweep.json
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import tifffile
import torch
from monai.networks.nets.basic_unet import BasicUNet
from monai.networks.nets.unet import UNet
from torch import nn

import gigafcn
from benchmarks.bare import Bare, best_bare, paired, rand_input
from benchmarks.machine import machine
from benchmarks.nets import CeilResNet18UNet, ResNet18UNet, ValidThenResized, randomized
from gigafcn.engine.allocation import keep_freed_memory
from gigafcn.engine.sweep import Sweep
from gigafcn.engine.tile import sweep_plan
from gigafcn.geometry import Box
from gigafcn.run.options import Options
from gigafcn.run.request import prepare
from gigafcn.schedule.job import placed_graph

if TYPE_CHECKING:
    from collections.abc import Callable

Pair = tuple[int, int]

MODELS: dict[str, Callable[[], nn.Module]] = {
    "MONAI BasicUNet": lambda: BasicUNet(2, 3, 3, norm="batch"),
    "ResNet-18 U-Net": lambda: ResNet18UNet(3),
    "MONAI UNet(16, 32, 64, 128)": lambda: UNet(
        2, 3, 3, (16, 32, 64, 128), (2, 2, 2), norm="batch"
    ),
}
ODD_MODELS: dict[str, Callable[[], nn.Module]] = {
    "MONAI UNet(16, 32, 64, 128), padded to 8 px": MODELS["MONAI UNet(16, 32, 64, 128)"],
    "valid convolutions, resized": ValidThenResized,
    "ResNet-18 U-Net, pool in ceil mode": CeilResNet18UNet,
}
"""One that pads to a period, and two that see the image itself."""

SMALLER = (1, 183)
"""Px (y, x) by which the odd size is smaller: 8191 x 8009 for 8192."""

LARGE = (100_003, 99_991)
SMALL = "MONAI UNet(16, 32, 64, 128)"
MEMORY_SIZES = (4096, 8192, 16384)


def build(name: str) -> nn.Module:
    """A model with random weights."""
    torch.manual_seed(0)
    return randomized((MODELS | ODD_MODELS)[name]())


def write_image(path: Path, size: int | Pair) -> None:
    """A tiled deflate TIFF of smooth noise, written band by band."""
    generator = np.random.default_rng(0)
    tile = 512
    height, width = (size, size) if isinstance(size, int) else size

    def tiles() -> Any:
        base = generator.integers(0, 255, (tile // 8, tile // 8, 3), dtype=np.uint8)
        texture = base.repeat(8, 0).repeat(8, 1)
        for _ in range(-(-height // tile) * -(-width // tile)):
            yield np.roll(texture, int(generator.integers(tile)), axis=0)

    tifffile.imwrite(
        path,
        tiles(),
        shape=(height, width, 3),
        dtype=np.uint8,
        tile=(tile, tile),
        compression="deflate",
        photometric="rgb",
        bigtiff=True,
    )


def sweep_run(module: nn.Module, image: Path, size: Pair) -> Callable[[], float]:
    """Time of sweeping the whole image as one tile, its pixels preloaded."""
    request = prepare(str(image), module, Options(tile=size))
    graph = placed_graph(request.graph, request.plan)
    plan = sweep_plan(graph, request.plan, Box(0, 0, *size))
    request.slide.close()
    pixels = rand_input(request.plan.geometry.padded)

    def run() -> float:
        start = time.perf_counter()
        with torch.inference_mode():
            Sweep(graph, plan).run(
                lambda b: pixels[:, :, b.y0 : b.y1, b.x0 : b.x1], lambda _box, _pixels: None
            )
        return time.perf_counter() - start

    return run


def infer_run(module: nn.Module, image: Path, folder: Path) -> Callable[[], float]:
    """Time of ``infer`` from file to Zarr with pyramid, without start-up and picture."""

    def run() -> float:
        result = gigafcn.infer(image, module, folder / "map.zarr", overwrite=True)
        return float(result.summary["compute_seconds"])

    return run


def speed(name: str, size: Pair, pairs: int, folder: Path) -> dict[str, Any]:
    """Ratios of one model."""
    module = build(name)
    image = folder / f"{size[0]}-{size[1]}.tiff"
    if not image.exists():
        write_image(image, size)
    bare: Bare = best_bare(module)
    runs = {
        "sweep": sweep_run(module, image, size),
        "infer": infer_run(module, image, folder),
    }
    estimate = gigafcn.plan_run(image, module)
    base, times = paired(lambda: bare.seconds(size[0] * size[1]), runs, pairs)
    mpx = size[0] * size[1] / 1e6
    row: dict[str, Any] = {
        "model": name,
        "size_px": size[0] if size[0] == size[1] else list(size),
        "pairs": pairs,
        "bare_setting": bare.name,
        "bare_mpx_s": mpx / statistics.median(base),
        "plan_seconds": estimate.seconds,
    }
    for key, seconds in times.items():
        row[f"{key}_mpx_s"] = mpx / statistics.median(seconds)
        ratios = [b / s for b, s in zip(base, seconds, strict=True)]
        row[f"{key}_over_bare"] = statistics.median(ratios)
        row[f"{key}_over_bare_range"] = [min(ratios), max(ratios)]
    row["plan_over_measured"] = estimate.seconds / statistics.median(times["infer"])
    return row


MEMORY_CHILD = """
import json
from benchmarks.bench_sweep import SMALL, build
from benchmarks.machine import peak_bytes
import gigafcn
if __name__ == "__main__":
    module = build(SMALL)
    report = gigafcn.plan_run({image!r}, module, tile={tile!r})
    result = gigafcn.infer({image!r}, module, {out!r}, overwrite=True, tile={tile!r})
    seconds = result.summary["compute_seconds"]
    print(json.dumps([peak_bytes(), report.memory_bytes, report.seconds, seconds]))
"""


def memory(size: int, folder: Path) -> dict[str, Any]:
    """Peak memory of ``infer`` with a small net, at one tile width for all sizes."""
    image = folder / f"{size}.tiff"
    if not image.exists():
        write_image(image, size)
    code = MEMORY_CHILD.format(
        image=str(image),
        out=str(folder / "map.zarr"),
        tile=(size, min(MEMORY_SIZES)),
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    peak, projected, estimated, seconds = json.loads(done.stdout.splitlines()[-1])
    return {
        "size_px": size,
        "peak_bytes": peak,
        "projected_bytes": projected,
        "estimated_seconds": estimated,
        "seconds": seconds,
    }


PLANNING_CHILD = """
import json, time
import numpy as np
from benchmarks.bench_sweep import LARGE, build
from benchmarks.machine import peak_bytes
from gigafcn.run.options import Options
from gigafcn.run.request import prepare
if __name__ == "__main__":
    module = build({name!r})
    image = np.broadcast_to(np.zeros((1, 1, 3), np.uint8), (*LARGE, 3))
    prepare(image[:256, :256], module, Options())  # what is loaded once is no part of planning
    start = time.perf_counter()
    request = prepare(image, module, Options())
    request.exact.halo
    plan = request.plan
    print(json.dumps([time.perf_counter() - start, peak_bytes(), plan.geometry.padded]))
"""


def planning(name: str) -> dict[str, Any]:
    """Seconds to plan a large image, and the peak memory of a process that did."""
    code = PLANNING_CHILD.format(name=name)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    seconds, peak, padded = json.loads(done.stdout.splitlines()[-1])
    return {
        "model": name,
        "size_px": list(LARGE),
        "input_px": padded,
        "seconds": seconds,
        "peak_bytes": peak,
    }


def main() -> None:
    """Run what was asked for and write a JSON file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/sweep.json"))
    parser.add_argument("--size", type=int, default=4096)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--models", nargs="*", default=list(MODELS))
    parser.add_argument("--odd-models", nargs="*", default=list(ODD_MODELS))
    parser.add_argument("--sizes", nargs="*", type=int, default=list(MEMORY_SIZES))
    chosen = parser.parse_args()
    keep_freed_memory()  # infer does so by itself; the bare module must not lack it
    results: dict[str, Any] = {"machine": machine(), "speed": [], "memory": [], "planning": []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        odd = (chosen.size - SMALLER[0], chosen.size - SMALLER[1])
        square = [(model, (chosen.size, chosen.size)) for model in chosen.models]
        for model, size in [*square, *((model, odd) for model in chosen.odd_models)]:
            row = speed(model, size, chosen.pairs, folder)
            print(json.dumps(row), flush=True)
            results["speed"].append(row)
        for model in chosen.odd_models:
            row = planning(model)
            print(json.dumps(row), flush=True)
            results["planning"].append(row)
        for side in chosen.sizes:
            row = memory(side, folder)
            print(json.dumps(row), flush=True)
            results["memory"].append(row)
    chosen.out.parent.mkdir(parents=True, exist_ok=True)
    chosen.out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
