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

from gigafcn.engine.account import Account
from gigafcn.engine.pixels import PRECISIONS, to_input
from gigafcn.engine.precision import as_asked
from gigafcn.engine.reading import PaddedImage, StripReader
from gigafcn.engine.scores import ScoreSink, in_store
from gigafcn.engine.sweep import Sweep
from gigafcn.engine.writing import ShardWriter
from gigafcn.geometry import Box
from gigafcn.plan.sweep_plan import SweepPlan, plan_sweep

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

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

    objects: dict[str, str]
    """CRC32C of the objects written, by key within the map."""

    status: NDArray[np.uint8]
    """:class:`~gigafcn.output.store.ChunkStatus` of each chunk (y, x)."""

    marks: dict[str, int]
    """Px of the image under the tile that are not what was scanned, by kind of mark."""

    failed: tuple[Box, ...]
    """What could not be read, in px of the level; may reach beyond the tile."""


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
    account = Account(plan, in_store(tile, plan))
    reader = StripReader(image, strips, account)
    with ShardWriter(store, plan.spec, in_store(tile, plan), account.status) as writer:
        steps = _Steps(graph, plan, tile, reader, writer, advance)
        with as_asked():
            Sweep(graph, sweep).run(steps.read, steps.write)
    return receipt(tile, start, reader, writer)


def receipt(tile: Box, start: float, reader: StripReader, writer: ShardWriter) -> TileReceipt:
    """What a tile took that was begun at ``start`` on the performance counter."""
    return TileReceipt(
        tile=tile,
        seconds=time.perf_counter() - start,
        reading_s=reader.busy_s,
        storing_s=writer.busy_s,
        waited_for_reading_s=reader.waited_s,
        waited_for_storing_s=writer.waited_s,
        objects=writer.written,
        status=writer.status,
        marks=reader.account.counts(),
        failed=tuple(sorted(reader.account.failed)),
    )


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
        self._sink = ScoreSink(plan, tile, writer)
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
        """Hand a block of the model's output on."""
        self._sink.put(box, logits)
        self._advance(box.area)
