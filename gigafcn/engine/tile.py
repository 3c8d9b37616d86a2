"""Compute one tile: read ahead, sweep, activate, quantise, store, all at once.

Reading, computing and storing overlap through short queues, so that nothing the size of the image
exists anywhere.  The receipt says how long each of the three worked and waited.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gigafcn.engine.pixels import PRECISIONS, activated, likeliest, quantised, to_input
from gigafcn.engine.precision import as_asked
from gigafcn.engine.reading import PaddedImage, StripReader
from gigafcn.engine.sweep import Sweep
from gigafcn.engine.writing import ShardWriter
from gigafcn.errors import RunError
from gigafcn.geometry import Box
from gigafcn.plan.sweep_plan import SweepPlan, plan_sweep

if TYPE_CHECKING:
    from gigafcn.graph.model_graph import ModelGraph
    from gigafcn.output.store import MapStore
    from gigafcn.plan.run_plan import RunPlan

Advance = Callable[[int], None]
"""Told after each block how many map px were computed; may raise to stop the tile."""


@dataclass(frozen=True, slots=True)
class TileReceipt:
    """What computing one tile took."""

    tile: Box
    """Map px."""

    seconds: float
    """From first read to last store."""

    reading_s: float
    """Time the reader worked."""

    storing_s: float
    """Time the writer worked."""

    waited_for_reading_s: float
    """Time computing stood still for pixels."""

    waited_for_storing_s: float
    """Time computing stood still for room."""


def sweep_plan(graph: ModelGraph, plan: RunPlan, tile: Box) -> SweepPlan:
    """The sweep of one tile of a run."""
    return plan_sweep(
        graph.nodes,
        graph.output,
        tile,
        strip=plan.strip,
        block=plan.block,
        period=plan.period,
    )


def compute_tile(
    graph: ModelGraph,
    plan: RunPlan,
    tile: Box,
    image: PaddedImage,
    store: MapStore,
    advance: Advance,
) -> TileReceipt:
    """Compute and store one tile.

    Parameters
    ----------
    graph
        Traced for the padded image, placed on the device in the plan's precision.
    tile
        Map px; whole shards of the store.
    advance
        Called after each block.

    Raises
    ------
    RunError
        If the output holds NaN or infinity, naming where; if reading or storing fails.
    """
    start = time.perf_counter()
    sweep = sweep_plan(graph, plan, tile)
    strips = [Box.of(rows, sweep.window.x) for rows in sweep.rows[0].new if not rows.is_empty]
    reader = StripReader(image, strips)
    with ShardWriter(store, plan.spec, _in_store(tile, plan)) as writer:
        steps = _Steps(graph, plan, tile, reader, writer, advance)
        with as_asked():
            Sweep(graph, sweep).run(steps.read, steps.write)
    return TileReceipt(
        tile=tile,
        seconds=time.perf_counter() - start,
        reading_s=reader.busy_s,
        storing_s=writer.busy_s,
        waited_for_reading_s=reader.waited_s,
        waited_for_storing_s=writer.waited_s,
    )


def _in_store(box: Box, plan: RunPlan) -> Box:
    """A map box in the store's coordinates, which begin at the run's part of the map."""
    return box.shift(-plan.box.y0, -plan.box.x0)


class _Steps:
    """The two ends of a sweep: where its pixels come from and where its scores go."""

    def __init__(
        self,
        graph: ModelGraph,
        plan: RunPlan,
        tile: Box,
        reader: StripReader,
        writer: ShardWriter,
        advance: Advance,
    ) -> None:
        self._plan = plan
        self._tile = tile
        self._writer = writer
        self._advance = advance
        self._strips = iter(reader)
        self._held = Box(0, 0, 0, 0)
        self._dtype = PRECISIONS[plan.precision]
        self._device = torch.device(plan.device)

    def read(self, box: Box) -> Tensor:
        """The model's input for a box of the padded image; strips come in order."""
        while not self._held.contains(box):
            self._held, self._stored = next(self._strips)
        rows, columns = box.relative_to(self._held)
        pixels = self._stored[rows, columns]
        return to_input(pixels, self._plan.scaling, self._device, self._dtype)

    def write(self, box: Box, logits: Tensor) -> None:
        """Turn a block of the model's output into scores and labels and hand them on."""
        scores = activated(logits, self._plan.activation)
        self._refuse_non_finite(box, scores)
        spec = self._plan.spec
        labels = None
        if spec.labels:
            dtype = getattr(torch, spec.label_dtype)
            labels = likeliest(scores, dtype)
        self._writer.put(_in_store(box, self._plan), quantised(scores, spec.dtype), labels)
        if box.x1 == self._tile.x1:
            self._writer.rows_done(_in_store(box, self._plan).y1)
        self._advance(box.area)

    def _refuse_non_finite(self, box: Box, scores: Tensor) -> None:
        # A sum is finite only if all its terms are, unless it overflows: then look closer.
        if torch.isfinite(scores.sum()) or torch.isfinite(scores).all():
            return
        bad = (~torch.isfinite(scores[0])).any(dim=0)
        y, x = (int(i) for i in bad.nonzero()[0])
        raise RunError(
            f"the model's output is NaN or infinite at {int(bad.sum())} px of tile "
            f"{tuple(self._tile)} (y0, x0, y1, x1), first at map px y={box.y0 + y}, "
            f"x={box.x0 + x}; check mean, std and scale, or the precision ({self._plan.precision})"
        )
