"""Which images and tiles are poisoned to try the needs of one model, and what came of it?

Along an axis the image is just long enough that a tile in its middle sees no border, and two
periods wide across it.  Thorough probing adds single pixels of several phases, both ends of the
image and, for nets whose needs depend on the position, tiles in between.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gigafcn.certificate.poison import (
    NOT_MINIMAL,
    OtherShapeError,
    Poisoning,
    called,
    hides_nan,
    noise,
    poison,
)
from gigafcn.errors import ModelError, RunError
from gigafcn.geometry import Span
from gigafcn.graph.reach import output_period

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch
    from torch import Tensor

    from gigafcn.certificate.sizes import SizedGraphs
    from gigafcn.engine.forward import Forward
    from gigafcn.graph.model_graph import ModelGraph

LEAST_ACROSS_PX = 32
"""Width of probe images across their axis, at least."""

LONGEST_PX = 1 << 15
"""Length of a probe image; a longer footprint is not tried to its ends."""

LENGTHENED = 4
"""Times its first estimate that a probe image may be long."""

ALWAYS_S = 0.5
"""What takes no longer is done even if there is no time left."""

WIDENED = 5
"""Times that a probe image is made wider if the model refuses it."""

PHASES = 4
"""Pixels of a period that thorough probing tries at most."""


@dataclass(frozen=True, slots=True)
class Subject:
    """A model under examination."""

    run: Forward
    """The untouched module."""

    sizes: SizedGraphs
    dtype: torch.dtype
    """The module's own."""

    device: torch.device
    seed: int


@dataclass(frozen=True, slots=True)
class Findings:
    """What poisoning along one axis showed."""

    tried: tuple[Poisoning, ...] = ()
    failures: tuple[str, ...] = ()
    not_done: tuple[str, ...] = ()
    hidden: bool = False
    """Whether the model hides NaN, so that poison shows nothing."""

    s_per_px: float = 0.0
    """Seconds that the module takes for a px of the probe image."""


def probe_axis(
    subject: Subject, axis: int, *, thorough: bool, until: Callable[[float], float]
) -> Findings:
    """Poison tiles along one axis.

    Parameters
    ----------
    thorough
        Try many tiles, and minimality too; else whether one tile's need suffices.
    until
        Gives the time of ``time.perf_counter`` at which to stop, for a model that takes so many
        seconds per px.

    Raises
    ------
    OtherShapeError
        If the module returns another shape than its graph says.
    """
    name = "yx"[axis]
    try:
        graph, image, s_per_px, clean = _ready(subject, axis)
    except OtherShapeError:
        raise
    except (ModelError, RunError) as error:
        return Findings(not_done=(f"poison along {name}: {error}",))
    if not clean:
        what = f"poison along {name}: the model gives NaN for noise between 0 and 1"
        return Findings(not_done=(what,), s_per_px=s_per_px)
    seconds = 2 * s_per_px * image.shape[2] * image.shape[3]
    if seconds > ALWAYS_S and time.perf_counter() + seconds > until(s_per_px):
        return Findings(not_done=(f"poison along {name}: no time left",), s_per_px=s_per_px)
    hidden = hides_nan(subject.run, image)
    tiles = _thorough_tiles(graph, axis) if thorough else [_middle(graph, axis)]
    tried = tuple(
        _confirmed(subject, graph, image, axis, tile, minimality=thorough) for tile in tiles
    )
    failures = tuple(_insufficient(one) for one in tried if not one.suffices)
    told = (f"poison along {name}: the model turns NaN into numbers",) if hidden else ()
    return Findings(tried, failures, told, hidden, s_per_px)


def _confirmed(
    subject: Subject,
    graph: ModelGraph,
    image: Tensor,
    axis: int,
    tile: Span,
    *,
    minimality: bool,
) -> Poisoning:
    """One poisoning; whatever is wrong with a derived graph is tried again on an exported one."""
    found = poison(subject.run, graph, image, axis, tile, minimality=minimality)
    wrong = not found.suffices or NOT_MINIMAL in found.sides.values()
    if not wrong or not subject.sizes.is_derived(graph.size):
        return found
    exported = subject.sizes.exported(graph.size)
    return poison(subject.run, exported, image, axis, tile, minimality=minimality)


def _insufficient(found: Poisoning) -> str:
    name = "yx"[found.axis]
    return (
        f"map px {found.tile.start} to {found.tile.stop} along {name} depend on more than image "
        f"px {found.need.start} to {found.need.stop}: NaN outside reached {found.reached} values "
        f"(image of {found.image[0]} x {found.image[1]} px)"
    )


def _ready(subject: Subject, axis: int) -> tuple[ModelGraph, Tensor, float, bool]:
    """Graph and clean image of a size that the model takes; its seconds per px; NaN-free?"""
    across = max(LEAST_ACROSS_PX, 2 * subject.sizes.footprint.period[1 - axis])
    last: ModelError | RunError | None = None
    for _ in range(WIDENED):
        try:
            graph = _long_enough(subject.sizes, axis, across)
            graph, image, output, seconds = _called(subject, graph)
        except OtherShapeError:
            raise
        except (ModelError, RunError) as error:
            last, across = error, 2 * across
        else:
            pixels = graph.size[0] * graph.size[1]
            return graph, image, seconds / pixels, not bool(output.isnan().any())
    assert last is not None
    raise last


def _called(subject: Subject, graph: ModelGraph) -> tuple[ModelGraph, Tensor, Tensor, float]:
    image = noise(graph, subject.seed, dtype=subject.dtype, device=subject.device)
    start = time.perf_counter()
    try:
        output = called(subject.run, image, graph)
    except OtherShapeError:
        if not subject.sizes.is_derived(graph.size):
            raise
        graph = subject.sizes.exported(graph.size)
        output = called(subject.run, image, graph)
    return graph, image, output, time.perf_counter() - start


def _long_enough(sizes: SizedGraphs, axis: int, across: int) -> ModelGraph:
    """A graph along whose axis a tile of one period in the middle sees no border."""
    footprint = sizes.footprint
    before, after = footprint.halo[2 * axis : 2 * axis + 2]
    length = before + after + 3 * footprint.period[axis] + 2
    longest = min(LONGEST_PX, LENGTHENED * length)
    while True:
        size = sizes.admissible((length, across) if axis == 0 else (across, length))
        graph = sizes.at(size)
        if length >= longest or _fits(graph, axis, _middle(graph, axis)):
            return graph
        length = min(longest, length + length // 2)


def _fits(graph: ModelGraph, axis: int, tile: Span) -> bool:
    need = graph.need(tile, axis, clip=False)
    return need.is_empty or (need.start > 0 and need.stop < graph.size[axis])


def _middle(graph: ModelGraph, axis: int) -> Span:
    """A tile of one period: the first whose need lies inside the image, else the middle one."""
    grid, period = graph.result.grid[axis], output_period(graph, axis)
    tiles = [Span(start, min(start + period, grid)) for start in range(0, grid, period)]
    whole = [tile for tile in tiles if tile.size == period]
    inside = (tile for tile in whole if _fits(graph, axis, tile))
    return next(inside, tiles[len(tiles) // 2])


def _thorough_tiles(graph: ModelGraph, axis: int) -> list[Span]:
    grid, period = graph.result.grid[axis], output_period(graph, axis)
    middle = _middle(graph, axis)
    phases = sorted({round(i * (period - 1) / (PHASES - 1)) for i in range(PHASES)})
    starts = [middle.start + phase for phase in phases] if period > 1 else []
    spread = [grid // 4, 3 * grid // 4]
    tiles = [
        Span(0, 1),
        *(Span(start, start + 1) for start in starts),
        *(Span(start, start + period) for start in spread),
        Span(grid - 1, grid),
    ]
    return [middle, *dict.fromkeys(tile.clip(grid) for tile in tiles)]
