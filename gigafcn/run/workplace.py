"""Where the tiles of a run are computed: in this process, in others of this machine, or elsewhere.

Other processes open slide, model and map themselves, from what :mod:`gigafcn.run.lending` leaves
for them.
"""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from gigafcn.engine.allocation import keep_freed_memory, return_freed_memory
from gigafcn.engine.precision import threads as torch_threads
from gigafcn.run.lending import handed_over
from gigafcn.schedule.cluster import Equipment, local_client, visible_gpus
from gigafcn.schedule.crew import foreign_crew
from gigafcn.schedule.foreign import foreign_client, reports, watched
from gigafcn.schedule.job import Job, placed_graph
from gigafcn.schedule.reach import check_reach
from gigafcn.schedule.resources import available_memory
from gigafcn.schedule.worker import JobPlugin, drop_job, hold_job

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from distributed import Client

    from gigafcn.run.options import Options
    from gigafcn.run.request import Request
    from gigafcn.schedule.inbox import Inbox
    from gigafcn.schedule.site import Site
    from gigafcn.slide.protocol import Slide


@dataclass(frozen=True, slots=True)
class Place:
    """A site that can be worked at."""

    site: Site
    client: Client | None = None
    """Of a cluster that somebody else started; one on this machine starts when the plan is made."""


@contextmanager
def arrived(site: Site, options: Options) -> Iterator[tuple[Place, Options]]:
    """The place of a run, and its options with the workers that are there.

    Raises
    ------
    UsageError, RunError
        If a foreign cluster may not or cannot be used.
    """
    if not site.is_foreign:
        workers = site.workers if site.workers is not None else _one_per_gpu(options.device)
        yield Place(replace(site, workers=workers)), replace(options, workers=workers)
        return
    with foreign_client(site) as client:
        found = reports(client, gpus=options.device not in ("cpu", "mps"))
        crew = foreign_crew(found, options.memory)
        yield Place(site, client), replace(options, workers=crew.count, crew=crew)


def _one_per_gpu(device: str) -> int | None:
    """A process for each GPU that this one sees, if there are several; else this process does."""
    count = torch.cuda.device_count() if device in ("auto", "cuda") else 0
    return count if count > 1 else None


@contextmanager
def workplace(
    place: Place, request: Request, path: Path, run: str, inbox: Inbox | None
) -> Iterator[Client]:
    """A cluster whose workers have the run's job; with an inbox, in this process."""
    if inbox is not None:
        with _in_this_process(place, request, path, run, inbox) as client:
            yield client
        return
    with handed_over(request, path, run) as handover, _workers(place, request) as client:
        if place.client is not None:
            check_reach(client, handover)
        plugin = JobPlugin(run, handover)
        client.register_plugin(plugin)
        try:
            yield client
        finally:
            if place.client is not None and client.status == "running":
                client.unregister_worker_plugin(plugin.name)


@contextmanager
def _in_this_process(
    place: Place, request: Request, path: Path, run: str, inbox: Inbox
) -> Iterator[Client]:
    threads, dashboard = request.plan.threads, place.site.dashboard
    with (
        torch_threads(threads),
        local_client(None, Equipment(threads), dashboard=dashboard) as client,
    ):
        model = request.forward or placed_graph(request.graph, request.plan)
        stop, profile = threading.Event(), request.options.profile
        keep_freed_memory()
        hold_job(run, Job(request.plan, model, request.image, path, stop, inbox, profile))
        try:
            yield client
        finally:
            stop.set()
            drop_job(run)
            return_freed_memory()


@contextmanager
def _workers(place: Place, request: Request) -> Iterator[Client]:
    """The foreign cluster's client, or one of processes that are started now."""
    if place.client is not None:
        with watched(place.client):
            yield place.client
        return
    workers, device = place.site.workers, request.plan.device
    assert workers is not None
    equipment = Equipment(
        threads=request.plan.threads,
        # Pages of an array file that was written for them count as theirs.
        memory=available_memory() // workers + _bytes_in_memory(request.slide),
        gpus=visible_gpus(torch.cuda.device_count(), os.environ) if device == "cuda" else (),
    )
    with local_client(workers, equipment, dashboard=place.site.dashboard) as client:
        yield client


def _bytes_in_memory(slide: Slide) -> int:
    height, width = slide.levels[0].shape
    return 0 if slide.source else height * width * slide.channels * slide.dtype.itemsize
