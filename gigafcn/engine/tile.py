"""Compute one tile: read ahead, sweep, activate, quantise, store, all at once.

Reading, computing and storing overlap through short queues, so that nothing the size of the image
exists anywhere.  The receipt says what its threads did for how long.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from gigafcn.doing import Doing
from gigafcn.engine.account import Account
from gigafcn.engine.easing import AS_PLANNED, Ease
from gigafcn.engine.lanes import Lanes
from gigafcn.engine.parts import Parts
from gigafcn.engine.pixels import PRECISIONS, normalised
from gigafcn.engine.playback import captured
from gigafcn.engine.precision import as_asked
from gigafcn.engine.reading import PaddedImage, SharedStrips, StripReader
from gigafcn.engine.scores import ScoreSink, in_store
from gigafcn.engine.sweep import Sweep
from gigafcn.engine.transfer import Sender, SentStrip
from gigafcn.engine.writing import ShardWriter
from gigafcn.geometry import Box, Span
from gigafcn.plan.sweep_plan import SweepPlan, plan_sweep

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from gigafcn.engine.timeline import Stretch, Watch
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
    parts = Parts(plan, ease.groups(tile, plan))
    where = in_store(tile, plan)
    with (
        ShardWriter(store, plan.spec, where, parts.status, watch) as writer,
        as_asked(),
        Lanes(plan.lanes, plan.threads, torch.device(plan.device)) as lanes,
    ):
        parts.compute(lambda box: _Steps(graph, eased, box, image, writer, lanes), writer)
    return receipt(tile, start, parts.readers, writer, ease)


def receipt(
    tile: Box, start: float, readers: Sequence[StripReader[Any]], writer: ShardWriter, ease: Ease
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
    """The sweeps of one part, which compute its columns side by side."""

    def __init__(
        self,
        graph: ModelGraph,
        plan: RunPlan,
        part: Box,
        image: PaddedImage,
        writer: ShardWriter,
        lanes: Lanes,
    ) -> None:
        columns = plan.columns(part)
        sweeps = [sweep_plan(graph, plan, column) for column in columns]
        device = torch.device(plan.device)
        across = Span(sweeps[0].window.x0, sweeps[-1].window.x1)
        strips = [Box.of(y, across) for y in sweeps[0].rows[0].new if not y.is_empty]
        account = Account(plan, in_store(part, plan))
        self.reader = StripReader(image, strips, account, writer.watch, Sender(device))
        shared = SharedStrips(self.reader, len(columns))
        record = captured if device.type == "cuda" else None
        self._columns = [
            _Column(Sweep(graph, sweep, record=record), plan, column, shared.reader(), writer)
            for sweep, column in zip(sweeps, columns, strict=True)
        ]
        self._lanes = lanes

    @property
    def done(self) -> int:
        """See :class:`gigafcn.engine.parts.Part`."""
        return min(column.done for column in self._columns)

    def steps(self) -> Iterator[None]:
        """See :class:`gigafcn.engine.parts.Part`."""
        # All columns have the same rows.
        return self._lanes.abreast([column.strips() for column in self._columns])


class _Column:
    """The sweep of one column, and its two ends: where pixels come from and where scores go."""

    def __init__(
        self,
        sweep: Sweep,
        plan: RunPlan,
        column: Box,
        strips: Iterator[tuple[Box, SentStrip]],
        writer: ShardWriter,
    ) -> None:
        self._sweep = sweep
        self._plan = plan
        self._sink = ScoreSink(plan, column, writer)
        self._watch = writer.watch
        self._strips = strips
        self._held = Box(0, 0, 0, 0)
        self._dtype = PRECISIONS[plan.precision]
        self._computing_since: float | None = None

    @property
    def done(self) -> int:
        """Stored row up to which everything was handed on."""
        return self._sink.done

    def strips(self) -> Iterator[None]:
        """Compute strip by strip."""
        for _ in self._sweep.strips(self._read, self._write):
            self._computing_since = None  # what follows may be another part's
            yield

    def _read(self, box: Box) -> Tensor:
        """The model's input for a box of the padded image; strips come in order."""
        self._computed()
        while not self._held.contains(box):
            self._held, self._stored = next(self._strips)
        rows, columns = box.relative_to(self._held)
        with self._watch.during(Doing.TO_DEVICE):
            part = self._stored.part(rows, columns)
            pixels = normalised(part, self._plan.scaling, self._dtype)
        self._computing_since = time.perf_counter()
        return pixels

    def _write(self, box: Box, logits: Tensor) -> None:
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
