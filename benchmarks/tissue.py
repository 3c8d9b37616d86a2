"""How much of the time does a map of a slide take of which a fifth shows tissue?

python -m benchmarks.tissue            # print the figures
python -m benchmarks.tissue --write    # and put them into benchmarks/results/tissue.json

A pyramidal TIFF of glass with two islands of stain, together a fifth of it, is mapped whole and
with ``--tissue auto``, in turns.  The target: at most 30 % of the whole map's time.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import tifffile

import gigafcn
from benchmarks.machine import machine
from gigafcn.output import open_map
from gigafcn.output.store import ChunkStatus

if TYPE_CHECKING:
    from numpy.typing import NDArray

RESULT = Path(__file__).with_name("results") / "tissue.json"
MODEL = "demonstration"
SHAPE = (16384, 16384)
ISLANDS = ((2000, 1400, 9400, 5800), (6600, 10200, 14200, 13000))
"""y0, x0, y1, x1: together a fifth of the slide."""

CELL_PX = 16
REPEATS = 3


def _stain(random: np.random.Generator, shape: tuple[int, int]) -> NDArray[np.uint8]:
    """Stain whose colour varies from cell to cell, and little from px to px."""
    height, width = (-(-side // CELL_PX) for side in shape)
    cells = random.integers(-20, 21, (height, width, 3)).repeat(CELL_PX, 0).repeat(CELL_PX, 1)
    fine = random.integers(-4, 5, (*shape, 3))
    colour = np.array((205, 130, 180)) + cells[: shape[0], : shape[1]] + fine
    stain: NDArray[np.uint8] = np.clip(colour, 0, 255).astype(np.uint8)
    return stain


def draw(path: Path) -> None:
    """Write the slide."""
    random = np.random.default_rng(0)
    image = random.integers(234, 243, (*SHAPE, 3), np.uint8)
    for y0, x0, y1, x1 in ISLANDS:
        image[y0:y1, x0:x1] = _stain(random, (y1 - y0, x1 - x0))
    options: dict[str, Any] = {"tile": (512, 512), "photometric": "rgb", "compression": "jpeg"}
    with tifffile.TiffWriter(path) as writer:  # a pyramid, as scanners write it
        writer.write(image, subifds=2, **options)
        for factor in (4, 16):
            coarse = np.ascontiguousarray(image[::factor, ::factor])
            writer.write(coarse, subfiletype=1, **options)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    seconds: dict[str, list[float]] = {"none": [], "auto": []}
    with tempfile.TemporaryDirectory() as folder:
        # Strips and blocks are tried once per model and machine: not within a measurement.
        slide, path = Path(folder) / "slide.tif", Path(folder) / "map.zarr"
        draw(slide)
        gigafcn.plan_run(slide, MODEL)
        for _ in range(REPEATS):
            for tissue, taken in seconds.items():
                start = time.perf_counter()
                gigafcn.infer(slide, MODEL, path, tissue=tissue, overwrite=True, verify=False)
                taken.append(time.perf_counter() - start)
        stored = open_map(path)
        share = float((stored.status == ChunkStatus.COMPUTED).mean())
        computed = stored.provenance["tissue"]["computed_share"]
    drawn = sum((y1 - y0) * (x1 - x0) for y0, x0, y1, x1 in ISLANDS) / (SHAPE[0] * SHAPE[1])
    ratios = [a / b for a, b in zip(seconds["auto"], seconds["none"], strict=True)]
    found = {
        "model": f"{MODEL}, fp32",
        "slide_px": SHAPE,
        "tissue_share": round(drawn, 4),
        "chunks_with_tissue": round(share, 4),
        "computed_share": float(computed),
        "seconds": {name: [round(s, 2) for s in taken] for name, taken in seconds.items()},
        "time_share": round(statistics.median(ratios), 4),
        "time_share_range": [round(min(ratios), 4), round(max(ratios), 4)],
        "load_average_at_the_end": [round(n, 2) for n in os.getloadavg()],
        "machine": machine(),
    }
    print(json.dumps(found, indent=1))
    if arguments.write:
        RESULT.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
