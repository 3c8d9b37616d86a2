"""What a worker process needs to compute tiles of a run: opened once, used for every tile."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from gigafcn.engine.allocation import (
    keep_freed_memory,
    release_memory,
    return_freed_memory,
    share_heaps,
)
from gigafcn.engine.easing import AS_PLANNED, LADDER, is_out_of_memory
from gigafcn.engine.forward import Forward, tuned_forward
from gigafcn.engine.pixels import PRECISIONS
from gigafcn.engine.placing import placed_on
from gigafcn.engine.reading import PaddedImage
from gigafcn.engine.tile import TileReceipt, compute_tile
from gigafcn.engine.timeline import Watch
from gigafcn.engine.windows import compute_windows
from gigafcn.errors import ModelError, NonLocalError, RunError
from gigafcn.graph.trace import trace
from gigafcn.model.loading import load_model
from gigafcn.output.disk import storing
from gigafcn.output.pyramid import build_pyramid_shard
from gigafcn.output.store import MapStore
from gigafcn.plan.run_plan import RunPlan
from gigafcn.schedule.inbox import Inbox, Stopped
from gigafcn.schedule.run_folder import Receipt, RunFolder, level_piece, tile_piece
from gigafcn.slide.opening import open_slide
from gigafcn.storage.url_path import place_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from gigafcn.engine.easing import Ease
    from gigafcn.geometry import Box
    from gigafcn.graph.model_graph import ModelGraph
    from gigafcn.graph.trace import Trace
    from gigafcn.plan.map_geometry import MapGeometry
    from gigafcn.schedule.handover import JobFiles
    from gigafcn.slide.protocol import Slide


PICKLED = ".pickled-module"
"""Suffix of a module in memory that a run wrote for its workers; no user's file is read so."""

MOST_MODULES = 2
"""Kept by a process for later runs."""

_MODULES: dict[str, nn.Module] = {}
"""Loaded by this process, by what stands for them (JobFiles.key), the oldest first."""

_LOADING = threading.Lock()


@dataclass(slots=True)
class Job:
    """One run inside one process."""

    plan: RunPlan
    model: ModelGraph | Forward
    """What computes: the graph in exact mode, else the module itself."""

    image: PaddedImage
    store: Path
    stop: threading.Event
    inbox: Inbox | None = None
    """The driver's, if it is in this process: tiles are computed in its thread."""

    profile: bool = False
    """Whether receipts of tiles hold what each thread did when."""

    def compute(self, tile: Box, advance: Callable[[int], None], rung: int = 0) -> TileReceipt:
        """Compute and store one tile, with less at a time if memory does not suffice.

        Parameters
        ----------
        rung
            Of the ladder, on which to begin.

        Raises
        ------
        RunError
            If there is not memory enough on the last rung either.
        """
        reason = ""
        for ease in LADDER[rung:]:
            try:
                made = self._computed(tile, advance, ease)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                reason = " ".join(str(error).split())
            else:
                self._note(_receipt(made, self.plan.device))
                # What a tile left in pieces would lie beside what the next one takes.
                return_freed_memory()
                return made
            # Only here is nothing of the attempt held any more, by the error's traceback.
            release_memory(self.plan.device)
        raise RunError(
            f"not enough memory on {self.plan.device} for tile {tuple(tile)} (y0, x0, y1, x1 in "
            f"map px), even in strips of {LADDER[-1].strip(self.plan)} rows: {reason}; begin "
            f"anew with a smaller --tile and --strip, or a smaller --batch"
        )

    def _computed(self, tile: Box, advance: Callable[[int], None], ease: Ease) -> TileReceipt:

        def step(pixels: int) -> None:
            if self.stop.is_set():
                raise Stopped
            advance(pixels)

        store = MapStore(self.store, self.plan.spec)
        where = (self.plan, tile, self.image, store, Watch(step, kept=self.profile))
        if isinstance(self.model, Forward):
            return compute_windows(self.model, *where, ease)
        return compute_tile(self.model, *where, ease)

    def coarsen(
        self, level: int, index: tuple[int, int], sources: dict[str, str]
    ) -> dict[str, str]:
        """Build one shard of a coarser level; returns the CRC32C of what was written, by key.

        Parameters
        ----------
        sources
            CRC32C by key of the shards that it is made of.
        """
        start = time.perf_counter()
        written = build_pyramid_shard(self.store, self.plan.spec, level, index)
        counts = {"seconds": round(time.perf_counter() - start, 3), "device": "cpu"}
        self._note(Receipt(level_piece(level, index), written, counts, sources=sources))
        return written

    def _note(self, receipt: Receipt) -> None:
        with storing(self.store, self.plan.spec, f"the receipt of {receipt.piece}"):
            RunFolder(self.store).write(receipt)


def _receipt(made: TileReceipt, device: str) -> Receipt:
    """What the run folder keeps of a tile."""
    # A tile with a value that is not a number fails; NaN stands only where nothing was computed.
    counts = {"seconds": round(made.seconds, 3), "device": device, "nan": 0, **made.marks}
    if made.ease != AS_PLANNED:
        counts["eased"] = made.ease.to_json()
    status = ["".join(map(str, row)) for row in made.status.tolist()]
    failed = [list(box) for box in made.failed]
    return Receipt(tile_piece(made.tile), made.objects, counts, status, failed)


def graph_of(traced: Trace, geometry: MapGeometry) -> ModelGraph:
    """The graph of a module that was traced for a run's padded image.

    Raises
    ------
    NonLocalError
        If the model has a blocker at this image size.
    ModelError
        If its output is smaller than the map.
    """
    graph = local_graph(traced)
    grid = graph.result.grid
    if any(n < wanted for n, wanted in zip(grid, geometry.shape, strict=True)):
        raise ModelError(
            f"the model gives {grid} px (y, x) for an image of {geometry.padded} px, at least "
            f"{geometry.shape} were expected: its size does not follow the image's"
        )
    return graph


def local_graph(traced: Trace) -> ModelGraph:
    """The graph of a traced module.

    Raises
    ------
    NonLocalError
        If the model has a blocker at this image size.
    """
    if traced.graph is None:
        reasons = "; ".join(str(blocker) for blocker in traced.blockers[:3])
        raise NonLocalError(f"tiling this model cannot be exact at this image size: {reasons}")
    return traced.graph


def placed_graph(graph: ModelGraph, plan: RunPlan) -> ModelGraph:
    """The graph as it runs: norms folded, on the plan's device and in its precision."""
    return placed_on(graph, torch.device(plan.device), PRECISIONS[plan.precision])


def placed_forward(module: nn.Module, plan: RunPlan) -> Forward:
    """A copy of the module as it runs on windows: on the plan's device and in its precision."""
    assert plan.windows is not None
    shape = (len(plan.channels), *plan.windows.size)
    device = torch.device(plan.device)
    return tuned_forward(
        module, plan.output, shape, plan.windows.axes, device=device,
        dtype=PRECISIONS[plan.precision],
    )  # fmt: skip


def open_job(files: JobFiles, plan_json: dict[str, Any], stop: threading.Event) -> Job:
    """Open slide and model from files, in a worker process."""
    plan = RunPlan.from_json(plan_json)
    torch.set_num_threads(plan.threads)
    share_heaps()
    keep_freed_memory()
    slide = _slide_of(files)
    module = _module_of(files)
    model: ModelGraph | Forward
    if plan.windows is None:
        traced = trace(module, len(plan.channels), plan.geometry.padded, plan.output)
        model = placed_graph(graph_of(traced, plan.geometry), plan)
    else:
        model = placed_forward(module, plan)
    image = PaddedImage(slide, plan.level, plan.channels, plan.geometry, files.strict)
    return Job(plan, model, image, place_of(files.store), stop, profile=files.profile)


def _slide_of(files: JobFiles) -> Slide:
    if files.slide.endswith(".npy"):
        return open_slide(np.load(files.slide, mmap_mode="r"))
    return open_slide(
        files.slide,
        plane=files.plane,
        image=files.image,
        levels_from=files.levels_from,
        orient=files.orient,
    )


def _module_of(files: JobFiles) -> nn.Module:
    """The run's module, loaded once by a process for all runs that it stands in."""
    with _LOADING:
        module = _MODULES.pop(files.key, None)
        if module is None:
            module = _loaded_module(files)
        _MODULES[files.key] = module
        while len(_MODULES) > MOST_MODULES:
            _MODULES.pop(next(iter(_MODULES)))
    return module


def _loaded_module(files: JobFiles) -> nn.Module:
    if files.model.endswith(PICKLED):
        # Written by this very run from a module its caller handed over in memory.
        module = torch.load(files.model, weights_only=False)
        assert isinstance(module, nn.Module)
        return module.eval()
    loaded = load_model(
        files.model,
        trust=files.trust,
        sha256=files.sha256,
        allow_unexpected=files.allow_unexpected,
    )
    if files.weights is not None and loaded.weights_hash() != files.weights:
        raise ModelError(
            f"model {loaded.name} has other weights each time it is loaded, so worker processes "
            f"would disagree; save them to a checkpoint, and name it in a model file (model.toml)"
        )
    return loaded.module
