"""Play steady strips back instead of beginning every op anew: on a GPU as a CUDA graph.

A GPU is often done with an op before the processor has begun the next.  Strips that are alike but
for where they are (:mod:`gigafcn.plan.steady`) are recorded once and begun with one call.  That is
only right for rules that do not look at where they are, and if every row lies at the same place of
its slab in every strip, so slabs are moved at each.

The strip that is recorded is computed as ever too, and unless all bytes are equal, none is played
back.
"""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, TypeAlias

import torch
from torch import Tensor

from gigafcn.engine.packed import PackedConvolution
from gigafcn.engine.phased import PhasedConvolution
from gigafcn.graph.rules.merge import Concatenation
from gigafcn.graph.rules.pointwise import Cast, Pointwise, ScaleShift
from gigafcn.graph.rules.regroup import PixelShuffle, RepeatPixels
from gigafcn.graph.rules.resample import Nearest
from gigafcn.graph.rules.window import AveragePool, Convolution, MaxPool, TransposedConvolution
from gigafcn.plan.steady import shift, steady_strips

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from gigafcn.engine.rows import CarriedPixels
    from gigafcn.engine.sweep import Read, Write
    from gigafcn.geometry import Box
    from gigafcn.graph.model_graph import ModelGraph
    from gigafcn.graph.rules.registry import Rule
    from gigafcn.plan.sweep_plan import SweepPlan

log = logging.getLogger(__name__)

Made: TypeAlias = "list[tuple[Box, Tensor]]"
"""Blocks of a strip of the map."""

Record: TypeAlias = "Callable[[Callable[[], Made]], Callable[[], Made]]"
"""Gives a call that does what another did, with the same tensors."""

LEAST_STEADY = 8
"""Strips from which on recording one is worth it."""

_RECORDING = threading.Lock()

_MOVABLE = (
    AveragePool,
    Cast,
    Concatenation,
    Convolution,
    MaxPool,
    PackedConvolution,
    PhasedConvolution,
    PixelShuffle,
    Pointwise,
    RepeatPixels,
    ScaleShift,
    TransposedConvolution,
)
"""Rules whose result depends on what they read alone, away from the image's top and bottom."""


def _movable(rule: Rule | None) -> bool:
    if isinstance(rule, Nearest):  # other ratios find their sources in floating point
        doubled = all(o == 2 * n for o, n in zip(rule.out_grid, rule.grid, strict=True))
        return doubled and not rule.half_pixel
    return rule is None or isinstance(rule, _MOVABLE)


def playable(graph: ModelGraph, plan: SweepPlan) -> range:
    """Strips of a sweep that may be played back; none unless it is worth it."""
    if not all(_movable(node.rule) for node in graph.nodes):
        return range(0)
    steady = steady_strips(graph.nodes, plan.rows)
    return steady if len(steady) >= LEAST_STEADY else range(0)


def captured(call: Callable[[], Made]) -> Callable[[], Made]:
    """Record what a call begins on a GPU as a CUDA graph; nothing is computed meanwhile."""
    graph = torch.cuda.CUDAGraph()
    # Other threads send strips and take results up while this one records, and compute columns
    # beside this one; but two that record would each wait for the other's device.
    with _RECORDING, torch.cuda.graph(graph, capture_error_mode="thread_local"):
        made = call()

    def play() -> Made:
        graph.replay()
        return made

    return play


class Playback:
    """Computes the steady strips of one sweep.

    Parameters
    ----------
    plan
        Of the sweep.
    steady
        Strips that may be played back.
    buffers
        What the nodes carry, by node.
    compute
        Computes a strip as ever.
    record
        Gives what plays back.
    """

    def __init__(
        self,
        plan: SweepPlan,
        steady: range,
        buffers: Mapping[int, CarriedPixels],
        compute: Callable[[int, Read, Write], None],
        record: Record,
    ) -> None:
        self._plan, self._steady, self._buffers = plan, steady, buffers
        self._compute, self._record = compute, record
        self._images: list[Tensor] = []
        self._play: Callable[[], Made] | None = None

    def takes(self, strip: int) -> bool:
        """Whether a strip is one of those."""
        return strip in self._steady

    def compute(self, strip: int, read: Read, write: Write) -> None:
        """Compute one of them."""
        asked = [self._plan.new(0, strip, block) for block in range(len(self._plan.blocks))]
        images = [read(box) for box in asked if not box.is_empty]
        made = self._rehearsed(strip, images) if self._play is None else self._played(strip, images)
        for box, tensor in made:
            write(box, tensor)

    def _played(self, strip: int, images: Sequence[Tensor]) -> Made:
        assert self._play is not None
        for held, image in zip(self._images, images, strict=True):
            held.copy_(image)
        self._stand(self._before, self._reference)
        made = self._play()
        self._stand(self._after, strip)
        rows = self._plan.strips[strip].start - self._plan.strips[self._reference].start
        # The next strip writes over these.
        return [(box.shift(rows, 0), tensor.clone()) for box, tensor in made]

    def _rehearsed(self, strip: int, images: Sequence[Tensor]) -> Made:
        """Compute a strip as ever, record it, and compare."""
        self._reference, self._images = strip, [image.clone() for image in images]
        self._before, slabs = self._rows(), self._slabs()
        made = [(box, tensor.clone()) for box, tensor in self._made()]
        self._after, computed = self._rows(), self._slabs()
        try:
            self._restore(slabs)
            self._stand(self._before, strip)
            play = self._record(self._made)
            self._restore(slabs)
            self._stand(self._before, strip)
            again = play()
            if _equal(made, again) and all(map(torch.equal, computed, self._slabs())):
                self._play = play
        except RuntimeError as error:  # an op that cannot be recorded, or no memory for it
            log.debug("strips are not played back: %s", " ".join(str(error).split()))
        if self._play is None:
            self._steady = range(0)
        self._restore(computed)
        self._stand(self._after, strip)
        return made

    def _made(self) -> Made:
        """The recorded strip, of the images held for it."""
        images, made = iter(self._images), []
        self._compute(
            self._reference,
            lambda _box: next(images),
            lambda box, tensor: made.append((box, tensor)),
        )
        return made

    def _rows(self) -> dict[int, tuple[int, int]]:
        return {index: buffer.rows for index, buffer in self._buffers.items()}

    def _stand(self, rows: Mapping[int, tuple[int, int]], strip: int) -> None:
        """Say which rows the slabs hold: those of the recorded strip, moved on to another."""
        for index, (first, end) in rows.items():
            moved = shift(self._plan.rows[index], strip, self._reference)
            self._buffers[index].rows = first + moved, end + moved

    def _slabs(self) -> list[Tensor]:
        """Copies of all slabs."""
        return [slab.clone() for buffer in self._buffers.values() for slab in buffer.slabs]

    def _restore(self, copies: Sequence[Tensor]) -> None:
        slabs = [slab for buffer in self._buffers.values() for slab in buffer.slabs]
        for slab, copy in zip(slabs, copies, strict=True):
            slab.copy_(copy)


def _equal(made: Made, again: Made) -> bool:
    return [box for box, _ in made] == [box for box, _ in again] and all(
        torch.equal(one, other) for (_, one), (_, other) in zip(made, again, strict=True)
    )
