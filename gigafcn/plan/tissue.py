"""Which chunks of a map show tissue, and which boxes are computed for them?

A run may leave out chunks without tissue.  Within a tile the others are gathered into boxes of
whole chunks, by cutting the hull of the tissue again and again where that saves most: each box
costs its own area and a margin around it, so nearby islands stay together.  What is computed for a
chunk does not depend on the box, as with tiles.
"""

from __future__ import annotations

import base64
import zlib
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from gigafcn.geometry import Box

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

LEAST_MARGIN = 0.25
"""What a box costs beside its halo, in chunks on each axis: it has to be begun."""

Pair = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Tissue:
    """Chunks of a map that show tissue; plain text, so that it travels with the plan."""

    shape: tuple[int, int]
    """Chunks (y, x) of the map."""

    packed: str
    """One bit per chunk, row by row, compressed, in base64."""

    margin: Pair = (0.0, 0.0)
    """Chunks (y, x) that are computed around a box, both sides together: the model's halo."""

    @classmethod
    def of(cls, cells: NDArray[np.bool_], margin: Pair = (0.0, 0.0)) -> Tissue:
        """From one truth value per chunk (y, x).

        Examples
        --------
        >>> Tissue.of(np.eye(3, dtype=bool)).cells().astype(int).tolist()
        [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
        """
        packed = zlib.compress(np.packbits(cells).tobytes(), 9)
        return cls((cells.shape[0], cells.shape[1]), base64.b64encode(packed).decode(), margin)

    def cells(self) -> NDArray[np.bool_]:
        """One truth value per chunk (y, x); not to be written to."""
        return _cells(self)

    @property
    def share(self) -> float:
        """Of the chunks, 0 to 1."""
        return float(self.cells().mean())

    def boxes(self, part: Box) -> list[Box]:
        """Boxes, in chunks, that hold all tissue of a part of the map."""
        return _boxes(self, part)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "shape": list(self.shape), "packed": self.packed, "margin": list(self.margin),
        }  # fmt: skip

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Tissue:
        """Inverse of :meth:`to_json`."""
        (y, x), (down, across) = data["shape"], data["margin"]
        return cls((y, x), data["packed"], (down, across))


@lru_cache(maxsize=4)
def _cells(tissue: Tissue) -> NDArray[np.bool_]:
    bits = np.frombuffer(zlib.decompress(base64.b64decode(tissue.packed)), np.uint8)
    count = tissue.shape[0] * tissue.shape[1]
    cells = np.unpackbits(bits, count=count).astype(bool).reshape(tissue.shape)
    cells.flags.writeable = False
    return cells


@lru_cache(maxsize=4096)
def _boxes(tissue: Tissue, part: Box) -> list[Box]:
    cells = tissue.cells()[part.y0 : part.y1, part.x0 : part.x1]
    return [box.shift(part.y0, part.x0) for box in tissue_boxes(cells, tissue.margin)]


def tissue_boxes(cells: NDArray[np.bool_], margin: Pair = (0.0, 0.0)) -> list[Box]:
    """Boxes, in chunks, that hold all tissue of a part of a map, from top to bottom.

    Examples
    --------
    >>> cells = np.zeros((9, 12), bool)
    >>> cells[:2, :3] = cells[5:, 9:] = True
    >>> tissue_boxes(cells)
    [Box(y0=0, x0=0, y1=2, x1=3), Box(y0=5, x0=9, y1=9, x1=12)]
    """
    hull = _hull(cells, Box.whole((cells.shape[0], cells.shape[1])))
    if hull.is_empty:
        return []
    found, waiting = [], [hull]
    while waiting:
        box = waiting.pop()
        halves = _cut(cells, box, margin)
        waiting += halves
        if not halves:
            found.append(box)
    return sorted(found)


def _cut(cells: NDArray[np.bool_], box: Box, margin: Pair) -> list[Box]:
    """The two hulls into which cutting a box saves most; none if it saves nothing."""

    def cost(box: Box) -> float:
        sides = [span.size + m + LEAST_MARGIN for span, m in zip(box.spans, margin, strict=True)]
        return 0.0 if box.is_empty else sides[0] * sides[1]

    best: tuple[float, list[Box]] = (cost(box), [])
    for y in range(box.y0 + 1, box.y1):
        halves = [_hull(cells, box._replace(y1=y)), _hull(cells, box._replace(y0=y))]
        best = min(best, (sum(map(cost, halves)), halves), key=lambda found: found[0])
    for x in range(box.x0 + 1, box.x1):
        halves = [_hull(cells, box._replace(x1=x)), _hull(cells, box._replace(x0=x))]
        best = min(best, (sum(map(cost, halves)), halves), key=lambda found: found[0])
    return best[1]


def _hull(cells: NDArray[np.bool_], box: Box) -> Box:
    """Smallest box that holds the tissue within a box; empty without any."""
    part = cells[box.y0 : box.y1, box.x0 : box.x1]
    rows, columns = np.flatnonzero(part.any(axis=1)), np.flatnonzero(part.any(axis=0))
    if not len(rows):
        return Box(0, 0, 0, 0)
    ends = int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1
    return Box(*ends).shift(box.y0, box.x0)
