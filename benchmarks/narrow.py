"""What do convolutions with few outputs gain where neighbouring px are computed together?

Each layer as oneDNN has it alone, and as :mod:`gigafcn.engine.packed` has it, in turns on one
core; medians.  Layers for which neighbours do not pay are left out.

    python -m benchmarks.narrow                # seconds; benchmarks/results/narrow.json
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.machine import machine
from gigafcn.engine.allocation import keep_freed_memory
from gigafcn.engine.packed import PackedWeights, packed_weights, vector_lanes

RESULTS = Path(__file__).resolve().parent / "results" / "narrow.json"
SHAPE = (128, 1024)
ROUNDS = 15
LAYERS = (
    (16, 3, 3),
    (4, 3, 3),
    (4, 4, 3),
    (8, 8, 3),
    (16, 8, 3),
    (64, 2, 3),
    (32, 1, 3),
    (8, 4, 7),
)
"""Inputs, outputs, side of the kernel."""


def alone(weight: torch.Tensor, bias: torch.Tensor, found: PackedWeights) -> PackedWeights:
    """The same convolution, each px computed for itself."""
    shape = [1, weight.shape[1], 64, 64]
    packed = torch.ops.mkldnn._reorder_convolution_weight(weight, (0, 0), (1, 1), (1, 1), 1, shape)
    return replace(found, packed=packed, bias=bias, neighbours=1)


def measured(inputs: int, outputs: int, side: int) -> dict[str, Any] | None:
    """Seconds per Mpx of both forms, on one layer with random weights."""
    weight, bias = torch.randn(outputs, inputs, side, side), torch.randn(outputs)
    weight = weight.contiguous(memory_format=torch.channels_last)
    together = packed_weights(weight, bias, (1, 1), (1, 1), 1)
    if together.neighbours == 1:
        return None
    forms = (alone(weight, bias, together), together)
    image = torch.randn(1, inputs, *SHAPE).contiguous(memory_format=torch.channels_last)
    times: tuple[list[float], list[float]] = ([], [])
    padding = (side // 2, side // 2)
    for _ in range(ROUNDS):
        for form, taken in zip(forms, times, strict=True):
            start = time.perf_counter()
            form.convolve(image, padding)
            taken.append(time.perf_counter() - start)
    mpx = SHAPE[0] * SHAPE[1] / 1e6
    seconds = [statistics.median(taken) / mpx for taken in times]
    difference = (forms[0].convolve(image, padding) - forms[1].convolve(image, padding)).abs().max()
    return {
        "inputs": inputs,
        "outputs": outputs,
        "kernel": side,
        "neighbours": together.neighbours,
        "alone_s_mpx": seconds[0],
        "together_s_mpx": seconds[1],
        "times": statistics.median(a / b for a, b in zip(*times, strict=True)),
        "largest_difference": float(difference),
    }


def main() -> None:
    """Measure all layers and write a JSON file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, default=RESULTS)
    chosen = parser.parse_args()
    keep_freed_memory()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    with torch.inference_mode():
        rows = [row for layer in LAYERS if (row := measured(*layer)) is not None]
    for row in rows:
        print(json.dumps(row))
    results = {"machine": machine(), "lanes": vector_lanes(), "rows": rows}
    chosen.out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
