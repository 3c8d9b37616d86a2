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
    has_nan,
    hides_nan,
    noise,
    poison,
    poison_first,
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
    subject: Subject,
    axis: int,
    *,
    thorough: bool,
    until: Callable[[float], float],
    s_per_px: float = 0.0,
) -> Findings:
    """Poison tiles along one axis, the one in the middle first.

    Parameters
    ----------
    thorough
        Try many tiles, and minimality too; else whether one tile's need suffices.
    until
        Gives the time of ``time.perf_counter`` at which to stop, for a model that takes so many
        seconds per px.
    s_per_px
        What the model is known to take; 0 if it has not run yet.

    Raises
    ------
    OtherShapeError
        If the module returns another shape than its graph says.
    """
    name = f"poison along {'yx'[axis]}"
    try:
        first = _first(subject, axis, s_per_px, until)
    except OtherShapeError:
        raise
    except (ModelError, RunError) as error:
        return Findings(not_done=(f"{name}: {error}",), s_per_px=s_per_px)
    if first is None:
        return Findings(not_done=(f"{name}: no time left",), s_per_px=s_per_px)
    if first.found.reached and has_nan(subject.run, first.image):
        what = f"{name}: the model gives NaN for noise between 0 and 1"
        return Findings(not_done=(what,), s_per_px=first.s_per_px)
    hidden = not first.shows_nan and hides_nan(subject.run, first.image)
    told = (f"{name}: the model turns NaN into numbers",) if hidden else ()
    if not thorough and first.found.suffices:
        return Findings((first.found,), (), told, hidden, first.s_per_px)
    graph, image = first.graph, first.image
    tiles = _thorough_tiles(graph, axis) if thorough else [first.found.tile]
    tried = tuple(
        _confirmed(subject, graph, image, axis, tile, minimality=thorough) for tile in tiles
    )
    failures = tuple(_insufficient(one) for one in tried if not one.suffices)
    return Findings(tried, failures, told, hidden, first.s_per_px)


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


@dataclass(frozen=True, slots=True)
class _First:
    """The first run along an axis: one tile poisoned, on an image of a size that the model takes.

    It alone tells whether the need suffices; a clean run besides would double the time.
    """

    graph: ModelGraph
    image: Tensor
    """Clean."""

    found: Poisoning
    shows_nan: bool
    s_per_px: float


def _first(
    subject: Subject, axis: int, s_per_px: float, until: Callable[[float], float]
) -> _First | None:
    """Poison the tile in the middle; None if there is no time for it."""
    across = max(LEAST_ACROSS_PX, 2 * subject.sizes.footprint.period[1 - axis])
    last: ModelError | RunError | None = None
    for _ in range(WIDENED):
        try:
            graph = _long_enough(subject.sizes, axis, across)
            seconds = s_per_px * graph.size[0] * graph.size[1]
            if seconds > ALWAYS_S and time.perf_counter() + seconds > until(s_per_px):
                return None
            return _poisoned(subject, graph, axis)
        except OtherShapeError:
            raise
        except (ModelError, RunError) as error:
            last, across = error, 2 * across
    assert last is not None
    raise last


def _poisoned(subject: Subject, graph: ModelGraph, axis: int) -> _First:
    image = noise(graph, subject.seed, dtype=subject.dtype, device=subject.device)
    start = time.perf_counter()
    try:
        found, shows = poison_first(subject.run, graph, image, axis, _middle(graph, axis))
    except OtherShapeError:
        if not subject.sizes.is_derived(graph.size):
            raise
        graph = subject.sizes.exported(graph.size)
        found, shows = poison_first(subject.run, graph, image, axis, _middle(graph, axis))
    s_per_px = (time.perf_counter() - start) / (graph.size[0] * graph.size[1])
    return _First(graph, image, found, shows, s_per_px)


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
