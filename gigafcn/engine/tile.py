"""Compute one tile: read ahead, sweep, activate, quantise, store, all at once.

Reading, computing and storing overlap through short queues, so that nothing the size of the image
exists anywhere.  The receipt says what its threads did for how long.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from gigafcn.engine.account import Account
from gigafcn.engine.easing import AS_PLANNED, Ease
from gigafcn.engine.pixels import PRECISIONS, to_input
from gigafcn.engine.precision import as_asked
from gigafcn.engine.reading import PaddedImage, StripReader
from gigafcn.engine.scores import ScoreSink, in_store
from gigafcn.engine.sweep import Sweep
from gigafcn.engine.timeline import Doing, Stretch, Watch
from gigafcn.engine.writing import ShardWriter
from gigafcn.geometry import Box
from gigafcn.plan.sweep_plan import SweepPlan, plan_sweep

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from gigafcn.graph.model_graph import ModelGraph
    from gigafcn.output.store import MapStore
    from gigafcn.plan.run_plan import RunPlan


@dataclass(frozen=True, slots=True)
class TileReceipt:
    """What computing one tile took."""

    tile: Box
    """Map px."""

    seconds: float
    """From first read to last store."""

    took: dict[Doing, float]
    """Seconds that its threads spent on each thing they do."""

    objects: dict[str, str]
    """CRC32C of the objects written, by key within the map."""

    status: NDArray[np.uint8]
    """:class:`~gigafcn.output.store.ChunkStatus` of each chunk (y, x)."""

    marks: dict[str, int]
    """Px of the image under the tile that are not what was scanned, by kind of mark."""

    failed: tuple[Box, ...]
    """What could not be read, in px of the level; may reach beyond the tile."""

    ease: Ease = AS_PLANNED
    """How much less was computed at a time than planned."""

    stretches: tuple[Stretch, ...] = ()
    """The single stretches, if they were asked for."""


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
    watch: Watch,
    ease: Ease = AS_PLANNED,
) -> TileReceipt:
    """Compute and store one tile.

    Parameters
    ----------
    graph
        Traced for the padded image, placed on the device in the plan's precision.
    tile
        Map px; whole shards of the store.
    watch
        Told after each block, and what the threads do.
    ease
        By how much less to compute at a time than planned.

    Raises
    ------
    RunError
        If the output holds NaN or infinity, naming where; if reading or storing fails.
    """
    start = time.perf_counter()
    eased = replace(plan, strip=ease.strip(plan))
    readers: list[StripReader] = []

    def status(row: Box) -> NDArray[np.uint8]:
        """Cells of a row of shards, whose parts stand side by side."""
        accounts = [reader.account for reader in readers]
        parts = [(account, account.tile.intersect(row)) for account in accounts]
        cells = [account.status(part) for account, part in parts if not part.is_empty]
        return np.concatenate(cells, axis=1)

    where = in_store(tile, plan)
    with ShardWriter(store, plan.spec, where, status, watch) as writer, as_asked():
        for box in ease.boxes(tile, plan):
            sweep = sweep_plan(graph, eased, box)
            strips = [Box.of(y, sweep.window.x) for y in sweep.rows[0].new if not y.is_empty]
            readers.append(StripReader(image, strips, Account(plan, in_store(box, plan)), watch))
            sink = ScoreSink(plan, box, writer, last=box.x1 == tile.x1)
            steps = _Steps(plan, readers[-1], sink)
            Sweep(graph, sweep).run(steps.read, steps.write)
    return receipt(tile, start, readers, writer, ease)


def receipt(
    tile: Box, start: float, readers: Sequence[StripReader], writer: ShardWriter, ease: Ease
) -> TileReceipt:
    """What a tile took that was begun at ``start`` on the performance counter."""
    counts = [reader.account.counts() for reader in readers]
    return TileReceipt(
        tile=tile,
        seconds=time.perf_counter() - start,
        took=writer.watch.seconds,
        objects=writer.written,
        status=writer.status,
        marks={name: sum(c.get(name, 0) for c in counts) for c in counts for name in c},
        failed=tuple(sorted({box for reader in readers for box in reader.account.failed})),
        ease=ease,
        stretches=tuple(writer.watch.stretches),
    )


class _Steps:
    """The two ends of a sweep: where its pixels come from and where its scores go."""

    def __init__(
        self,
        plan: RunPlan,
        reader: StripReader,
        sink: ScoreSink,
    ) -> None:
        self._plan = plan
        self._sink = sink
        self._watch = reader.watch
        self._strips = iter(reader)
        self._held = Box(0, 0, 0, 0)
        self._dtype = PRECISIONS[plan.precision]
        self._device = torch.device(plan.device)
        self._computing_since: float | None = None

    def read(self, box: Box) -> Tensor:
        """The model's input for a box of the padded image; strips come in order."""
        self._computed()
        while not self._held.contains(box):
            self._held, self._stored = next(self._strips)
        rows, columns = box.relative_to(self._held)
        with self._watch.during(Doing.TO_DEVICE):
            pixels = to_input(
                self._stored[rows, columns], self._plan.scaling, self._device, self._dtype
            )
        self._computing_since = time.perf_counter()
        return pixels

    def write(self, box: Box, logits: Tensor) -> None:
        """Hand a block of the model's output on."""
        self._computed()
        with self._watch.during(Doing.TO_HOST):
            self._sink.put(box, logits)
        self._watch.advance(box.area)
        self._computing_since = time.perf_counter()

    def _computed(self) -> None:
        """Note what lies between the two ends."""
        if self._computing_since is not None:
            self._watch.note(Doing.COMPUTING, self._computing_since)
