"""What a figure was measured on: machine, versions, settings."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path

import torch

PACKAGES = ("torch", "numpy", "zarr", "tifffile", "imagecodecs", "distributed", "monai")


def machine() -> dict[str, str]:
    """Processor, cores, memory and versions of what takes part."""
    found = {
        "processor": _processor(),
        "cores": str(len(os.sched_getaffinity(0))),
        "threads": str(torch.get_num_threads()),
        "python": platform.python_version(),
    }
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def peak_bytes() -> int:
    """Peak resident bytes of this process since it began its program.

    ``getrusage`` would not do: its peak is inherited from the parent across fork and exec.
    """
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("This system states no peak memory in /proc/self/status.")
