"""Compute one tile of blend or patch: read ahead, run the module on windows, gather, store.

Windows come row by row.  Pixels are read once: rows that the next row of windows needs too are
kept as stored.  Each batch is normalised on the device and copied into a tensor of its own, so a
module may even change its input.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from torch import Tensor

from gigafcn.doing import Doing
from gigafcn.engine.account import Account
from gigafcn.engine.blend import Blend
from gigafcn.engine.easing import AS_PLANNED, Ease
from gigafcn.engine.forward import Forward, refuse_other_shape
from gigafcn.engine.parts import Parts
from gigafcn.engine.patch import Patch
from gigafcn.engine.pixels import PRECISIONS, to_input
from gigafcn.engine.precision import as_asked
from gigafcn.engine.reading import PaddedImage, StripReader, as_stored
from gigafcn.engine.scores import ScoreSink, in_store
from gigafcn.engine.tile import TileReceipt, receipt
from gigafcn.engine.writing import ShardWriter
from gigafcn.geometry import Box, Span

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from gigafcn.engine.timeline import Watch
    from gigafcn.output.store import MapStore
    from gigafcn.plan.run_plan import RunPlan
    from gigafcn.plan.windows import Windows
    from gigafcn.slide.protocol import Pixels


class _Gathering(Protocol):
    """Where the output of batches goes."""

    def add(self, row: int, columns: Sequence[int], outputs: Tensor) -> None:
        """Take a batch (b, c, y, x)."""
        ...

    def end_row(self, row: int) -> None:
        """Take note that a row of windows is complete."""
        ...


def compute_windows(
    forward: Forward,
    plan: RunPlan,
    tile: Box,
    image: PaddedImage,
    store: MapStore,
    watch: Watch,
    ease: Ease = AS_PLANNED,
) -> TileReceipt:
    """Compute and store one tile; see :func:`gigafcn.engine.tile.compute_tile`.

    Raises
    ------
    RunError
        If the module fails, or its output is of another shape than planned, or not finite.
    """
    start = time.perf_counter()
    parts = Parts(plan, [plan.parts(tile)])
    where = in_store(tile, plan)
    with ShardWriter(store, plan.spec, where, parts.status, watch) as writer, as_asked():
        parts.compute(lambda box: _Rows(forward, plan, box, image, writer, ease), writer)
    return receipt(tile, start, parts.readers, writer, ease)


class _Rows:
    """One part of a tile, a row of windows after the other."""

    def __init__(
        self,
        forward: Forward,
        plan: RunPlan,
        part: Box,
        image: PaddedImage,
        writer: ShardWriter,
        ease: Ease,
    ) -> None:
        windows = plan.windows
        assert windows is not None
        watch = writer.watch
        self._feed = WindowFeed(plan, windows, part, image, watch)
        self.reader = self._feed.reader
        self._forward, self._windows, self._ease, self._watch = forward, windows, ease, watch
        self._classes = len(plan.spec.classes) - plan.rest
        self._progress = _Progress(part.area, self._feed.windows, watch.advance)
        self._sink = ScoreSink(plan, part, writer)
        shape = (1, self._classes, 1, part.x.size)
        empty = torch.zeros(shape, dtype=PRECISIONS[plan.precision], device=plan.device)
        self._gathering: _Gathering = (
            Blend(windows, part, self._sink)
            if windows.mode == "blend"
            else Patch(part, self._sink, empty)
        )

    @property
    def done(self) -> int:
        """See :class:`gigafcn.engine.parts.Part`."""
        return self._sink.done

    def steps(self) -> Iterator[None]:
        """See :class:`gigafcn.engine.parts.Part`."""
        watch = self._watch
        for row, batches in self._feed.rows():
            for columns, batch in batches:
                with watch.during(Doing.COMPUTING):
                    outputs = _in_batches(self._forward, batch, self._ease)
                refuse_other_shape(outputs, self._windows, len(columns), self._classes)
                with watch.during(Doing.TO_HOST):
                    self._gathering.add(row, columns, outputs)
                self._progress.add(len(columns))
            with watch.during(Doing.TO_HOST):
                self._gathering.end_row(row)
            yield


def _in_batches(forward: Forward, batch: Tensor, ease: Ease) -> Tensor:
    """The module's output for a batch, computed for fewer windows at a time if need be."""
    most = ease.batch(len(batch))
    if most == len(batch):
        return forward(batch)
    return torch.cat([forward(part).clone() for part in torch.split(batch, most)])


class _Progress:
    """Tells of windows in map px: a tile's px, spread evenly over its windows."""

    def __init__(self, pixels: int, windows: int, advance: Callable[[int], None]) -> None:
        self._pixels, self._windows, self._advance = pixels, windows, advance
        self._done = 0

    def add(self, count: int) -> None:
        before = self._done * self._pixels // self._windows
        self._done += count
        self._advance(self._done * self._pixels // self._windows - before)


class WindowFeed:
    """The module's inputs for one tile, batch by batch."""

    def __init__(
        self,
        plan: RunPlan,
        windows: Windows,
        tile: Box,
        image: PaddedImage,
        watch: Watch,
    ) -> None:
        self._plan, self._windows = plan, windows
        self._rows = {
            row: [kept for each in windows.batches(tile.x) if (kept := _kept(plan, row, each))]
            for row in windows.touching(0, tile.y)
        }
        """Batches of each row of windows."""

        self.windows = sum(len(batch) for batches in self._rows.values() for batch in batches)
        """That are computed."""

        across = windows.reads(tile).x
        if plan.kept is not None:
            ends = [(b[0][0], b[-1][-1]) for b in self._rows.values() if b]
            first, last = min(end[0] for end in ends), max(end[1] for end in ends)
            across = Span(windows.start(1, first), windows.window(1, last).stop)
        self._wanted = [
            Box.of(windows.window(0, row), across).intersect(windows.content)
            for row, batches in self._rows.items()
            if batches
        ]
        account = Account(plan, in_store(tile, plan))
        strips = list(_new_rows(self._wanted))
        self.reader = StripReader(image, strips, account, watch, as_stored)
        self._dtype = PRECISIONS[plan.precision]
        self._device = torch.device(plan.device)
        self._inputs: dict[int, Tensor] = {}

    def rows(self) -> Iterator[tuple[int, Iterator[tuple[Sequence[int], Tensor]]]]:
        """Each row of windows with its batches: columns, and the input (b, c, y, x)."""
        held, pixels = Box(0, 0, 0, 0), None
        strips = zip(self._wanted, self.reader, strict=True)
        for row, batches in self._rows.items():
            if not batches:
                yield row, iter(())
                continue
            wanted, (box, fresh) = next(strips)
            if pixels is None or held.y1 <= wanted.y0:
                pixels = fresh
            else:
                pixels = np.concatenate((pixels[wanted.y0 - held.y0 :], fresh))
            held = wanted
            assert box.y1 == wanted.y1
            yield row, self._of_row(row, wanted, pixels)

    def _of_row(
        self, row: int, held: Box, pixels: Pixels
    ) -> Iterator[tuple[Sequence[int], Tensor]]:
        for columns in self._rows[row]:
            with self.reader.watch.during(Doing.TO_DEVICE):
                batch = self._filled(row, columns, held, pixels)
            yield columns, batch

    def _filled(self, row: int, columns: Sequence[int], held: Box, pixels: Pixels) -> Tensor:
        """The input of a batch; the tensor is used again by the next of the same length."""
        batch = self._input(len(columns))
        top = self._windows.start(0, row)
        places = iter(batch)
        for group in self._groups(columns):
            stop = self._windows.window(1, group[-1]).stop
            across = Span(self._windows.start(1, group[0]), stop).intersect(held.x)
            part = pixels[:, across.relative_to(held.x0)]
            values = to_input(part, self._plan.scaling, self._device, self._dtype)[0]
            for column in group:
                window = self._windows.window(1, column)
                shared = window.intersect(across)
                rows, inside = held.y.relative_to(top), shared.relative_to(window.start)
                target = next(places)
                if held.y.size < self._windows.size[0] or shared.size < window.size:
                    target.zero_()
                target[:, rows, inside] = values[:, :, shared.relative_to(across.start)]
        return batch

    def _groups(self, columns: Sequence[int]) -> list[Sequence[int]]:
        """Windows to normalise at once: all of them, unless there are gaps between."""
        beside = self._windows.interval[1] <= self._windows.size[1]
        if beside and len(columns) == columns[-1] - columns[0] + 1:
            return [columns]
        return [[column] for column in columns]

    def _input(self, count: int) -> Tensor:
        if count not in self._inputs:
            self._inputs[count] = torch.empty(
                (count, len(self._plan.channels), *self._windows.size),
                dtype=self._dtype,
                device=self._device,
                memory_format=torch.channels_last,
            )
        return self._inputs[count]


def _kept(plan: RunPlan, row: int, batch: range) -> Sequence[int]:
    """Windows of a batch that are computed."""
    return batch if plan.kept is None else plan.kept_columns(row, batch)


def _new_rows(wanted: list[Box]) -> Iterator[Box]:
    """Of each box, the rows that those before did not hold."""
    stop = wanted[0].y0
    for box in wanted:
        yield Box(max(stop, box.y0), box.x0, box.y1, box.x1)
        stop = box.y1
