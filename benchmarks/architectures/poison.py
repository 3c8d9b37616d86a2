"""NaN poison, one axis at a time: what does a tile of the untouched module truly read?

The probe image is long along the axis, so that the tile in its middle sees no border, and one or
two periods wide across it, so that a pass takes little time.  The poisoning itself is
:func:`gigafcn.certificate.poison.poison`, which ``gigafcn verify`` uses too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmarks.architectures.probe import probe
from gigafcn.certificate.poison import MINIMAL, NOT_MINIMAL, Poisoning, poison
from gigafcn.geometry import Span

if TYPE_CHECKING:
    from torch import nn

    from gigafcn.analysis import Footprint


def poison_axis(
    model: nn.Module, found: Footprint, axis: int, halo: tuple[int, ...]
) -> dict[str, Any]:
    """Whether the needs of a period and of one output pixel suffice and are minimal."""
    assert found.graph is not None
    reach = 2 * max(halo[2 * axis : 2 * axis + 2]) + 6 * found.period[axis]
    period, base = found.period[1 - axis], found.graph.size[1 - axis]
    graph, image = probe(model, found, axis, (reach, (2 * period, 4 * period, base)))
    length = found.output_period[axis]
    start = graph.result.grid[axis] // 2 // length * length
    middle = start + length // 2
    tiles = (Span(start, start + length), Span(middle, middle + 1))
    tried = [poison(model, graph, image, axis, tile) for tile in tiles]
    sides = [list(one.sides.values()) for one in tried]
    return {
        "size": graph.size,
        "sufficient": all(one.suffices for one in tried),
        "minimal": not any(NOT_MINIMAL in found for found in sides),
        "sides_tried": min(sum(s in (MINIMAL, NOT_MINIMAL) for s in found) for found in sides),
        "tiles": [_told(one) for one in tried],
    }


def _told(one: Poisoning) -> dict[str, Any]:
    return {
        "tile": list(one.tile),
        "need": list(one.need),
        "reached": one.reached,
        "sides": one.sides,
    }
