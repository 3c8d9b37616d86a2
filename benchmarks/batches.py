"""How many windows should a call of patch mode take?  As many as blend's, against twice as many.

``infer`` from the first tile to the finished map, on windows side by side.  The two take turns.

    python -m benchmarks.batches
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gigafcn
from benchmarks.bench_sweep import write_image
from benchmarks.machine import machine
from benchmarks.nets import ResNet18Classifier, randomized
from gigafcn.model.zoo import build
from gigafcn.run.windowed import CALL_PX, MOST_WINDOWS

if TYPE_CHECKING:
    from torch import nn

RESULTS = Path(__file__).resolve().parent / "results" / "batches.json"
RESNET, VGG = "ResNet-18 classifier", "VGG-16"
CASES = (
    (RESNET, 96, 4096),
    (RESNET, 224, 4096),
    (RESNET, 256, 4096),
    (RESNET, 256, 8192),
    (RESNET, 512, 4096),
    (VGG, 224, 2048),
)
"""Model, side of a window and of the image in px."""


def _module(model: str) -> nn.Module:
    return randomized(ResNet18Classifier(3)) if model == RESNET else build("vgg16")


def measured(module: nn.Module, image: Path, window: int, rounds: int) -> dict[str, Any]:
    """Seconds of the tiles with as many windows per call as blend's, and with twice as many."""
    once = max(1, min(MOST_WINDOWS, CALL_PX["cpu"] // window**2))
    batches = (once, min(MOST_WINDOWS, 2 * once))
    seconds: dict[int, list[float]] = {batch: [] for batch in batches}
    for turn in range(-1, rounds):
        for batch in batches if turn % 2 else reversed(batches):
            with tempfile.TemporaryDirectory() as folder:
                result = gigafcn.infer(
                    image, module, Path(folder) / "map.zarr", mode="patch", window=window,
                    step=window, batch=batch, activation="softmax",
                )  # fmt: skip
            if turn >= 0:  # the first leaves in a cache what is known of the model
                seconds[batch].append(float(result.summary["compute_seconds"]))
    first, second = seconds.values()
    times = [a / b for a, b in zip(first, second, strict=True)]
    return {
        "batches": batches,
        "seconds": [first, second],
        "times_as_fast": statistics.median(times),
        "range": [min(times), max(times)],
    }


def main() -> None:
    """Measure and write a JSON file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--rounds", type=int, default=5)
    chosen = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for model, window, size in CASES:
            image = Path(folder) / f"{size}.tiff"
            if not image.exists():
                write_image(image, size)
            row = measured(_module(model), image, window, chosen.rounds)
            rows.append({"model": model, "window": window, "size_px": size} | row)
            print(json.dumps(rows[-1]), flush=True)
    chosen.out.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"machine": machine(), "rows": rows}, indent=1)
    chosen.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
