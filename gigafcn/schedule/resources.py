"""How much memory and how many processors may this process use?

Batch systems and containers grant a job a part of a node through control groups, and a job that
plans with the node's totals is killed. So every limit on the way from this process's group up to
the root counts, as do CPU affinity and, for torch, ``OMP_NUM_THREADS``.  Both versions of Linux
control groups are read; elsewhere, only what the operating system says of the machine counts.
"""

from __future__ import annotations

import os
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ROOT = Path("/")
WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
"""Variables with which OpenMP's libraries are told how to wait."""

BUSY_SHARE = 0.5
"""Load per processor from which on a machine counts as shared."""

UNLIMITED = 1 << 60
"""Limits of version 1 groups from here on (bytes) mean that there is none."""


def available_memory(root: Path = ROOT) -> int:
    """Bytes that this process can still take before it is killed or the machine swaps.

    Parameters
    ----------
    root
        Where ``proc`` and ``sys`` are mounted.
    """
    free: int = psutil.virtual_memory().available
    return min([free, *_memory_left(root)])


def available_cpus(root: Path = ROOT) -> int:
    """Processors that this process may keep busy, by affinity and quota; at least 1."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, min([allowed or 1, *_cpu_quotas(root)]))


def threads_per_worker(workers: int) -> int:
    """An equal share of the processors, but no more than OMP_NUM_THREADS if that is set."""
    share = max(1, available_cpus() // workers)
    limit = os.environ.get("OMP_NUM_THREADS", "")
    return min(share, int(limit)) if limit.isdecimal() and int(limit) else share


def waiting_policy(environment: Mapping[str, str]) -> dict[str, str]:
    """Variables that let threads of arithmetic wait without keeping a processor busy, if need be.

    They spin by default, which is faster while nobody else computes (by a fifth for a small net on
    two cores).  On processors that others use too, a thread then spins while the one it waits for
    has no processor: at a load of 10, a run took 17 to 36 s instead of 1.2 s.  So the load decides.
    OpenMP reads the variable as its library is loaded, so it is for processes that are yet to load
    torch.

    Parameters
    ----------
    environment
        What the user set; a choice of theirs stands.
    """
    quiet = os.getloadavg()[0] < BUSY_SHARE * (os.cpu_count() or 1)
    if quiet or any(name in environment for name in WAITING):
        return {}
    return {WAITING[0]: "PASSIVE"}


def _memory_left(root: Path) -> Iterator[int]:
    """What each group's limit leaves; pages that only cache files are given back on demand."""
    for folder in _groups(root, "memory"):
        for limit, usage, cached in (
            ("memory.max", "memory.current", "inactive_file"),
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        ):
            allowed, used = _number(folder / limit), _number(folder / usage)
            if allowed is not None and used is not None and allowed < UNLIMITED:
                yield max(0, allowed - used + _entry(folder / "memory.stat", cached))


def _cpu_quotas(root: Path) -> Iterator[int]:
    """Processors that each group's quota amounts to, rounded up."""
    for folder in _groups(root, "cpu"):
        words = _text(folder / "cpu.max").split()
        quota, period = words if len(words) == 2 else ("", "")
        quota = quota or _text(folder / "cpu.cfs_quota_us")
        period = period or _text(folder / "cpu.cfs_period_us")
        if quota.isdecimal() and period.isdecimal() and int(period):
            yield max(1, ceil(int(quota) / int(period)))


def _groups(root: Path, controller: str) -> Iterator[Path]:
    """Folders of this process's groups with a controller, from its own up to the root."""
    mounted = root / "sys/fs/cgroup"
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, controllers, place = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        tops = [mounted / controllers, mounted / controller] if controllers else [mounted]
        top = next((t for t in tops if t.is_dir()), None)
        if top is None:
            continue
        # Inside a container the path may be the host's, of which only the top is visible.
        own = top / place.strip("/")
        while own != top:
            yield own
            own = own.parent
        yield top


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def _number(path: Path) -> int | None:
    text = _text(path)
    return int(text) if text.isdecimal() else None


def _entry(path: Path, name: str) -> int:
    """A named line of a statistics file; 0 if it is not there."""
    lines = (line.split() for line in _text(path).splitlines())
    return next((int(words[1]) for words in lines if len(words) == 2 and words[0] == name), 0)
