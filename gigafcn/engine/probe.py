"""What does a module give for a window, what does a call of it take, and how does it end?

It is called once on noise before anything is planned.  Memory is what the process took at most
meanwhile, a GPU's left out.  Another call, on one small image, follows what its output is.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psutil
import torch
from torch import Tensor

from gigafcn.engine.axes import SCORES, arranged, axes_of
from gigafcn.engine.forward import noise
from gigafcn.engine.precision import as_asked
from gigafcn.errors import ModelError, RunError
from gigafcn.graph.export import in_eval_mode
from gigafcn.graph.programs import SIZES
from gigafcn.meaning import Meaning, followed, meaning_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gigafcn.engine.forward import Forward

Pair = tuple[int, int]

SAMPLED_EVERY_S = 0.002

LARGER_PX = 64
"""Px by which a window is larger to see which dimensions grow with it; most strides divide it."""


@dataclass(frozen=True, slots=True)
class Probe:
    """What one call of a module showed."""

    classes: int
    cell: Pair
    """Map px (y, x) for a window; 1 x 1 for a classifier."""

    batch: int
    """Windows of the call."""

    memory: int
    """Bytes that the call took beyond what was held before."""

    axes: str
    """What the dimensions of its output are, see :mod:`gigafcn.engine.axes`."""


def probed(
    forward: Forward, shape: tuple[int, int, int], batches: list[int], **place: Any
) -> Probe:
    """Call a module on noise.

    Parameters
    ----------
    shape
        (c, y, x) of a window.
    batches
        Windows per call to try, in this order, until the module and the memory take it.
    place
        ``device`` and ``dtype`` of the noise.

    Raises
    ------
    ModelError
        If it takes none of them, with the reason for the last.
    """
    for batch in batches:
        try:
            output, memory = _called(forward, noise(batch, shape, **place))
        except RunError as error:
            if batch != batches[-1]:
                continue
            raise ModelError(
                f"{error}; give the window that the model takes with --window, and fewer with "
                f"--batch"
            ) from error
        if batch == 1 or tuple(output.shape[:1]) == (batch,):
            axes = _axes(forward, output, shape, batch, **place)
            _, classes, *cell = arranged(output, axes, batch).shape
            return Probe(classes, (cell[0], cell[1]), batch, memory, axes)
    found = f"a tensor of shape {tuple(output.shape)}"
    raise ModelError(f"the model returns {found} for {batch} windows; it must return one each")


def _axes(
    forward: Forward, output: Tensor, shape: tuple[int, int, int], batch: int, **place: Any
) -> str:
    """What the dimensions of an output are, by calls on larger windows where that is open."""
    given = tuple(output.shape)
    if batch > 1 and len(given) <= len(SCORES):
        return SCORES[: len(given)]
    larger = [_larger(forward, given, shape, batch, axis, **place) for axis in (0, 1)]
    return axes_of(given, batch, (shape[1], shape[2]), larger[0], larger[1])


def _larger(
    forward: Forward,
    given: tuple[int, ...],
    shape: tuple[int, int, int],
    batch: int,
    axis: int,
    **place: Any,
) -> tuple[int, ...] | None:
    """Shape of the output for windows larger along an axis; None if the module takes none."""
    found = None
    for more in (LARGER_PX, shape[1 + axis]):
        size = [n + more * (d == 1 + axis) for d, n in enumerate(shape)]
        try:
            with as_asked():
                output = forward.returned(noise(batch, (size[0], size[1], size[2]), **place))
        except RunError:
            continue
        found = tuple(output.shape)
        if found != given:
            break
    return found


def _called(forward: Forward, batch: Tensor) -> tuple[Tensor, int]:
    with as_asked(), _Peak() as peak:
        output = forward.returned(batch)
    return output, peak.bytes


def meaning_at(forward: Forward, shapes: Sequence[tuple[int, int, int]], **place: Any) -> Meaning:
    """What the output of a module is, by a call on noise of the first shape (c, y, x) it takes."""
    why = ""
    for shape in shapes:
        try:
            return meaning_of(followed(forward, noise(1, shape, **place)))
        except (RunError, ModelError) as error:
            why = str(error)
    return Meaning("unknown", f"no small image could be tried on it: {why}")


def module_meaning(forward: Forward, shapes: Sequence[tuple[int, int, int]]) -> Meaning:
    """The same for a module as it was loaded: packed weights could not be looked at."""
    in_eval_mode(forward.module)
    weights = (p for p in forward.module.parameters() if p.is_floating_point())
    first = next(weights, torch.empty(0))
    return meaning_at(forward, shapes, dtype=first.dtype, device=first.device)


def small_shapes(channels: int, size: int) -> list[tuple[int, int, int]]:
    """Small images (c, y, x) to try on a model, and one of a size that it takes."""
    return [(channels, n, n) for n in dict.fromkeys((*sorted(SIZES), size))]


class _Peak:
    """Watches how much memory is taken while something runs."""

    def __init__(self) -> None:
        self._stop = threading.Event()
        self._process = psutil.Process()
        self.bytes = 0

    def __enter__(self) -> _Peak:
        self._before = self._process.memory_info().rss
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        last = False
        while not last:
            last = self._stop.wait(SAMPLED_EVERY_S)
            self.bytes = max(self.bytes, self._process.memory_info().rss - self._before)
