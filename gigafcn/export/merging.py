"""How do the outlines of pieces become the outlines of the whole?

A mask too large for memory arrives in boxes, row by row.  A polygon that touches no inner border
of its box is finished at once.  The others are kept, with the pixels that each has along the right
and bottom borders; where such pixels meet those of the next box, the polygons are one.  When a row
of boxes is done, every group without a pixel on the row's bottom border is finished: its pieces
are united, and the corners that only the borders made are dropped.  The result is that of the
whole mask in one piece, and memory holds a row of borders and the polygons that are still open.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import shapely

from gigafcn.export.tracing import Polygons, outlines, polygon_of, simple_loops

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gigafcn.geometry import Box

_NOBODY = -1


class Joiner:
    """Joins the outlines of one mask across the borders of its boxes.

    Parameters
    ----------
    shape
        Size (y, x) of the whole mask.
    """

    def __init__(self, shape: tuple[int, int]) -> None:
        self._shape = shape
        self._pieces: dict[int, shapely.Polygon] = {}
        self._leader: dict[int, int] = {}
        self._below = np.full(shape[1], _NOBODY, np.int64)
        self._right = np.full(0, _NOBODY, np.int64)
        self._next = 0

    def add(self, box: Box, mask: NDArray[np.bool_]) -> Polygons:
        """Take the next box, row by row and left to right; return the polygons it finishes."""
        found = outlines(mask, box.y0, box.x0)
        left, top, right, bottom = shapely.bounds(found).reshape(-1, 4).T
        height, width = self._shape
        crosses = (
            ((left == box.x0) & (box.x0 > 0))
            | ((top == box.y0) & (box.y0 > 0))
            | ((right == box.x1) & (box.x1 < width))
            | ((bottom == box.y1) & (box.y1 < height))
        )
        self._join(box, found[crosses])
        done: Polygons = found[~crosses]
        if box.x1 < width:
            return done
        return np.concatenate([done, self._finished(last=box.y1 == height)])

    def _join(self, box: Box, polygons: Polygons) -> None:
        """Register polygons and link them with what lies above and to the left."""
        names = np.arange(self._next, self._next + len(polygons))
        self._next += len(polygons)
        for name, polygon in zip(names.tolist(), polygons, strict=True):
            self._pieces[name] = polygon
            self._leader[name] = name
        sides = _sides(box, polygons, names)
        columns = slice(box.x0, box.x1)
        self._link(self._below[columns], sides["top"])
        if box.x0 > 0:
            self._link(self._right, sides["left"])
        self._below[columns] = sides["bottom"]
        self._right = sides["right"]

    def _link(self, before: NDArray[np.int64], after: NDArray[np.int64]) -> None:
        meet = (before != _NOBODY) & (after != _NOBODY)
        for a, b in np.unique(np.stack([before[meet], after[meet]]), axis=1).T.tolist():
            self._leader[self._find(a)] = self._find(b)

    def _find(self, name: int) -> int:
        while (above := self._leader[name]) != name:
            self._leader[name] = self._leader[above]
            name = above
        return name

    def _finished(self, *, last: bool) -> Polygons:
        """Groups that no later box can reach, united."""
        names = np.unique(self._below).tolist()
        waiting = set() if last else {self._find(name) for name in names if name != _NOBODY}
        groups: dict[int, list[int]] = {}
        for name in self._pieces:
            leader = self._find(name)
            if leader not in waiting:
                groups.setdefault(leader, []).append(name)
        done = np.empty(len(groups), object)
        for number, members in enumerate(groups.values()):
            done[number] = _united([self._pieces.pop(name) for name in members])
            for name in members:
                del self._leader[name]
        if last:
            self._below[:] = _NOBODY
        return done


def _sides(box: Box, polygons: Polygons, names: NDArray[np.int64]) -> dict[str, NDArray[np.int64]]:
    """Name of the polygon that owns each pixel along the four sides of a box."""
    sides = {
        side: np.full(box.x.size if side in ("top", "bottom") else box.y.size, _NOBODY, np.int64)
        for side in ("top", "bottom", "left", "right")
    }
    if not len(polygons):
        return sides
    corners, ring = shapely.get_coordinates(shapely.get_exterior_ring(polygons), return_index=True)
    same = ring[:-1] == ring[1:]
    first, second, owner = corners[:-1][same], corners[1:][same], names[ring[:-1][same]]
    # An edge along a side of the box covers the side's pixels between its two ends.
    for side, axis, at in (
        ("top", 1, box.y0),
        ("bottom", 1, box.y1),
        ("left", 0, box.x0),
        ("right", 0, box.x1),
    ):
        along, origin = 1 - axis, (box.y0, box.x0)[axis]
        on = (first[:, axis] == at) & (second[:, axis] == at)
        ends = np.sort(np.stack([first[on, along], second[on, along]], axis=1), axis=1)
        for (start, stop), name in zip(ends.astype(int) - origin, owner[on], strict=True):
            sides[side][start:stop] = name
    return sides


def _united(pieces: list[shapely.Polygon]) -> shapely.Polygon:
    """One polygon from pieces that share edges.

    Where two pieces meet, one's outline runs along the border forwards and the other's backwards:
    those edges cancel, and what is left of the shells is linked anew.  Holes stay as they are,
    since a hole of a piece never has an edge on its border.
    """
    if len(pieces) == 1:
        return pieces[0]
    shells = [shapely.get_coordinates(piece.exterior) for piece in pieces]
    holes = [shapely.get_coordinates(ring) for piece in pieces for ring in piece.interiors]
    edges = np.concatenate([np.stack([shell[:-1], shell[1:]], axis=1) for shell in shells])
    rings = _linked(_uncancelled(edges.astype(np.int64)))
    loops = [_turns_only(loop) for ring in rings for loop in simple_loops(ring)]
    return polygon_of(loops + holes)


def _uncancelled(edges: NDArray[np.int64]) -> NDArray[np.int64]:
    """Edges (n, start or end, x or y) cut at every corner in between, without opposite pairs."""
    step = np.sign(edges[:, 1] - edges[:, 0])
    lengths = np.abs(edges[:, 1] - edges[:, 0]).sum(axis=1)
    owner = np.repeat(np.arange(len(edges)), lengths)
    along = np.arange(len(owner)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    starts = edges[owner, 0] + along[:, None] * step[owner]
    ends = starts + step[owner]
    width = int(edges[..., 0].max()) + 2
    start, end = (points[:, 1] * width + points[:, 0] for points in (starts, ends))
    low, high = np.minimum(start, end), np.maximum(start, end)
    order = np.lexsort((high, low))
    same = (low[order][1:] == low[order][:-1]) & (high[order][1:] == high[order][:-1])
    kept = np.ones(len(order), bool)
    kept[order[1:][same]] = kept[order[:-1][same]] = False
    return np.stack([starts[kept], ends[kept]], axis=1)


def _linked(edges: NDArray[np.int64]) -> list[NDArray[np.float64]]:
    """Closed rings (n, 2) of x, y from edges that each go on where another ends."""
    width = int(edges[..., 0].max()) + 2
    start, end = (edges[:, i, 1] * width + edges[:, i, 0] for i in (0, 1))
    following = np.empty(len(edges), np.int64)
    # Where two edges end and two start, any of them may follow: cutting into loops settles it.
    following[np.argsort(end, kind="stable")] = np.argsort(start, kind="stable")
    after = following.tolist()
    seen = bytearray(len(after))
    rings = []
    for first in range(len(after)):
        if seen[first]:
            continue
        ring, edge = [], first
        while not seen[edge]:
            seen[edge] = 1
            ring.append(edge)
            edge = after[edge]
        corners = edges[ring, 0].astype(np.float64)
        rings.append(np.concatenate([corners, corners[:1]]))
    return rings


def _turns_only(ring: NDArray[np.float64]) -> NDArray[np.float64]:
    """Corners of a closed ring of horizontal and vertical edges where the direction changes."""
    corners = ring[:-1]
    before, after = np.roll(corners, 1, axis=0), np.roll(corners, -1, axis=0)
    turns = corners[~((before == corners) & (corners == after)).any(axis=1)]
    return np.concatenate([turns, turns[:1]])
