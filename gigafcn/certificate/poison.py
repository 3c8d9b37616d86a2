"""What does a tile of the untouched module truly depend on, found with NaN?

NaN everywhere outside the box that a tile is said to need must leave the tile clean: the box
suffices.  One row or column of NaN further in must not: the box is minimal.  A footprint is a
product of spans, so each axis is tried by itself on an image that is a few px wide across it.

Ops such as comparisons turn NaN into numbers.  Then a box may suffice and look too large; that is
told, and is no failure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from gigafcn.errors import ModelError
from gigafcn.geometry import Box, Span

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from gigafcn.graph.model_graph import ModelGraph

    Run = Callable[[Tensor], Tensor]
    """The untouched module: (1, c, y, x) to the map that counts."""

SIDES = (("top", "bottom"), ("left", "right"))
"""Names of the sides before and after, by axis."""

MINIMAL, NOT_MINIMAL, AT_EDGE, UNTRIED = "minimal", "not minimal", "image edge", "not tried"


class OtherShapeError(ModelError):
    """The module returned another shape than its graph says."""


@dataclass(frozen=True, slots=True)
class Poisoning:
    """One tile along one axis: what it is said to need, and what NaN did."""

    axis: int
    """0 is y, 1 is x."""

    image: tuple[int, int]
    """Px (y, x) of the image that was tried."""

    tile: Span
    """Map px along the axis."""

    need: Span
    """Image px along the axis."""

    nan_px: int
    """Image px that were NaN."""

    reached: int
    """Values of the tile that became NaN; 0 if its need suffices."""

    before: str = UNTRIED
    """"minimal", "not minimal", "image edge" or "not tried": the side above or to the left."""

    after: str = UNTRIED
    """The same for the side below or to the right."""

    @property
    def suffices(self) -> bool:
        """Whether nothing outside the need reaches the tile."""
        return self.reached == 0

    @property
    def sides(self) -> dict[str, str]:
        """What was found on each side, by its name."""
        return dict(zip(SIDES[self.axis], (self.before, self.after), strict=True))


def poisoned(image: Tensor, clean: Box) -> Tensor:
    """A copy of an image (1, c, y, x) with NaN everywhere outside a box."""
    result = torch.full_like(image, float("nan"))
    rows, columns = clean.relative_to(Box(0, 0, 0, 0))
    result[:, :, rows, columns] = image[:, :, rows, columns]
    return result


def nan_in_tile(run: Run, image: Tensor, clean: Box, tile: Box) -> int:
    """How many values of a tile become NaN when all outside ``clean`` is NaN."""
    rows, columns = tile.relative_to(Box(0, 0, 0, 0))
    with torch.inference_mode():
        return int(run(poisoned(image, clean))[:, :, rows, columns].isnan().sum())


def noise(graph: ModelGraph, seed: int, *, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Numbers between 0 and 1, as many as the graph's image takes."""
    generator = torch.Generator().manual_seed(seed)
    shape = (1, graph.image.channels, *graph.size)
    return torch.rand(shape, generator=generator).to(device, dtype)


def called(run: Run, image: Tensor, graph: ModelGraph) -> Tensor:
    """Call the module on an image and compare what it returns with what the graph says.

    Raises
    ------
    OtherShapeError
        With both shapes.
    """
    with torch.inference_mode():
        result = run(image)
    expected = (1, graph.result.channels, *graph.result.grid)
    if tuple(result.shape) != expected:
        raise OtherShapeError(
            f"the model returns {tuple(result.shape)} (b, c, y, x) for an image of {graph.size} "
            f"px (y, x), where its exported graph says {expected}: it does something else when it "
            f"runs than when it is exported, so no halo can be trusted"
        )
    return result


def poison_first(
    run: Run, graph: ModelGraph, image: Tensor, axis: int, tile: Span
) -> tuple[Poisoning, bool]:
    """Try one tile and nothing else, and whether the map shows NaN at all, in one run.

    Raises
    ------
    OtherShapeError
        If the module returns another shape than its graph says.
    """
    need = graph.need(tile, axis)
    clean, of_tile = _boxes(graph, axis, need, tile)
    rows, columns = of_tile.relative_to(Box(0, 0, 0, 0))
    nan = called(run, poisoned(image, clean), graph).isnan()
    outside = (graph.size[axis] - need.size) * graph.size[1 - axis]
    reached = int(nan[:, :, rows, columns].sum())
    return Poisoning(axis, graph.size, tile, need, outside, reached), bool(nan.any())


def poison(
    run: Run, graph: ModelGraph, image: Tensor, axis: int, tile: Span, *, minimality: bool = True
) -> Poisoning:
    """Try one tile along one axis; the tile spans the whole other axis.

    Parameters
    ----------
    run
        The untouched module.
    graph
        Whose ``need`` is tried, for images of this size.
    image
        Clean pixels (1, c, y, x), for which the module gives no NaN.
    axis
        0 for y, 1 for x.
    tile
        Map px along the axis.
    minimality
        Also try NaN one row or column further in.
    """
    need = graph.need(tile, axis)
    length = graph.size[axis]

    def reached(clean: Span) -> int:
        return nan_in_tile(run, image, *_boxes(graph, axis, clean, tile))

    def side(inner: Span, *, at_edge: bool) -> str:
        if at_edge or need.is_empty:
            return AT_EDGE
        return MINIMAL if reached(inner) else NOT_MINIMAL

    before = after = UNTRIED
    if minimality:
        before = side(Span(need.start + 1, need.stop), at_edge=need.start == 0)
        after = side(Span(need.start, need.stop - 1), at_edge=need.stop == length)
    across = graph.size[1 - axis]
    outside = (length - need.size) * across
    return Poisoning(axis, graph.size, tile, need, outside, reached(need), before, after)


def _boxes(graph: ModelGraph, axis: int, clean: Span, tile: Span) -> tuple[Box, Box]:
    """Of the image and of the map: spans along the axis, all of the other."""
    image, grid = Box.whole(graph.size), Box.whole(graph.result.grid)
    if axis == 0:
        return Box.of(clean, image.x), Box.of(tile, grid.x)
    return Box.of(image.y, clean), Box.of(grid.y, tile)


def has_nan(run: Run, image: Tensor) -> bool:
    """Whether the map of an image shows NaN."""
    with torch.inference_mode():
        return bool(run(image).isnan().any())


def hides_nan(run: Run, image: Tensor) -> bool:
    """Whether an image of nothing but NaN gives a map without any."""
    return not has_nan(run, torch.full_like(image, float("nan")))
