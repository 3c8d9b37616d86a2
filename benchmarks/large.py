"""Does memory stay the same however large the image is, and do 131072 x 131072 px get done?

Images are Zarr arrays of which one chunk is stored and the rest reads as grey, so that none takes
disk.  Each run has a process of its own, and its peak resident size is compared with the plan.
What was found out about the model on this machine before does not count: strips chosen for a
larger image take more memory.

    python -m benchmarks.large --out benchmarks/results/large.json
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from PIL import Image

from benchmarks.machine import machine

SIZES = (8192, 16384, 32768, 65536, 131072)
HEIGHT = 2048
"""Rows of the strip that is computed of each image, over its whole width."""

TILE = (2048, 4096)
MEMORY = "4GiB"
TISSUE = 0.05
"""Part of the largest image that the mask marks."""

CHILD = """
import json, sys
from pathlib import Path
from monai.networks.nets.unet import UNet
import torch
from benchmarks.machine import peak_bytes
from benchmarks.nets import randomized
import gigafcn
if __name__ == "__main__":
    torch.manual_seed(0)
    net = randomized(UNet(2, 3, 3, (16, 32, 64), (2, 2), norm="batch"))
    given = json.loads(sys.argv[1])
    options = given["options"] | {"memory": 4 << 30}
    if options.get("region"):
        options["region"] = tuple(options["region"])
    if options.get("tile"):
        options["tile"] = tuple(options["tile"])
    report = gigafcn.plan_run(given["image"], net, **options)
    result = gigafcn.infer(given["image"], net, given["output"], overwrite=True, **options)
    print(json.dumps({
        "peak_bytes": peak_bytes(),
        "planned_bytes": report.memory_bytes,
        "planned_seconds": report.seconds,
        "seconds": result.summary["compute_seconds"],
        "bottleneck": result.summary["bottleneck"],
        "bottleneck_share": result.summary["bottleneck_share"],
    }))
"""


def write_image(path: Path, size: int) -> None:
    """A grey image (y, x, c) of which the first chunk holds noise."""
    image = zarr.create_array(
        path, shape=(size, size, 3), chunks=(1024, 1024, 3), dtype="uint8", fill_value=200
    )
    image[:1024, :1024] = np.random.default_rng(0).integers(0, 255, (1024, 1024, 3), np.uint8)


def write_mask(path: Path) -> None:
    """Round pieces of tissue that cover a known part of the slide."""
    generator = np.random.default_rng(1)
    mask = np.zeros((2048, 2048), bool)
    y, x = np.ogrid[:2048, :2048]
    while mask.mean() < TISSUE:
        cy, cx = generator.integers(0, 2048, 2)
        radius = generator.integers(40, 160)
        mask |= (y - cy) ** 2 + (x - cx) ** 2 < radius**2
    Image.fromarray(mask.astype(np.uint8) * 255).save(path)


def measured(image: Path, folder: Path, **options: Any) -> dict[str, Any]:
    """One run in a process of its own."""
    given = {"image": str(image), "output": str(folder / "map.zarr"), "options": options}
    done = subprocess.run(
        [sys.executable, "-c", CHILD, json.dumps(given)],
        capture_output=True, text=True, check=True,
        env=os.environ | {"GIGAFCN_CACHE": str(folder / "cache")},
    )  # fmt: skip
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    """Run all sizes and write a JSON file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/large.json"))
    parser.add_argument("--sizes", nargs="*", type=int, default=list(SIZES))
    chosen = parser.parse_args()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        mask = folder / "tissue.png"
        write_mask(mask)
        for size in chosen.sizes:
            image = folder / f"{size}.zarr"
            write_image(image, size)
            region = (0, 0, HEIGHT, size)
            row: dict[str, Any] = {"image": size, "computed": [HEIGHT, size], "tissue": None}
            rows.append(row | measured(image, folder, region=region, tile=TILE))
            print(json.dumps(rows[-1]), flush=True)
        row = {"image": size, "computed": [size, size], "tissue": TISSUE}
        rows.append(row | measured(image, folder, tissue=str(mask)))
        print(json.dumps(rows[-1]), flush=True)
    results = {"machine": machine(), "memory": MEMORY, "model": "MONAI UNet(16, 32, 64)"}
    chosen.out.write_text(json.dumps(results | {"rows": rows}, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
