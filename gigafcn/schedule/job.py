"""What a worker process needs to compute tiles of a run: opened once, used for every tile."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from gigafcn.engine.packed import pack_convolutions
from gigafcn.engine.pixels import PRECISIONS
from gigafcn.engine.reading import PaddedImage
from gigafcn.engine.tile import TileReceipt, compute_tile
from gigafcn.errors import ModelError, NonLocalError
from gigafcn.graph.fold import fold_norms
from gigafcn.graph.model_graph import ModelGraph, to_device
from gigafcn.graph.trace import trace
from gigafcn.model.loading import load_model
from gigafcn.output.pyramid import build_pyramid_shard
from gigafcn.output.store import MapStore
from gigafcn.plan.run_plan import RunPlan
from gigafcn.schedule.inbox import Inbox, Stopped
from gigafcn.slide.opening import open_slide

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from gigafcn.geometry import Box
    from gigafcn.plan.map_geometry import MapGeometry
    from gigafcn.slide.protocol import Slide


@dataclass(frozen=True, slots=True)
class JobFiles:
    """Where another process finds everything; plain strings, a few hundred bytes."""

    store: str
    slide: str
    """Path or URL, or an ``.npy`` file that the run wrote beside its output."""

    model: str
    """What load_model takes, or a ``.pt`` file that the run wrote beside its output."""

    trust: bool


@dataclass(slots=True)
class Job:
    """One run inside one process."""

    plan: RunPlan
    graph: ModelGraph
    image: PaddedImage
    store: Path
    stop: threading.Event
    inbox: Inbox | None = None
    """The driver's, if it is in this process: tiles are computed in its thread."""

    def compute(self, tile: Box, advance: Callable[[int], None]) -> TileReceipt:
        """Compute and store one tile."""

        def step(pixels: int) -> None:
            if self.stop.is_set():
                raise Stopped
            advance(pixels)

        store = MapStore(self.store, self.plan.spec)
        return compute_tile(self.graph, self.plan, tile, self.image, store, step)

    def coarsen(self, level: int, index: tuple[int, int]) -> None:
        """Build one shard of a coarser level."""
        build_pyramid_shard(self.store, self.plan.spec, level, index)


def untouched_graph(module: nn.Module, channels: int, geometry: MapGeometry) -> ModelGraph:
    """Trace a module for a run's padded image.

    Raises
    ------
    NonLocalError
        If the model has a blocker at this image size.
    ModelError
        If it cannot be exported, or its output is smaller than the map.
    """
    traced = trace(module, channels, geometry.padded)
    if traced.graph is None:
        reasons = "; ".join(str(blocker) for blocker in traced.blockers[:3])
        raise NonLocalError(f"tiling this model cannot be exact at this image size: {reasons}")
    grid = traced.graph.result.grid
    if any(n < wanted for n, wanted in zip(grid, geometry.shape, strict=True)):
        raise ModelError(
            f"the model gives {grid} px (y, x) for an image of {geometry.padded} px, at least "
            f"{geometry.shape} were expected: its size does not follow the image's"
        )
    return traced.graph


def placed_graph(graph: ModelGraph, plan: RunPlan) -> ModelGraph:
    """The graph as it runs: norms folded, on the plan's device and in its precision."""
    folded = fold_norms(graph)
    placed = to_device(folded, torch.device(plan.device), PRECISIONS[plan.precision])
    return pack_convolutions(placed)


def open_job(files: JobFiles, plan_json: dict[str, Any], stop: threading.Event) -> Job:
    """Open slide and model from files, in a worker process."""
    plan = RunPlan.from_json(plan_json)
    torch.set_num_threads(plan.threads)
    slide = _slide_of(files.slide)
    module = _module_of(files)
    traced = untouched_graph(module, len(plan.channels), plan.geometry)
    graph = placed_graph(traced, plan)
    image = PaddedImage(slide, plan.level, plan.channels, plan.geometry)
    return Job(plan, graph, image, Path(files.store), stop)


def _slide_of(source: str) -> Slide:
    if source.endswith(".npy"):
        return open_slide(np.load(source, mmap_mode="r"))
    return open_slide(source)


def _module_of(files: JobFiles) -> nn.Module:
    if files.model.endswith(".pt"):
        # Written by this very run from a module its caller handed over in memory.
        module = torch.load(files.model, weights_only=False)
        assert isinstance(module, nn.Module)
        return module.eval()
    return load_model(files.model, trust=files.trust).module
