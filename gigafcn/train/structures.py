"""Where are the glands, the vessels and the fat of a drawn world, and what do they look like?

Glands and vessels are rings: an ellipse with a wobbling border and a lumen.  Each belongs to one
cell of a hashed grid; where two would overlap, the one with the higher hashed rank stays, a rule
that needs neighbours alone, so every region of a world agrees on them.  Fat is a Voronoi pattern
of round white cells.  Nuclei are placed elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
import numpy.typing as npt

from gigafcn.geometry import Box
from gigafcn.train.noise import Field, box_blur, sample, smooth, smooth_at, texture, uniform

Points = npt.NDArray[np.float64]
Chosen = npt.NDArray[np.bool_]

GRID_PX = 150
"""One gland or vessel at most per cell of this size."""

REACH_PX = 160
"""No ring extends further than this from its centre."""

_WOBBLE_PX = 34
_WOBBLE = 0.15
_FAT_PX = 96


@dataclass(frozen=True, slots=True)
class Rings:
    """Glands and vessels, one entry per ring; lengths in px, world coordinates."""

    y: Points
    """Centre."""

    x: Points
    """Centre."""

    long: Points
    """Semi-axis of the outer border along ``angle``."""

    short: Points
    """Semi-axis across."""

    angle: Points
    """Direction of the long axis, radians from x towards y."""

    lumen: Points
    """Size of the lumen, as a part of the outer size."""

    rank: Points
    """Hashed, in [0, 1): who stays where two overlap, and a source of variation."""

    vessel: Chosen
    """Vessel instead of gland."""

    def __len__(self) -> int:
        return len(self.y)

    def take(self, which: Chosen) -> Rings:
        """Return the rings that ``which`` selects."""
        return replace(self, **{f.name: getattr(self, f.name)[which] for f in fields(self)})

    @property
    def size(self) -> Points:
        """Geometric mean of the semi-axes."""
        return np.asarray(np.sqrt(self.long * self.short))


def _candidates(seed: int, box: Box) -> Rings:
    """One ring per hashed grid cell that may touch ``box`` or a ring that does."""
    out = 3 * REACH_PX
    iy = np.arange((box.y0 - out) // GRID_PX, (box.y1 + out) // GRID_PX + 1)[:, None]
    ix = np.arange((box.x0 - out) // GRID_PX, (box.x1 + out) // GRID_PX + 1)[None, :]

    def draw(stream: str) -> Points:
        return uniform(seed, f"ring {stream}", iy, ix).astype(np.float64).ravel()

    gy, gx = np.broadcast_arrays(iy, ix)
    y = (gy.ravel() + 0.15 + 0.7 * draw("y")) * GRID_PX
    x = (gx.ravel() + 0.15 + 0.7 * draw("x")) * GRID_PX
    zone = smooth_at(seed, "glandular", y.astype(np.float32), x.astype(np.float32), 700)
    dice = draw("kind")
    vessel = dice > 0.92
    present = vessel | (dice < np.clip(0.28 + 0.85 * zone, 0.0, 0.9))
    size = np.where(vessel, 14 + 44 * draw("size") ** 2, 36 + 40 * draw("size"))
    stretch = 1 + np.where(vessel, 0.6, 0.45) * draw("stretch")
    wall = np.where(vessel, 6 + 0.12 * size, 21 + 10 * draw("wall"))
    rings = Rings(
        y=y,
        x=x,
        long=size * np.sqrt(stretch),
        short=size / np.sqrt(stretch),
        angle=draw("angle") * np.pi,
        lumen=np.clip(1 - wall / size, 0.12, 0.85),
        rank=draw("rank"),
        vessel=vessel,
    )
    return rings.take(present)


def without_crowding(y: Points, x: Points, radius: Points, rank: Points) -> Chosen:
    """Select the discs that touch none of higher rank, whether or not that one stays itself."""
    apart = (y[:, None] - y) ** 2 + (x[:, None] - x) ** 2
    close = apart < (radius[:, None] + radius) ** 2
    return np.asarray(~np.any(close & (rank[:, None] < rank), axis=1))


def rings_in(seed: int, box: Box) -> Rings:
    """Rings of the world ``seed`` that may touch ``box``."""
    rings = _candidates(seed, box)
    stays = without_crowding(rings.y, rings.x, 1.16 * rings.size + 3, rings.rank)
    near = (np.abs(rings.y - (box.y0 + box.y1) / 2) < (box.y1 - box.y0) / 2 + REACH_PX) & (
        np.abs(rings.x - (box.x0 + box.x1) / 2) < (box.x1 - box.x0) / 2 + REACH_PX
    )
    return rings.take(stays & near)


def wobble(seed: int, box: Box) -> Field:
    """Factor on the distance from a ring's centre; where it exceeds 1 the border comes in."""
    return 1 + np.float32(_WOBBLE) * np.clip(smooth(seed, "wobble", box, _WOBBLE_PX), -2, 2)


def border_points(seed: int, rings: Rings, which: Points, turn: Points, part: Points) -> Points:
    """Points (n, 2) in (y, x) at the angle ``turn`` where the wobbling distance is ``part``.

    ``which`` indexes the ring of each point; ``part`` is 1 on the outer border.
    """
    k = which.astype(np.int64)
    u, v = rings.long[k] * np.cos(turn), rings.short[k] * np.sin(turn)
    sin, cos = np.sin(rings.angle[k]), np.cos(rings.angle[k])
    dy, dx = sin * u + cos * v, cos * u - sin * v
    t = part.copy()
    for _ in range(3):
        y, x = rings.y[k] + t * dy, rings.x[k] + t * dx
        noise = smooth_at(seed, "wobble", y.astype(np.float32), x.astype(np.float32), _WOBBLE_PX)
        t = part / (1 + _WOBBLE * np.clip(noise.astype(np.float64), -2, 2))
    return np.column_stack([rings.y[k] + t * dy, rings.x[k] + t * dx])


def ring_distance(rings: Rings, k: int, window: Box, wobbling: Field) -> Field:
    """Distance from the centre of ring ``k`` over ``window``; 1 on the outer border."""
    dy = (np.arange(window.y0, window.y1) - rings.y[k]).astype(np.float32)[:, None]
    dx = (np.arange(window.x0, window.x1) - rings.x[k]).astype(np.float32)[None, :]
    sin, cos = np.float32(np.sin(rings.angle[k])), np.float32(np.cos(rings.angle[k]))
    u = (cos * dx + sin * dy) / np.float32(rings.long[k])
    v = (cos * dy - sin * dx) / np.float32(rings.short[k])
    return np.asarray(np.sqrt(u * u + v * v) * wobbling, np.float32)


def edge(distance: Field, px_per_unit: float, softness_px: float = 1.5) -> Field:
    """Coverage in 0..1 of the side where ``distance`` is positive, soft over ``softness_px``."""
    steepness = np.float32(px_per_unit / softness_px)
    return np.asarray(np.clip(distance * steepness + np.float32(0.5), 0, 1), np.float32)


def fat_cells(seed: int, box: Box) -> tuple[Field, Field]:
    """Coverage in 0..1 by the empty insides of fat cells, and by the cells with their walls."""
    iy, ix = np.meshgrid(
        np.arange(box.y0 // _FAT_PX - 2, box.y1 // _FAT_PX + 3),
        np.arange(box.x0 // _FAT_PX - 2, box.x1 // _FAT_PX + 3),
        indexing="ij",
    )
    y = (iy + 0.1 + 0.8 * uniform(seed, "fat y", iy, ix)) * np.float32(_FAT_PX)
    x = (ix + 0.1 + 0.8 * uniform(seed, "fat x", iy, ix)) * np.float32(_FAT_PX)
    fat = (smooth_at(seed, "fat", y, x, 480) + 0.3 * smooth_at(seed, "fat near", y, x, 90)) > 1.4
    nearest = np.full(box.shape, np.inf, np.float32)
    second = nearest.copy()
    inside = np.zeros(box.shape, bool)
    if not fat.any():
        return inside.astype(np.float32), inside.astype(np.float32)
    reach = 2 * _FAT_PX
    for cy, cx, cell_is_fat in zip(y.ravel(), x.ravel(), fat.ravel(), strict=True):
        around = Box(int(cy) - reach, int(cx) - reach, int(cy) + reach, int(cx) + reach)
        window = box.intersect(around)
        if window.is_empty:
            continue
        at = window.relative_to(box)
        dy = (np.arange(window.y0, window.y1) - cy).astype(np.float32)[:, None]
        dx = (np.arange(window.x0, window.x1) - cx).astype(np.float32)[None, :]
        distance = np.sqrt(dy * dy + dx * dx)
        inside[at] = np.where(distance < nearest[at], cell_is_fat, inside[at])
        second[at] = np.minimum(second[at], np.maximum(nearest[at], distance))
        nearest[at] = np.minimum(nearest[at], distance)
    depth = np.minimum(0.5 * (second - nearest), 0.66 * _FAT_PX - nearest) * inside
    # Blurring the capped depth rounds the corners of the polygons.
    rounded = box_blur(np.clip(depth, -4, 12), 9)
    return np.clip((rounded - 4.6) / 1.2 + 0.5, 0, 1), np.clip((rounded - 1.0) / 2, 0, 1)


def speckle(seed: int, box: Box, fineness: float = 1.0) -> Field:
    """Fine isotropic texture over ``box``, mean 0 and standard deviation 1."""
    y = (np.arange(box.y0, box.y1) * fineness).astype(np.float32)[:, None]
    x = (np.arange(box.x0, box.x1) * fineness).astype(np.float32)[None, :]
    shift = uniform(seed, "speckle", 0, [0, 1]) * np.float32(509)
    return sample(texture(509, 1.6, 1.6), y + shift[0], x + shift[1])
