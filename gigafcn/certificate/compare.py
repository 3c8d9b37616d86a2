"""By how much do sweep and module differ on a window taken as an image of its own?

The module runs on the window whole, in double and in the precision asked for; sweeps over 3 x 3
tiles, in strips and blocks cut on no period, make the same map.  Equal means up to rounding: the
sweep may be twice as far from the module in double as the module itself is, and a little more.
Where rounding is amplified (a division by almost nothing), the bound also takes in what noise of
the size of rounding, added to the window, changes in the module's output.

A bound that is large by itself would pass anything, so it has a cap: a module that is farther from
itself in double is not certified.  Nor is one that answers the same window differently when it is
called again.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from gigafcn.engine.forward import Forward, placed_module
from gigafcn.engine.pixels import PRECISIONS
from gigafcn.engine.placing import placed_on
from gigafcn.engine.precision import as_asked
from gigafcn.engine.sweep import Sweep
from gigafcn.errors import RunError
from gigafcn.geometry import Box
from gigafcn.graph.calls import Calls, unlike
from gigafcn.graph.copying import own_copy
from gigafcn.plan.memory import sweep_bytes
from gigafcn.plan.sweep_plan import plan_sweep
from gigafcn.plan.tiles import tiles

if TYPE_CHECKING:
    from torch import Tensor, nn

    from gigafcn.certificate.sizes import Pair
    from gigafcn.graph.model_graph import ModelGraph

TILES = 3
"""Tiles along each axis of a window."""

FACTOR = 2.0
"""How much farther from the module in double the sweep may be than the module in its precision."""

ROUNDING = {"fp64": 1e-12, "fp32": 1e-6}
"""Part of the largest output value by which they may differ besides."""

WITHOUT_DOUBLE = 1e-3
"""The same where the module cannot run in double: it is some 3e-4 from that itself."""

CAPS = {"fp64": 1e-9, "fp32": 1e-3, "fp16": 1e-2, "bf16": 5e-2}
"""Part of the largest output value that a bound may be, by precision."""

PROBABILITY_CAP = 1 / 510
"""The same for probabilities, in their own unit: half a step of scores stored in 8 bits."""

STEP_S = 1e-4
"""Time of one op in one block of a sweep beside its arithmetic."""

BLOCKS = 4
"""Blocks of a tile."""

MODULE_COST = {"fp32": 1.0, "fp64": 2.5}
"""Time of a run against one in float32."""


class SweepFailedError(RunError):
    """A sweep over a window raised an error, as one with a wrong need does."""


@dataclass(frozen=True, slots=True)
class Difference:
    """Sweep against module on one window."""

    precision: str
    """"fp32" or "fp64"."""

    source: str
    """"noise" or "slide"."""

    position: Pair | None
    """Px (y, x) of the window's corner in the slide."""

    window: Pair
    """Px (y, x)."""

    tiles: int
    """Swept, the one in the middle first."""

    of_tiles: int
    """Tiles of the window: 9, or fewer if it is tiny."""

    interior: bool
    """Whether some map px sees no border of the window."""

    difference: float
    """Largest, from the reference."""

    module: float | None
    """Largest difference of the module in this precision from the reference; None if it is it."""

    largest: float
    """Largest absolute value of the module's output."""

    bound: float
    cap: float = float("inf")
    """Of the bound."""

    reference: str = "module in fp64"
    sensitivity: float = 0.0
    """What noise of the size of rounding changes in the module's output, where that was needed."""

    seconds: float = 0.0

    @property
    def within(self) -> bool:
        """Whether the difference is one of rounding, which is small enough to tell a mistake."""
        return self.difference <= self.bound and not self.is_coarse

    @property
    def is_coarse(self) -> bool:
        """Whether rounding explains so much that a mistake could hide behind it."""
        return self.bound > self.cap

    def __str__(self) -> str:
        """For a line to the user, of one that is not within."""
        height, width = self.window
        figures = (
            f"sweep and module differ by {self.difference:.2g} in {self.precision} on a window of "
            f"{height} x {width} px ({self.source}), where rounding explains at most "
            f"{self.bound:.2g} (largest output {self.largest:.2g})"
        )
        if not self.is_coarse:
            return figures
        return (
            f"{figures}: the module itself is so far from its run in double that this bound is "
            f"above its cap of {self.cap:.2g} and tells nothing"
        )


@dataclass(frozen=True, slots=True)
class Window:
    """Pixels on which sweep and module are compared."""

    pixels: Tensor
    """The model's input (1, c, y, x), in double."""

    source: str = "noise"
    position: Pair | None = None


def noise_window(channels: int, size: Pair, seed: int) -> Window:
    """Normal noise."""
    generator = torch.Generator().manual_seed(seed)
    return Window(torch.randn((1, channels, *size), generator=generator).double())


def compare(
    run: Forward,
    graph: ModelGraph,
    window: Window,
    precision: str,
    device: torch.device,
    *,
    until: float = float("inf"),
) -> Difference:
    """Run sweep and module on a window.

    Parameters
    ----------
    run
        The untouched module and which output counts.
    graph
        Of that output, for images of the window's size.
    precision
        "fp32" or "fp64".
    until
        Time of ``time.perf_counter`` after which no further tile is swept.

    Raises
    ------
    SweepFailedError
        If a sweep fails.
    UnsteadyError
        If the module answers the window differently when it is called again.
    RunError
        If the module fails, or cannot run in this precision.
    """
    start = time.perf_counter()
    dtype = PRECISIONS[precision]
    pixels = window.pixels.to(device)
    own = _output(run, pixels.to(dtype), device, twice=True)
    reference, name = _reference(run, pixels, own, precision, device)
    placed = placed_on(graph, device, dtype)
    swept, done = _swept(placed, pixels.to(dtype), until)
    largest = _finite_largest(reference)
    double = name == "module in fp64"
    module = _apart(own, reference) if double and precision != "fp64" else None
    relative = ROUNDING[precision] if double else WITHOUT_DOUBLE
    found = Difference(
        precision=precision,
        source=window.source,
        position=window.position,
        window=graph.size,
        tiles=len(done),
        of_tiles=len(_tiles(graph)),
        interior=_has_interior(graph),
        difference=max(_apart(_part(swept, tile), _part(reference, tile)) for tile in done),
        module=module,
        largest=largest,
        bound=FACTOR * (module or 0.0) + relative * largest,
        cap=_cap(graph, precision, largest),
        reference=name,
    )
    if found.difference > found.bound:
        found = _with_sensitivity(found, run, pixels.to(dtype), own, device)
    return replace(found, seconds=time.perf_counter() - start)


def _with_sensitivity(
    found: Difference, run: Forward, pixels: Tensor, own: Tensor, device: torch.device
) -> Difference:
    generator = torch.Generator().manual_seed(1)
    rounding = torch.finfo(pixels.dtype).eps
    signs = torch.rand(pixels.shape, generator=generator).to(pixels) * 2 - 1
    moved = _output(run, pixels * (1 + 4 * rounding * signs), device)
    sensitivity = _apart(moved, own)
    return replace(found, sensitivity=sensitivity, bound=found.bound + FACTOR * sensitivity)


def _cap(graph: ModelGraph, precision: str, largest: float) -> float:
    """Of a bound; probabilities are what a softmax or sigmoid gives at the end."""
    op = graph.result.op
    if ("softmax" in op or "sigmoid" in op) and "log" not in op:
        return PROBABILITY_CAP
    return CAPS[precision] * largest


def _output(run: Forward, pixels: Tensor, device: torch.device, *, twice: bool = False) -> Tensor:
    """The module's output for pixels, in their precision; the module itself is left as it is."""
    try:
        own: nn.Module = own_copy(run.module)
    except Exception as error:  # the user's own code may raise anything
        raise RunError(f"the module cannot be copied: {type(error).__name__}: {error}") from error
    with as_asked():
        placed = Forward(placed_module(own, device, pixels.dtype), run.output)
        found = placed(pixels)
        if twice and bool(unlike(found, placed(pixels)).any()):
            raise Calls().refusal(run.module)
    return found


def _reference(
    run: Forward, pixels: Tensor, own: Tensor, precision: str, device: torch.device
) -> tuple[Tensor, str]:
    """The module in double, or as it is if it cannot run so."""
    if precision == "fp64":
        return own, "module in fp64"
    try:
        return _output(run, pixels, device), "module in fp64"
    except RunError:
        return own, f"module in {precision}"


def _swept(graph: ModelGraph, pixels: Tensor, until: float) -> tuple[Tensor, list[Box]]:
    """The map by sweeps of 3 x 3 tiles, and those that there was time for: one at least."""
    done: list[Box] = []
    result: Tensor | None = None

    def read(box: Box) -> Tensor:
        return _part(pixels, box).contiguous(memory_format=torch.channels_last)

    def write(box: Box, values: Tensor) -> None:
        nonlocal result
        if result is None:
            result = values.new_zeros((1, graph.result.channels, *graph.result.grid))
        _part(result, box).copy_(values)

    try:
        with as_asked():
            for tile in _tiles(graph):
                strip, block = (-(-side * 3 // 5) for side in tile.shape)
                plan = plan_sweep(
                    graph.nodes, graph.output, tile, strip=strip, block=block, period=(1, 1)
                )
                Sweep(graph, plan).run(read, write)
                done.append(tile)
                if time.perf_counter() > until:
                    break
    except Exception as error:  # a wrong need shows as an error of any kind
        reason = " ".join(str(error).split())[:200]
        raise SweepFailedError(
            f"the sweep of a window of {graph.size} px (y, x) fails: {type(error).__name__}: "
            f"{reason}"
        ) from error
    assert result is not None
    return result, done


def _part(tensor: Tensor, box: Box) -> Tensor:
    """View of a box of a whole map or image."""
    rows, columns = box.relative_to(Box(0, 0, 0, 0))
    return tensor[:, :, rows, columns]


def _tiles(graph: ModelGraph) -> list[Box]:
    """3 x 3 tiles of the map, the middle one first, so that it is done if any is."""
    grid = graph.result.grid
    found = list(tiles(Box.whole(grid), (-(-grid[0] // TILES), -(-grid[1] // TILES))))
    middle = len(found) // 2
    return [found[middle], *found[:middle], *found[middle + 1 :]]


def _apart(one: Tensor, other: Tensor) -> float:
    """Largest difference; NaN and infinity equal themselves and nothing else."""
    a, b = one.double(), other.double()
    same = (a == b) | (a.isnan() & b.isnan())
    apart = torch.where(same, torch.zeros_like(a), (a - b).abs())
    return float(apart.nan_to_num(nan=float("inf")).max())


def _finite_largest(values: Tensor) -> float:
    finite = values[values.isfinite()]
    return float(finite.abs().max()) if finite.numel() else 0.0


def _has_interior(graph: ModelGraph) -> bool:
    """Whether the need of some map px leaves out the window's outermost px on every side."""
    for axis in (0, 1):
        middle = graph.result.grid[axis] // 2
        need = graph.need(Box(middle, middle, middle + 1, middle + 1).y, axis, clip=False)
        if need.start <= 0 or need.stop >= graph.size[axis]:
            return False
    return True


def comparison_seconds(graph: ModelGraph, precision: str, s_per_px: float) -> float:
    """Estimated time of :func:`compare`, from that of the module in float32."""
    window = graph.size[0] * graph.size[1]
    swept = sum(graph.need_box(tile).area for tile in _tiles(graph)) * MODULE_COST[precision]
    runs = MODULE_COST["fp64"] + (2 if precision != "fp64" else 1) * MODULE_COST[precision]
    steps = len(graph.nodes) * TILES * TILES * BLOCKS
    return s_per_px * (runs * window + swept) + STEP_S * steps


def comparison_bytes(graph: ModelGraph) -> int:
    """Estimated memory of the module's run on the whole window in double."""
    height, width = graph.result.grid
    whole = plan_sweep(
        graph.nodes, graph.output, Box(0, 0, height, width), strip=height, block=width,
        period=(1, 1),
    )  # fmt: skip
    return 2 * sweep_bytes(graph.nodes, graph.output, whole, 8)
