"""Does a GPU give the map of the CPU, and how fast against the bare compiled module?  One file.

    python -m benchmarks.gpu                       # sets up, checks and times; under 8 minutes
    python -m benchmarks.gpu --device cpu --size 1024 --repeats 1    # does the script run?

Without a GPU it says so and ends with 0.  It draws an image, compares maps of a part of it in fp32
and bf16 with the CPU's in fp32, then times ``infer`` from file to Zarr against the bare module:
compiled, bf16, channels-last, on preloaded crops, the best of some batches and sides, no halo, no
I/O.  How busy the device is comes from ``nvidia-smi``'s own counter, read ten times a second, from
the first reading at which it does anything to the last.  A map that is further from the CPU's than
rounding explains ends the script with 1, once all is written; no model is begun that would not be
done with in time if it took as long as the longest so far.
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
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

import gigafcn
from benchmarks.bare import folded
from benchmarks.bench_sweep import MODELS, SMALL, build, write_image
from benchmarks.machine import machine
from gigafcn.output import open_map
from gigafcn.output.ownership import KEY, attributes_of
from gigafcn.run import tuning

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import nn

RESULTS = Path(__file__).resolve().parent / "results" / "gpu.json"
BATCHES = ((1, 1024), (4, 1024), (16, 512))
"""Crops at a time, and their side: each is compiled anew, which takes longer than to time it."""

ASKED = {"over_bare": 0.9, "busy": 0.9}
MOST = {"fp32": ("largest", 1e-4), "bf16": ("mean", 2**-8)}
"""What differences of probabilities from the CPU's are rounding.  In fp32 both round logits of
magnitude 10 in another order; in bf16 one step of its 8 bits, on average: single px may tip."""

MIDDLE = "ResNet-18 U-Net"
COMPARED_PX = 1024
"""Side of the part whose map is compared with the CPU's."""


def bare_seconds_per_mpx(module: nn.Module, device: str) -> tuple[float, str]:
    """Of the bare module at its best setting, and which that is."""
    ready = folded(module).to(device, torch.bfloat16, memory_format=torch.channels_last)  # type: ignore[call-overload]
    tried: dict[str, float] = {}
    for batch, crop in BATCHES:
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
        """Mean of what was read from its first work to its last."""
        working = [i for i, share in enumerate(self._seen) if share]
        if not working:
            return None
        return statistics.mean(self._seen[working[0] : working[-1] + 1])


def differences(
    module: nn.Module, image: Path, folder: Path, device: str
) -> dict[str, dict[str, float]]:
    """Largest and mean difference of scores from the CPU's in fp32, by precision."""
    part = (0, 0, COMPARED_PX, COMPARED_PX)

    def scores(name: str, **options: Any) -> Any:
        path = folder / f"{name}.zarr"
        gigafcn.infer(image, module, path, region=part, dtype="float32", overwrite=True, **options)
        return np.asarray(open_map(path).scores[0][...])

    whole = scores("cpu", device="cpu")
    found = {}
    for precision in MOST:
        apart = np.abs(scores(precision, device=device, precision=precision) - whole)
        found[precision] = {"largest": float(apart.max()), "mean": float(apart.mean())}
    return found


def shortcomings(row: dict[str, Any]) -> tuple[list[str], list[str]]:
    """What is wrong in a row, and what is slower than it was asked to be."""
    wrong = [
        f"{row['model']}: in {precision} the {which} difference from the CPU's map is "
        f"{row['difference_from_cpu'][precision][which]:.2g}, more than {most:.2g}"
        for precision, (which, most) in MOST.items()
        if not row["difference_from_cpu"][precision][which] <= most
    ]
    slow = []
    if row["bf16_over_bare"] < ASKED["over_bare"]:
        slow.append(
            f"{row['model']}: {row['bf16_over_bare']:.2f} of the bare module in bf16, "
            f"{ASKED['over_bare']:g} was asked for"
        )
    busy = row["infer"]["bf16"]["device_busy"]
    if busy is not None and busy < ASKED["busy"]:
        slow.append(
            f"{row['model']}: the device is busy {busy:.0%} of the time in bf16, "
            f"{ASKED['busy']:.0%} was asked for"
        )
    return wrong, slow


@contextmanager
def trials_are_worth_it() -> Iterator[None]:
    """Try strips and columns as for a whole slide; only here, since what is found is kept."""
    usual, tuning.WORTH_TRIALS = tuning.WORTH_TRIALS, 0
    try:
        yield
    finally:
        tuning.WORTH_TRIALS = usual


def timed(
    module: nn.Module, image: Path, folder: Path, device: str, repeats: int
) -> dict[str, Any]:
    """Figures of ``infer``, by precision; the first run of each also tries strips and columns."""
    found: dict[str, Any] = {}
    for precision in MOST:
        runs, busy = [], []
        for number in range(repeats + 1):
            with Busy(device) as watched, trials_are_worth_it():
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


def measured(name: str, image: Path, folder: Path, chosen: argparse.Namespace) -> dict[str, Any]:
    """One model: the bare module, differences from the CPU, times."""
    module = build(name)
    seconds, setting = bare_seconds_per_mpx(module, chosen.device)
    row: dict[str, Any] = {"model": name, "bare_mpx_s": 1 / seconds, "bare_setting": setting}
    row["difference_from_cpu"] = differences(module, image, folder, chosen.device)
    row["infer"] = timed(module, image, folder, chosen.device, chosen.repeats)
    row["bf16_over_bare"] = row["infer"]["bf16"]["mpx_s"] * seconds
    return row


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--size", type=int, default=16384)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=8.0, help="that it may take in all")
    parser.add_argument("--models", nargs="*", default=[MIDDLE, SMALL, *MODELS])
    return parser.parse_args()


def main() -> None:
    """Check and time all models; write a JSON file; end with 1 if a map is wrong."""
    began, chosen = time.perf_counter(), _options()
    if chosen.device.startswith("cuda") and not torch.cuda.is_available():
        print("no GPU here: nothing was checked or timed, the figures of the CPU stand")
        return
    name = torch.cuda.get_device_name() if chosen.device.startswith("cuda") else chosen.device
    rows: list[dict[str, Any]] = []
    found: dict[str, Any] = {
        "device": name, "size_px": chosen.size, "machine": machine(), "rows": rows, "left_out": [],
    }  # fmt: skip
    out = chosen.out or (RESULTS if chosen.device.startswith("cuda") else None)
    longest = 0.0
    with tempfile.TemporaryDirectory() as place:
        image = Path(place) / "image.tiff"
        write_image(image, chosen.size)
        for model in dict.fromkeys(chosen.models):
            start = time.perf_counter()
            if rows and start - began + longest > chosen.minutes * 60:
                found["left_out"].append(model)
                print(f"{model}: left out, it would not be done within {chosen.minutes:g} minutes")
                continue
            rows.append(measured(model, image, Path(place), chosen))
            longest = max(longest, time.perf_counter() - start)
            print(json.dumps(rows[-1]), flush=True)
            if out is not None:
                out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    told = [shortcomings(row) for row in rows]
    for line in (line for _, slow in told for line in slow):
        print(f"missed: {line}")
    if wrong := [line for bad, _ in told for line in bad]:
        raise SystemExit("\n".join(wrong))


if __name__ == "__main__":
    main()
