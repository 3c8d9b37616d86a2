"""What does a block cost beside its arithmetic, alone and beside another sweep?

One sweep in one thread, then two in two, each with one thread of arithmetic, in blocks from large
to tiny.  The tiniest have next to no arithmetic: what they take is Python and torch's calls.  Where
that grows with a second sweep, threads wait for Python's lock.

    python -m benchmarks.steps                 # a minute; benchmarks/results/steps.json
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

import torch

from benchmarks.bench_sweep import MODELS, build, write_image
from benchmarks.machine import machine
from gigafcn.engine.allocation import keep_freed_memory
from gigafcn.engine.sweep import Sweep
from gigafcn.geometry import Box
from gigafcn.plan.sweep_plan import SweepPlan, plan_sweep
from gigafcn.run.options import Options
from gigafcn.run.request import prepare
from gigafcn.schedule.job import placed_graph

if TYPE_CHECKING:
    from gigafcn.graph.model_graph import ModelGraph

RESULTS = Path(__file__).resolve().parent / "results" / "steps.json"
SIZE = 4096
CASES = ((256, 1024, (4096, 2048)), (64, 512, (2048, 1024)), (32, 32, (1024, 128)))
"""Height of strips, width of blocks, and the tile (y, x): strips enough to be played from tape."""

ROUNDS = 3


def swept(graph: ModelGraph, plan: SweepPlan, image: torch.Tensor) -> None:
    """Compute a tile and keep nothing."""
    torch.set_num_threads(1)

    def read(box: Box) -> torch.Tensor:
        return image[:, :, box.y0 : box.y1, box.x0 : box.x1]

    with torch.inference_mode():
        Sweep(graph, plan).run(read, lambda box, logits: None)


def seconds(graph: ModelGraph, plan: SweepPlan, image: torch.Tensor, sweeps: int) -> float:
    """Of so many sweeps side by side."""
    threads = [Thread(target=swept, args=(graph, plan, image)) for _ in range(sweeps)]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.perf_counter() - start


def rows_of(name: str, image: Path) -> list[dict[str, Any]]:
    """All cases of one model."""
    request = prepare(image, build(name), Options(device="cpu"))
    graph = placed_graph(request.graph, request.plan)
    request.slide.close()
    pixels = torch.rand(1, 3, SIZE, SIZE).contiguous(memory_format=torch.channels_last)
    rows = []
    for strip, block, shape in CASES:
        tile, period = Box.whole(shape), request.plan.period
        plan = plan_sweep(graph.nodes, graph.output, tile, strip=strip, block=block, period=period)
        blocks = len(plan.strips) * len(plan.blocks)
        row: dict[str, Any] = {"model": name, "nodes": len(graph.nodes)}
        row |= {"strip": strip, "block": block}
        for sweeps in (1, 2):
            times = [seconds(graph, plan, pixels, sweeps) for _ in range(ROUNDS)]
            row[f"ms_per_block_{sweeps}"] = 1e3 * statistics.median(times) / blocks
        rows.append(row)
        print(json.dumps(row), flush=True)
    return rows


def main() -> None:
    """Measure all models and write a JSON file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--models", nargs="*", choices=MODELS, default=list(MODELS))
    chosen = parser.parse_args()
    keep_freed_memory()
    with tempfile.TemporaryDirectory() as folder:
        image = Path(folder) / "image.tiff"
        write_image(image, SIZE)
        rows = [row for name in chosen.models for row in rows_of(name, image)]
    chosen.out.write_text(
        json.dumps({"machine": machine(), "rows": rows}, indent=1) + "\n", "utf-8"
    )


if __name__ == "__main__":
    main()
