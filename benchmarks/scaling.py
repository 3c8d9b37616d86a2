"""Does a px of a huge image cost what a px of a small one costs?  Seconds per Mpx over the size.

    python -m benchmarks.scaling                  # 2048 to 65536 px, some ten minutes
    python -m benchmarks.scaling --sizes 2048 4096 --out /tmp/scaling.json

The image is a Zarr array whose chunks are absent, so no huge file is written; its map of one
colour takes hardly any room either.  Each size runs in a process of its own.  What is left out by
that is decoding, and compressing what does not compress; the table of peers has both.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import zarr

from benchmarks.machine import machine

RESULTS = Path(__file__).resolve().parent / "results" / "scaling.json"
SIZES = (2048, 4096, 8192, 16384, 32768, 65536)
SMALL_REPEATS, SMALL_PX = 3, 8192
"""Up to this size a run is repeated, and the median taken."""

FILL, CHUNK_PX = 180, 1024

CHILD = """
import json
import gigafcn
from benchmarks.bench_sweep import SMALL, build
from benchmarks.machine import peak_bytes
if __name__ == "__main__":
    module = build(SMALL)
    gigafcn.infer({small!r}, module, {warm!r}, overwrite=True, memory={memory})
    result = gigafcn.infer({image!r}, module, {out!r}, overwrite=True, memory={memory})
    statuses = {{int(s) for s in gigafcn.open_map({out!r}).status[...].ravel()}}
    print(json.dumps({{
        "seconds": result.seconds,
        "compute_seconds": result.summary["compute_seconds"],
        "peak_bytes": peak_bytes(),
        "statuses": sorted(statuses),
    }}))
"""


def sparse(path: Path, size: int) -> Path:
    """An image that is one document on disk."""
    zarr.create_array(
        store=str(path),
        shape=(size, size, 3),
        chunks=(CHUNK_PX, CHUNK_PX, 3),
        dtype="uint8",
        fill_value=FILL,
        overwrite=True,
    )
    return path


def mapped(size: int, memory: int, folder: Path) -> dict[str, Any]:
    """What one run took, after a small one that counts in nothing."""
    code = CHILD.format(
        small=str(sparse(folder / "small.zarr", min(SIZES))),
        warm=str(folder / "warm-map.zarr"),
        image=str(sparse(folder / "image.zarr", size)),
        out=str(folder / "map.zarr"),
        memory=memory,
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{size} px failed: {done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    if found["statuses"] != [1]:
        raise SystemExit(f"{size} px: not every chunk was computed: {found['statuses']}")
    return found


def row(size: int, memory: int, folder: Path) -> dict[str, Any]:
    """The median run of one size."""
    count = SMALL_REPEATS if size <= SMALL_PX else 1
    runs = [mapped(size, memory, folder) for _ in range(count)]
    mpx = size * size / 1e6
    return {
        "size_px": size,
        "runs": count,
        "seconds_per_mpx": statistics.median(r["seconds"] for r in runs) / mpx,
        "compute_seconds_per_mpx": statistics.median(r["compute_seconds"] for r in runs) / mpx,
        "peak_bytes": max(r["peak_bytes"] for r in runs),
    }


def main() -> None:
    """Measure every size and write a JSON file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--sizes", nargs="*", type=int, default=list(SIZES))
    parser.add_argument("--memory-gib", type=float, default=4.0)
    chosen = parser.parse_args()
    memory = round(chosen.memory_gib * 2**30)
    rows = []
    for size in chosen.sizes:
        with tempfile.TemporaryDirectory() as folder:
            rows.append(row(size, memory, Path(folder)))
        print(json.dumps(rows[-1]), flush=True)
        found = {"machine": machine(), "memory_bytes": memory, "rows": rows}
        chosen.out.parent.mkdir(parents=True, exist_ok=True)
        chosen.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
