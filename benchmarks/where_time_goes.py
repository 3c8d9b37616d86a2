"""Where does the time of ``infer`` go?  Its profile, summed: what its threads did for how long.

The second of two runs counts, since the first leaves in a cache what is known of the model.

    python -m benchmarks.where_time_goes
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

import gigafcn
from benchmarks.bench_sweep import SMALL, build, write_image
from benchmarks.machine import machine
from benchmarks.nets import ResNet18Classifier, randomized

if TYPE_CHECKING:
    from torch import nn

RESULTS = Path(__file__).resolve().parent / "results" / "where_time_goes.json"
UNET, CLASSIFIER = "ResNet-18 U-Net", "ResNet-18 classifier"
RUNS: tuple[tuple[str, int, dict[str, Any]], ...] = (
    (SMALL, 4096, {}),
    (SMALL, 8192, {}),
    (UNET, 8192, {}),
    (UNET, 8192, {"mode": "blend", "window": 512, "overlap": 0.25}),
    (CLASSIFIER, 8192, {"mode": "patch", "window": 256, "step": 256}),
)
"""Model, side of the image and options."""


def _built(model: str) -> nn.Module:
    torch.manual_seed(0)
    return randomized(ResNet18Classifier(3)) if model == CLASSIFIER else build(model)


def profiled(
    module: nn.Module, image: Path, folder: Path, options: dict[str, Any]
) -> dict[str, Any]:
    """Seconds before the first tile, of the tiles, and after; thread seconds by what was done."""
    begun: list[float] = []
    start = time.perf_counter()
    result = gigafcn.infer(
        image, module, folder / "map.zarr", activation="softmax", overwrite=True, profile=True,
        progress=lambda _: begun.append(time.perf_counter()), **options,
    )  # fmt: skip
    total = time.perf_counter() - start
    trace = json.loads((folder / "map.zarr.run" / "profile.json").read_text("utf-8"))
    done = [event for event in trace["traceEvents"] if event["ph"] == "X"]
    took: Counter[str] = Counter()
    for event in done:
        took[event["name"]] += event["dur"] / 1e6
    before, tiles = begun[0] - start, float(result.summary["compute_seconds"])
    return {
        "seconds": total,
        "before": before,
        "tiles": tiles,
        "after": total - before - tiles,
        "threads": dict(took),
    }


def main() -> None:
    """Measure and write a JSON file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=RESULTS)
    chosen = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for model, size, options in RUNS:
            image = folder / f"{size}.tiff"
            if not image.exists():
                write_image(image, size)
            module = _built(model)
            profiled(module, image, folder, options)
            told = f"{model}, {options['mode']}" if options else model
            planned = gigafcn.plan_run(image, module, activation="softmax", **options).seconds
            found = {"planned": planned, **profiled(module, image, folder, options)}
            rows.append({"model": told, "size_px": size, **found})
            print(json.dumps(rows[-1]), flush=True)
    results = {"machine": machine(), "rows": rows}
    chosen.out.write_text(json.dumps(results, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
