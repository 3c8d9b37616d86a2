"""Does a GPU give the map of the CPU, and how fast against the bare compiled module?  One file.

    python -m benchmarks.gpu                       # sets up, checks and times; under 8 minutes
    python -m benchmarks.gpu --device cpu --size 1024 --repeats 1    # does the script run?

Without a GPU it says so and ends with 0.  It draws an image, compares maps of a part of it in fp32
and bf16 with the CPU's in fp32, then times ``infer`` from file to Zarr against the bare module:
compiled, bf16, channels-last, on preloaded crops, the best of some batches and sides, no halo, no
I/O.  How busy the device is comes from ``nvidia-smi``'s own counter, read ten times a second.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

import gigafcn
from benchmarks.bare import folded
from benchmarks.bench_sweep import MODELS, build, write_image
from benchmarks.machine import machine
from gigafcn.output import open_map
from gigafcn.output.ownership import KEY, attributes_of
from gigafcn.run import tuning

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

RESULTS = Path(__file__).resolve().parent / "results" / "gpu.json"
CROPS, BATCHES = (512, 1024), (1, 4, 16)
COMPARED_PX = 1024
"""Side of the part whose map is compared with the CPU's."""


def bare_seconds_per_mpx(module: nn.Module, device: str) -> tuple[float, str]:
    """Of the bare module at its best setting, and which that is."""
    ready = folded(module).to(device, torch.bfloat16, memory_format=torch.channels_last)  # type: ignore[call-overload]
    tried: dict[str, float] = {}
    for crop in CROPS:
        for batch in BATCHES:
            name = f"{batch} crops of {crop}, bf16, channels-last, compiled"
            try:
                tried[name] = _bare(torch.compile(copy.deepcopy(ready)), crop, batch, device)
            except RuntimeError as error:  # memory
                print(f"{name}: {' '.join(str(error).split())[:120]}", file=sys.stderr)
    best = min(tried, key=tried.__getitem__)
    return tried[best], best


def _bare(
    module: Callable[[torch.Tensor], torch.Tensor], crop: int, batch: int, device: str
) -> float:
    pixels = torch.rand(batch, 3, crop, crop, device=device, dtype=torch.bfloat16)
    pixels = pixels.contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        for _ in range(3):
            module(pixels)
        synchronize(device)
        start, calls = time.perf_counter(), 0
        while time.perf_counter() - start < 2:
            module(pixels)
            synchronize(device)
            calls += 1
    return (time.perf_counter() - start) / (calls * pixels[:, 0].numel() / 1e6)


def synchronize(device: str) -> None:
    """Wait for what the device still does."""
    if device.startswith("cuda"):
        torch.cuda.synchronize()


class Busy:
    """How busy the device is while the context lasts, 0 to 1; None where nobody counts."""

    def __init__(self, device: str) -> None:
        self._command = [
            "nvidia-smi",
            "--query-gpu=utilization.gpu",
            "--format=csv,noheader,nounits",
        ]
        self._wanted = device.startswith("cuda")
        self._ended = threading.Event()
        self._seen: list[float] = []

    def __enter__(self) -> Busy:
        """Begin to read."""
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End."""
        self._ended.set()
        self._thread.join()

    def _read(self) -> None:
        while self._wanted and not self._ended.wait(0.1):
            told = subprocess.run(self._command, capture_output=True, text=True, check=False)
            if told.returncode == 0:
                self._seen.append(float(told.stdout.split()[0]) / 100)

    @property
    def share(self) -> float | None:
        """Mean of what was read."""
        return statistics.mean(self._seen) if self._seen else None


def differences(module: nn.Module, image: Path, folder: Path, device: str) -> dict[str, float]:
    """Largest difference of scores from the CPU's in fp32, by precision."""
    part = (0, 0, COMPARED_PX, COMPARED_PX)

    def scores(name: str, **options: Any) -> Any:
        path = folder / f"{name}.zarr"
        gigafcn.infer(image, module, path, region=part, dtype="float32", overwrite=True, **options)
        return np.asarray(open_map(path).scores[0][...])

    whole = scores("cpu", device="cpu")
    return {
        precision: float(
            np.abs(scores(precision, device=device, precision=precision) - whole).max()
        )
        for precision in ("fp32", "bf16")
    }


def timed(
    module: nn.Module, image: Path, folder: Path, device: str, repeats: int
) -> dict[str, Any]:
    """Figures of ``infer``, by precision; the first run of each also tries strips and columns."""
    tuning.WORTH_TRIALS = 0  # as for a whole slide
    found: dict[str, Any] = {}
    for precision in ("fp32", "bf16"):
        runs, busy = [], []
        for number in range(repeats + 1):
            with Busy(device) as watched:
                result = gigafcn.infer(
                    image, module, folder / "timed.zarr", overwrite=True, device=device,
                    precision=precision, verify=number == 0,
                )  # fmt: skip
            runs.append(result.summary)
            busy.append(watched.share)
        best = sorted(runs[1:], key=lambda summary: summary["compute_seconds"])[repeats // 2]
        plan = attributes_of(folder / "timed.zarr")[KEY]["plan"]
        found[precision] = {
            "strip": plan["strip"],
            "block": plan["block"],
            "in_flight": plan["lanes"],
            "mpx_s": best["mpx_per_s"],
            "seconds": best["compute_seconds"],
            "bottleneck": best["bottleneck"],
            "device_busy": busy[-1],
        }
    return found


def main() -> None:
    """Check and time all models; write a JSON file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--size", type=int, default=16384)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--models", nargs="*", default=list(MODELS))
    chosen = parser.parse_args()
    if chosen.device.startswith("cuda") and not torch.cuda.is_available():
        print("no GPU here: nothing was checked or timed, the figures of the CPU stand")
        return
    name = torch.cuda.get_device_name() if chosen.device.startswith("cuda") else chosen.device
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        image = folder / "image.tiff"
        write_image(image, chosen.size)
        for model in chosen.models:
            module = build(model)
            seconds, setting = bare_seconds_per_mpx(module, chosen.device)
            row = {"model": model, "bare_mpx_s": 1 / seconds, "bare_setting": setting}
            row["difference_from_cpu"] = differences(module, image, folder, chosen.device)
            row["infer"] = timed(module, image, folder, chosen.device, chosen.repeats)
            row["bf16_over_bare"] = row["infer"]["bf16"]["mpx_s"] * seconds
            print(json.dumps(row), flush=True)
            rows.append(row)
    found = {"device": name, "size_px": chosen.size, "machine": machine(), "rows": rows}
    if chosen.out is not None or chosen.device.startswith("cuda"):
        out = chosen.out or RESULTS
        out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
