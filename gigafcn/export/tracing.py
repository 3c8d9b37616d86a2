"""Which polygons outline the pixels of a mask, exactly?

A pixel (y, x) is the square [x, x + 1] x [y, y + 1]; outlines run along pixel edges, so a polygon's
area is its number of pixels.  Pixels that share an edge belong together, those that share only a
corner do not; holes are kept.

contourpy walks the boundary of the mask as seen between pixel centres.  Each of its points is the
middle of one pixel edge, and where two successive edges differ in direction the outline has a
corner: that gives the outline along the pixel edges without any loop in Python.  An outline that
touches itself at a corner is cut there into shell and hole, as polygons must be.

It leaves out masks too large for one piece: :mod:`gigafcn.export.merging` joins pieces.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import contourpy
import numpy as np
import shapely

from gigafcn.geometry import Box

if TYPE_CHECKING:
    from numpy.typing import NDArray

Polygons = np.ndarray[Any, np.dtype[np.object_]]
"""An array of shapely polygons."""

_NONE = np.empty(0, object)


def outlines(mask: NDArray[np.bool_], y: int = 0, x: int = 0) -> Polygons:
    """Polygons around the 4-connected parts of a mask whose first pixel is (y, x).

    Examples
    --------
    >>> outlines(np.array([[True, True], [True, False]]))[0].wkt
    'POLYGON ((0 0, 2 0, 2 1, 1 1, 1 2, 0 2, 0 0))'
    """
    if not mask.any():
        return _NONE
    if mask.all():
        return np.array([_rectangle(Box(y, x, y + mask.shape[0], x + mask.shape[1]))], object)
    points, starts, shells = _traced(mask)
    corners, starts = _corners(points, starts)
    polygons = _assembled(corners + np.array([x, y]), starts, shells)
    touching = np.unique(np.searchsorted(shells, _tied(corners, starts), side="right") - 1)
    for number in touching.tolist():
        polygons[number] = _untied(polygons[number])
    return polygons


def _rectangle(box: Box) -> shapely.Polygon:
    return shapely.box(box.x0, box.y0, box.x1, box.y1)  # goes round as contourpy does


def _traced(
    mask: NDArray[np.bool_],
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
    """Middles (x, y) of boundary edges ring by ring, where rings start, where polygons start.

    Rings are closed; the first ring of a polygon is its shell.
    """
    framed = np.zeros((mask.shape[0] + 2, mask.shape[1] + 2))
    framed[1:-1, 1:-1] = mask
    generator = contourpy.contour_generator(
        z=framed, name="serial", fill_type=contourpy.FillType.ChunkCombinedOffsetOffset
    )
    filled: Any = generator.filled(0.5, np.inf)  # its type depends on fill_type
    (points,), (starts,), (shells,) = filled
    # Pixel i of the mask is at i + 1 in the frame, and its centre at i + 0.5 among edges.
    return points - 0.5, starts.astype(np.int64), shells.astype(np.int64)


def _corners(
    middles: NDArray[np.float64], starts: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Corners (x, y) where the direction changes, rings closed, and where rings start."""
    vertical = middles[:, 0] == np.floor(middles[:, 0])  # edges between left and right pixels
    first, second = middles[:-1], middles[1:]
    turns = vertical[:-1] != vertical[1:]
    turns[starts[1:-1] - 1] = False  # from the end of a ring to the start of the next
    at = np.where(
        vertical[:-1, None],
        np.stack([first[:, 0], second[:, 1]], axis=1),
        np.stack([second[:, 0], first[:, 1]], axis=1),
    )[turns]
    ends = np.concatenate([[0], np.cumsum(turns)])[starts[1:] - 1]
    lengths = np.diff(ends, prepend=0)
    # Close each ring: its first corner once more, after its last.
    closed = np.insert(at, ends, at[ends - lengths], axis=0)
    return closed, np.concatenate([[0], np.cumsum(lengths + 1)])


def _assembled(
    corners: NDArray[np.float64], starts: NDArray[np.int64], shells: NDArray[np.int64]
) -> Polygons:
    """Polygons from rings; ``shells`` are the indices of rings at which polygons start."""
    lengths = np.diff(starts)
    rings = shapely.linearrings(corners, indices=np.repeat(np.arange(len(lengths)), lengths))
    owner = np.repeat(np.arange(len(shells) - 1), np.diff(shells))
    polygons: Polygons = shapely.polygons(rings, indices=owner)
    return polygons


def _tied(corners: NDArray[np.float64], starts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Rings that pass a corner twice."""
    ring = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
    opened = np.ones(len(corners), bool)
    opened[starts[1:] - 1] = False  # the last corner of a ring repeats its first
    width = int(corners[:, 0].max()) + 2
    place = (corners[:, 1] * width + corners[:, 0]).astype(np.int64)[opened]
    order = np.lexsort((place, ring[opened]))
    place, ring = place[order], ring[opened][order]
    twice = (place[1:] == place[:-1]) & (ring[1:] == ring[:-1])
    return np.unique(ring[1:][twice])


def _untied(polygon: shapely.Polygon) -> shapely.Polygon:
    """The same polygon with every ring cut where it touches itself.

    (GEOS' own repair takes minutes for the mazes that noise makes.)
    """
    rings = [shapely.get_coordinates(ring) for ring in (polygon.exterior, *polygon.interiors)]
    return polygon_of([loop for ring in rings for loop in simple_loops(ring)])


def polygon_of(loops: list[NDArray[np.float64]]) -> shapely.Polygon:
    """Polygon with these closed loops as its rings.

    Its pixels are connected through their edges, so one loop holds all others, which are holes;
    loops touch in single corners, and never so as to close a circle.  That also means that there
    is only one way to cut an outline into loops without a repeated corner.
    """
    if len(loops) == 1:
        return shapely.Polygon(loops[0])
    shell = int(np.argmax([_area(loop) for loop in loops]))
    return shapely.Polygon(loops[shell], loops[:shell] + loops[shell + 1 :])


def simple_loops(ring: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    """Closed loops (n, 2) without a repeated corner that make up a closed ring."""
    if len(np.unique(ring[:-1] @ (1.0, 1j))) == len(ring) - 1:
        return [ring]
    loops = []
    path: list[tuple[float, float]] = []
    place: dict[tuple[float, float], int] = {}
    for corner in map(tuple, ring.tolist()):
        first = place.get(corner)
        if first is None:
            place[corner] = len(path)
            path.append(corner)
            continue
        loops.append(np.array([*path[first:], corner]))
        for passed in path[first + 1 :]:
            del place[passed]
        del path[first + 1 :]
    return loops


def _area(loop: NDArray[np.float64]) -> float:
    x, y = loop.T
    return abs(float(np.dot(x[:-1], y[1:]) - np.dot(x[1:], y[:-1])))
