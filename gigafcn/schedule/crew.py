"""Who computes a run on a foreign cluster: how many processes, and what may each of them use?

A plan needs that before the first tile: tiles must fit the memory of one worker, and threads are
part of the plan.  Workers that gigafcn starts share this machine evenly; those that somebody else
started are asked.  What would make maps differ, or workers die, is told in one line each.
"""

from __future__ import annotations

import asyncio
import logging
import os
import platform
import socket
import sys
from collections import Counter
from dataclasses import dataclass
from importlib import metadata
from typing import TYPE_CHECKING, Any

from gigafcn.errors import RunError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping

log = logging.getLogger(__name__)

MEMORY_SHARE = 0.5
"""Part of the free memory that a run takes unless told otherwise."""

LEAST_LIMIT_SHARE = 0.25
"""A worker whose limit is less than this part of what it could have was probably not meant so."""

PACKAGES = ("gigafcn", "torch", "numpy", "zarr", "distributed")
LISTED = 3


@dataclass(frozen=True, slots=True)
class Crew:
    """What a plan is made for."""

    count: int
    """Processes."""

    threads: int
    """Of each one's arithmetic."""

    memory: int
    """Bytes that each may take, unless the user said."""

    gpus: int = 0
    """Of the worker that has the fewest."""


@dataclass(frozen=True, slots=True)
class Report:
    """What a foreign worker says of itself."""

    address: str
    host: str
    versions: dict[str, str | None]
    """None for packages that it lacks."""

    cpus: tuple[int, ...] = ()
    """Processors that it may run on."""

    free: int = 0
    """Bytes that its machine, or its batch job, has left."""

    gpus: int = 0
    dask_threads: int = 1
    limit: int = 0
    """Bytes at which Dask ends it; 0 if it does not."""

    may_hang: bool = False
    """Whether Dask's profiler may stop it for good.

    To look at the stacks of all threads, Python 3.11 holds a lock that every new thread needs; if
    it collects garbage meanwhile, both wait for each other forever
    (https://github.com/dask/distributed/issues/8616).
    """


def asked_of_workers(
    packages: tuple[str, ...], *, gpus: bool
) -> Callable[[], Coroutine[Any, Any, dict[str, Any]]]:
    """A function that a worker without gigafcn can run too: it travels by value."""

    def version(name: str) -> str | None:
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            return None

    def seen() -> dict[str, Any]:
        found: dict[str, Any] = {
            "host": socket.gethostname(),
            "versions": {"python": platform.python_version()} | {n: version(n) for n in packages},
        }
        if None in found["versions"].values():
            return found
        import dask  # here, since they may be missing there

        from gigafcn.schedule import resources

        cpus = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
        found["cpus"] = tuple(cpus)[: resources.available_cpus()] or (0,)
        found["free"] = resources.available_memory()
        sampled = dask.config.get("distributed.worker.profile.enabled", True)
        found["may_hang"] = sampled and sys.version_info[:2] == (3, 11)
        if gpus:
            import torch  # takes seconds

            found["gpus"] = torch.cuda.device_count()
        return found

    async def off_the_loop() -> dict[str, Any]:
        return await asyncio.to_thread(seen)

    return off_the_loop


def foreign_crew(reports: list[Report], asked: int | None = None) -> Crew:
    """The least that any worker has, and warnings of what is not as it should be.

    Parameters
    ----------
    asked
        Bytes that the user lets each worker take.

    Raises
    ------
    RunError
        If a worker lacks gigafcn or has another version of it.
    """
    _refuse_without_gigafcn(reports)
    _warn_of_versions(reports)
    _warn_of_threads(reports)
    _warn_of_limits(reports)
    _warn_of_profilers(reports)
    sharing = Counter((report.host, report.cpus) for report in reports)
    hosts = Counter(report.host for report in reports)
    threads = min(max(1, len(r.cpus) // sharing[r.host, r.cpus]) for r in reports)
    memory = min(_memory(report, hosts) for report in reports)
    gpus = min(report.gpus for report in reports)
    log.info(
        "%s on %s, each with %s and %.1f GiB",
        _counted(len(reports), "worker"), _counted(len(hosts), "host"),
        _counted(threads, "thread"), memory / 2**30,
    )  # fmt: skip
    limit = min((report.limit for report in reports if report.limit), default=0)
    if asked is not None and 0 < limit < asked:
        log.warning(
            "memory %.1f GiB is more than Dask lets a worker take, %.1f GiB; start workers with "
            "a higher --memory-limit",
            asked / 2**30, limit / 2**30,
        )  # fmt: skip
    return Crew(len(reports), threads, memory, gpus)


def _memory(report: Report, hosts: Mapping[str, int]) -> int:
    share = report.free // hosts[report.host]
    return int(MEMORY_SHARE * min(share, report.limit or share))


def _refuse_without_gigafcn(reports: list[Report]) -> None:
    own = metadata.version("gigafcn")
    lacking = [r for r in reports if r.versions["gigafcn"] is None]
    if lacking:
        raise RunError(
            f"no gigafcn on {_names(lacking)}: install gigafcn {own} there, in the environment "
            f"that dask worker runs in"
        )
    others = [r for r in reports if r.versions["gigafcn"] != own]
    if others:
        raise RunError(
            f"gigafcn {others[0].versions['gigafcn']} on {_names(others)}, {own} here; "
            f"install the same version"
        )
    for package in PACKAGES:
        lacking = [r for r in reports if r.versions[package] is None]
        if lacking:
            raise RunError(f"no {package} on {_names(lacking)}; install gigafcn there anew")


def _warn_of_versions(reports: list[Report]) -> None:
    here = {"python": platform.python_version()} | {n: metadata.version(n) for n in PACKAGES}
    for name, own in here.items():
        others = [r for r in reports if r.versions[name] != own]
        if others:
            log.warning(
                "%s is %s here, %s on %s: maps may differ in the last bits",
                name, own, others[0].versions[name], _names(others),
            )  # fmt: skip


def _warn_of_threads(reports: list[Report]) -> None:
    many = [r for r in reports if r.dask_threads > 1]
    if many:
        log.warning(
            "%d Dask threads in %s: one tile at a time is computed there all the same; start "
            "workers with --nthreads 1",
            many[0].dask_threads, _names(many),
        )  # fmt: skip


def _warn_of_limits(reports: list[Report]) -> None:
    hosts = Counter(report.host for report in reports)
    low = [r for r in reports if 0 < r.limit < LEAST_LIMIT_SHARE * r.free / hosts[r.host]]
    if low:
        log.warning(
            "Dask ends %s at %.1f GiB although %.1f GiB are free there (its automatic limit "
            "follows --nthreads); start workers with --memory-limit",
            _names(low), low[0].limit / 2**30, low[0].free / 2**30,
        )  # fmt: skip


def _warn_of_profilers(reports: list[Report]) -> None:
    hanging = [r for r in reports if r.may_hang]
    if hanging:
        log.warning(
            "Dask's profiler may stop Python 3.11 for good on %s; start workers with "
            "DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED=False",
            _names(hanging),
        )


def _counted(count: int, what: str) -> str:
    return f"{count} {what}" + ("" if count == 1 else "s")


def _names(reports: list[Report]) -> str:
    listed = ", ".join(f"{r.address} ({r.host})" for r in reports[:LISTED])
    more = len(reports) - LISTED
    return f"worker {listed}" + (f" and {more} more" if more > 0 else "")
