"""Where the tiles of a run are computed: in this process or in others.

Other processes open slide and model themselves.  What exists only in memory is written into the
run folder for them, and removed afterwards.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import cloudpickle
import numpy as np
import torch

from gigafcn.engine.allocation import keep_freed_memory, return_freed_memory
from gigafcn.engine.precision import threads as torch_threads
from gigafcn.errors import RunError
from gigafcn.geometry import Box
from gigafcn.schedule.cluster import local_client
from gigafcn.schedule.job import PICKLED, Job, JobFiles, placed_graph
from gigafcn.schedule.run_folder import folder_of
from gigafcn.schedule.worker import JobPlugin, drop_job, hold_job

if TYPE_CHECKING:
    from collections.abc import Iterator

    from distributed import Client

    from gigafcn.run.request import Request
    from gigafcn.schedule.inbox import Inbox
    from gigafcn.slide.protocol import Slide

WRITTEN_ROWS = 1024
"""Of an array in memory at a time."""


@contextmanager
def workplace(request: Request, path: Path, run: str, inbox: Inbox | None) -> Iterator[Client]:
    """A cluster whose workers hold the run's job; with an inbox, in this process."""
    workers, threads = request.options.workers, request.plan.threads
    if inbox is not None:
        with torch_threads(threads), local_client(None, threads) as client:
            model = request.forward or placed_graph(request.graph, request.plan)
            stop = threading.Event()
            keep_freed_memory()
            hold_job(run, Job(request.plan, model, request.image, path, stop, inbox))
            try:
                yield client
            finally:
                stop.set()
                drop_job(run)
                return_freed_memory()
        return
    with _files(request, path) as files, local_client(workers, threads) as client:
        plugin = JobPlugin(run, files, request.plan.to_json())
        client.register_plugin(plugin)
        yield client


@contextmanager
def _files(request: Request, path: Path) -> Iterator[JobFiles]:
    """Where other processes find slide and model; what is in memory is written for them."""
    slide, model = request.slide.source, request.model.source
    with TemporaryDirectory(prefix="files-", dir=folder_of(path)) as folder:
        try:
            if slide is None:
                slide = f"{folder}/slide.npy"
                _write_array(request.slide, slide)
            if model is None or request.classifier is not None:
                model = f"{folder}/model{PICKLED}"
                torch.save(request.model.module, model, pickle_module=cloudpickle)
        except (OSError, RuntimeError) as error:  # the latter is torch's for a full disk
            raise RunError(
                f"cannot write slide and model for the worker processes to {folder}: {error}"
            ) from error
        yield _job_files(request, str(path), slide, model)


def _job_files(request: Request, store: str, slide: str, model: str) -> JobFiles:
    options, own = request.options, model.endswith(PICKLED)
    return JobFiles(
        store,
        slide,
        model,
        options.trust,
        options.sha256,
        options.allow_unexpected,
        options.strict,
        None if own else request.model.weights_hash(),
    )


def _write_array(slide: Slide, path: str) -> None:
    """Write a slide in memory as an array file, some rows at a time."""
    height, width = slide.levels[0].shape
    shape = (height, width, slide.channels)
    descr = np.lib.format.dtype_to_descr(slide.dtype)
    header = {"descr": descr, "fortran_order": False, "shape": shape}
    with Path(path).open("wb") as file:
        np.lib.format.write_array_header_2_0(file, header)
        for row in range(0, height, WRITTEN_ROWS):
            rows = slide.read(Box(row, 0, min(row + WRITTEN_ROWS, height), width))
            file.write(np.ascontiguousarray(rows).data)
