"""How long after the command was given does the second slide with one model compute?

The first slide leaves in a cache what is known of the model.  Each run is a process of its own; the
median counts.

    python -m benchmarks.second_slide
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.bench_sweep import SMALL, write_image
from benchmarks.machine import machine

RESULTS = Path(__file__).resolve().parent / "results" / "second_slide.json"
SIZE, ROUNDS = 4096, 5
MODELS = (SMALL, "ResNet-18 U-Net")

BUILDERS = """
from benchmarks.bench_sweep import build
def small():
    return build({small!r})
def large():
    return build({large!r})
"""


def mapped(slide: Path, model: str, folder: Path) -> dict[str, float]:
    """Seconds from the start of the process to the first px asked for, to the map, to its end."""
    command = [sys.executable, "-m", "gigafcn", "infer", str(slide), "--model", model, "--json"]
    command += ["--output", str(folder / "map.zarr"), "--overwrite"]
    places = os.pathsep.join([str(folder), str(Path(__file__).resolve().parents[1])])
    environment = os.environ | {"GIGAFCN_CACHE": str(folder / "cache"), "PYTHONPATH": places}
    start = time.perf_counter()
    found: dict[str, float] = {}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        for line in process.stdout:
            event = json.loads(line)
            kind = "computing" if event["event"] == "progress" else event["event"]
            found.setdefault(kind, time.perf_counter() - start)
    if process.returncode:
        raise SystemExit(f"gigafcn ended with {process.returncode}")
    return found | {"ended": time.perf_counter() - start}


def row(name: str, model: str, folder: Path) -> dict[str, Any]:
    """The first slide, and the median of later ones."""
    first, second = folder / "first.tiff", folder / "second.tiff"
    begun = mapped(first, model, folder)
    later = [mapped(second, model, folder) for _ in range(ROUNDS)]
    return {
        "model": name,
        "size_px": SIZE,
        "first_slide": begun,
        "second_slide": {key: statistics.median(run[key] for run in later) for key in begun},
        "computing_range": [f(run["computing"] for run in later) for f in (min, max)],
    }


def main() -> None:
    """Measure both models and write a JSON file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=RESULTS)
    chosen = parser.parse_args()
    rows = []
    for name, function in zip(MODELS, ("small", "large"), strict=True):
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            code = BUILDERS.format(small=MODELS[0], large=MODELS[1])
            (folder / "second_slide_models.py").write_text(code, "utf-8")
            for slide in ("first.tiff", "second.tiff"):
                write_image(folder / slide, SIZE)
            rows.append(row(name, f"second_slide_models:{function}", folder))
        print(json.dumps(rows[-1]), flush=True)
    results = {"machine": machine(), "rounds": ROUNDS, "rows": rows}
    chosen.out.write_text(json.dumps(results, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
