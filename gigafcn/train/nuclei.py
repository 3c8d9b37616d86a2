"""Which nuclei does a drawn world have, and how are they stamped onto the ground?

Candidates come from hashed grids (stroma, sheets of epithelium, lymphocytes, red cells) and from
the walls of glands and vessels.  Where two are too close, the one of lower rank goes, whether or
not the other stays itself: the rule needs neighbours within 48 px alone, so regions agree.  The
shapes of all nuclei of a block are computed as one array (n, y, x) and pasted one by one.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from gigafcn.geometry import Box
from gigafcn.train.ground import BLOOD, OPEN, Ground
from gigafcn.train.noise import Field, sample, texture, uniform
from gigafcn.train.structures import Points, border_points, without_crowding

WINDOW_PX = 18
"""A stamp covers its centre pixel and this much on every side."""

SUPPORT_PX = 64
"""How far round a region candidates must be known for its nuclei to be right."""

TISSUE, NUCLEI = 1, 2


@dataclass(frozen=True, slots=True)
class Cells:
    """Nuclei (and red blood cells), one entry each; lengths in px, world coordinates."""

    y: Points
    x: Points
    long: Points
    """Semi-axis along ``angle``."""
    short: Points
    """Semi-axis across."""
    angle: Points
    """Direction of the long axis, radians from x towards y."""
    dark: Points
    """Amount of haematoxylin."""
    vesicle: Points
    """How pale the middle is, 0 to 1; pale nuclei show a nucleolus."""
    bend: Points
    """Curvature of the long axis, -1 to 1."""
    rank: Points
    """Hashed; who stays where two are too close, and the order of pasting."""
    red: npt.NDArray[np.bool_]
    """Red blood cell: eosin, no nucleus."""

    def __len__(self) -> int:
        return len(self.y)

    def take(self, which: npt.NDArray[np.generic]) -> Cells:
        """Return the entries that ``which`` selects."""
        return Cells(**{f.name: getattr(self, f.name)[which] for f in fields(self)})


def _join(parts: list[Cells]) -> Cells:
    return Cells(
        **{f.name: np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(Cells)}
    )


@dataclass(frozen=True, slots=True)
class _Grid:
    """Hashed candidates, one per grid cell, with a die per stream."""

    seed: int
    name: str
    iy: npt.NDArray[np.int64]
    ix: npt.NDArray[np.int64]

    def dice(self, stream: str) -> Points:
        return uniform(self.seed, f"{self.name} {stream}", self.iy, self.ix).astype(np.float64)

    def between(self, stream: str, low: float, high: float) -> Points:
        return low + (high - low) * self.dice(stream)


def _grid(seed: int, name: str, ground: Ground, spacing_px: int) -> tuple[_Grid, Points, Points]:
    """Candidates inside the ground's box: their dice and centres."""
    box = ground.box
    iy, ix = np.meshgrid(
        np.arange(box.y0 // spacing_px, box.y1 // spacing_px + 1),
        np.arange(box.x0 // spacing_px, box.x1 // spacing_px + 1),
        indexing="ij",
    )
    grid = _Grid(seed, name, iy.ravel(), ix.ravel())
    y = (grid.iy + grid.dice("y")) * spacing_px
    x = (grid.ix + grid.dice("x")) * spacing_px
    inside = (y >= box.y0) & (y < box.y1) & (x >= box.x0) & (x < box.x1)
    return _Grid(seed, name, grid.iy[inside], grid.ix[inside]), y[inside], x[inside]


def _at(ground: Ground, y: Points, x: Points) -> tuple[npt.NDArray[np.int64], ...]:
    return (
        np.floor(y).astype(np.int64) - ground.box.y0,
        np.floor(x).astype(np.int64) - ground.box.x0,
    )


def _stroma(seed: int, ground: Ground) -> Cells:
    """Fibroblasts: long, dark, along the fibres."""
    grid, y, x = _grid(seed, "fibroblast", ground, 25)
    at = _at(ground, y, x)
    open_ = (ground.place[at] == OPEN) & (ground.solid[at] > 0.4) & (ground.sheet[at] < -0.05)
    plump = grid.dice("plump") ** 2
    cells = Cells(
        y=y,
        x=x,
        long=grid.between("long", 6.0, 13.0) - 2.5 * plump,
        short=grid.between("short", 1.7, 2.9) + 2.2 * plump,
        angle=ground.flow[at] + grid.between("angle", -0.35, 0.35),
        dark=grid.between("dark", 0.62, 1.1),
        vesicle=0.55 * plump,
        bend=grid.between("bend", -1, 1),
        rank=0.4 * grid.dice("rank"),
        red=np.zeros(len(y), bool),
    )
    return cells.take(open_ & (grid.dice("present") < 0.55 + 0.1 * ground.inflamed[at]))


def _lymphocytes(seed: int, ground: Ground) -> Cells:
    """Lymphocytes: small, round, dark, in crowds."""
    grid, y, x = _grid(seed, "lymphocyte", ground, 12)
    at = _at(ground, y, x)
    open_ = (ground.place[at] == OPEN) & (ground.solid[at] > 0.4) & (ground.sheet[at] < 0)
    size = grid.between("size", 4.1, 5.6)
    stretch = grid.between("stretch", 1.0, 1.2)
    cells = Cells(
        y=y,
        x=x,
        long=size * stretch,
        short=size / stretch,
        angle=grid.between("angle", 0, np.pi),
        dark=grid.between("dark", 0.85, 1.25),
        vesicle=0.25 * grid.dice("vesicle"),
        bend=np.zeros(len(y)),
        rank=0.4 + 0.2 * grid.dice("rank"),
        red=np.zeros(len(y), bool),
    )
    crowd = np.clip(0.6 * (ground.inflamed[at] - 1.05), 0.006, 0.7)
    return cells.take(open_ & (grid.dice("present") < crowd))


def _sheet(seed: int, ground: Ground) -> Cells:
    """Epithelium in sheets: large, oval, often vesicular."""
    grid, y, x = _grid(seed, "epithelium", ground, 17)
    at = _at(ground, y, x)
    inside = (ground.place[at] == OPEN) & (ground.solid[at] > 0.5) & (ground.sheet[at] > 0.02)
    size = grid.between("size", 5.0, 8.0)
    stretch = grid.between("stretch", 1.0, 1.35)
    cells = Cells(
        y=y,
        x=x,
        long=size * stretch,
        short=size / stretch,
        angle=ground.flow[at] + grid.between("angle", -0.9, 0.9),
        dark=grid.between("dark", 0.55, 0.95),
        vesicle=grid.dice("vesicle"),
        bend=grid.between("bend", -0.4, 0.4),
        rank=0.6 + 0.2 * grid.dice("rank"),
        red=np.zeros(len(y), bool),
    )
    return cells.take(inside & (grid.dice("present") < 0.9))


def _red_cells(seed: int, ground: Ground) -> Cells:
    """Red blood cells in the lumina of vessels."""
    grid, y, x = _grid(seed, "red", ground, 11)
    inside = ground.place[_at(ground, y, x)] == BLOOD
    size = grid.between("size", 5.2, 6.6)
    cells = Cells(
        y=y,
        x=x,
        long=size,
        short=size * grid.between("squash", 0.75, 1.0),
        angle=grid.between("angle", 0, np.pi),
        dark=grid.between("dark", 0.5, 0.75),
        vesicle=np.full(len(y), 0.35),
        bend=np.zeros(len(y)),
        rank=0.2 * grid.dice("rank"),
        red=np.ones(len(y), bool),
    )
    return cells.take(inside & (grid.dice("present") < 0.75))


def _wall(seed: int, ground: Ground) -> Cells:
    """Nuclei in the walls of glands (basal, radial) and vessels (flat, along the wall)."""
    rings = ground.rings
    spacing = np.where(rings.vessel, 26.0, 8.6 + 2.5 * rings.rank)
    count = np.maximum(5, (2 * np.pi * rings.size / spacing)).astype(np.int64)
    ring = np.repeat(np.arange(len(rings)), count)
    slot = np.arange(len(ring)) - np.repeat(np.cumsum(count) - count, count)
    # A ring is known by its hashed centre, so its nuclei are the same from every box.
    key = np.floor(rings.y * 16).astype(np.int64)[ring], np.floor(rings.x * 16).astype(np.int64)
    grid = _Grid(seed, "wall", key[0] * 4096 + slot, key[1][ring])
    vessel = rings.vessel[ring]
    wall_px = ((1 - rings.lumen) * rings.size)[ring]
    inset_px = np.where(vessel, 0.5 * wall_px, grid.between("inset", 9.0, 12.5))
    inset_px += np.where(~vessel & (grid.dice("second") < 0.22), 6.0 * grid.dice("row"), 0.0)
    turn = 2 * np.pi * (slot + grid.between("turn", 0.25, 0.75)) / count[ring]
    part = np.maximum(1 - inset_px / rings.size[ring], 0.2)
    centre = border_points(seed, rings, ring.astype(np.float64), turn, part)
    outward = np.arctan2(centre[:, 0] - rings.y[ring], centre[:, 1] - rings.x[ring])
    across = np.where(vessel, np.pi / 2, 0.0) + grid.between("tilt", -0.22, 0.22)
    pale = rings.rank[ring]
    return Cells(
        y=centre[:, 0],
        x=centre[:, 1],
        long=np.where(vessel, grid.between("flat", 5.0, 8.0), grid.between("long", 5.8, 8.2)),
        short=np.where(vessel, 1.9, grid.between("short", 3.6, 4.9)),
        angle=outward + across,
        dark=grid.between("dark", 0.66, 1.0),
        vesicle=np.where(vessel, 0.0, grid.dice("vesicle") * pale),
        bend=grid.between("bend", -0.3, 0.3),
        rank=0.8 + 0.2 * grid.dice("rank"),
        red=np.zeros(len(ring), bool),
    )


def cells_in(seed: int, ground: Ground) -> Cells:
    """Nuclei over the ground's box, overlaps resolved, in the order of pasting.

    Right for nuclei at least ``SUPPORT_PX - WINDOW_PX`` inside the box.
    """
    sources = (_stroma, _lymphocytes, _sheet, _red_cells, _wall)
    cells = _join([source(seed, ground) for source in sources])
    row, column = _at(ground, cells.y, cells.x)
    known = (row >= 0) & (row < ground.box.shape[0]) & (column >= 0)
    known &= column < ground.box.shape[1]
    cells = cells.take(known)
    # Nothing floats on glass: neither a wall's nucleus beyond the tissue nor a lumen's red cell.
    row, column = _at(ground, cells.y, cells.x)
    cells = cells.take((ground.solid[row, column] > 0.3) | cells.red)
    radius = 0.85 * np.sqrt(cells.long * cells.short)
    cells = cells.take(without_crowding(cells.y, cells.x, radius, cells.rank))
    return cells.take(np.argsort(cells.rank, kind="stable"))


def _shapes(cells: Cells) -> tuple[Field, Field, Field, npt.NDArray[np.int64]]:
    """Distance (1 on the outline), coverage, and texture of each stamp (n, y, x); its centre."""
    base = np.column_stack([np.floor(cells.y), np.floor(cells.x)])
    steps = np.arange(-WINDOW_PX, WINDOW_PX + 1, dtype=np.float32)

    def per_cell(values: Points) -> Field:
        return values.astype(np.float32)[:, None, None]

    dy = steps[None, :, None] - per_cell(cells.y - base[:, 0])
    dx = steps[None, None, :] - per_cell(cells.x - base[:, 1])
    sin, cos = per_cell(np.sin(cells.angle)), per_cell(np.cos(cells.angle))
    u = (cos * dx + sin * dy) / per_cell(cells.long)
    v = (cos * dy - sin * dx) / per_cell(cells.short)
    v = v + per_cell(0.5 * cells.bend) * (np.minimum(u * u, 2) - 0.4)
    uneven = per_cell(0.13 * cells.bend)
    skew = np.clip(uneven * u + np.abs(uneven) * u * v, -0.25, 0.5)
    distance = np.asarray(np.sqrt(u * u + v * v) * (1 + skew), np.float32)
    cover = np.asarray(
        np.clip((1 - distance) * per_cell(cells.short) / 1.3 + 0.5, 0, 1), np.float32
    )
    offset = per_cell(cells.rank * 40009 % 509)
    grain = sample(texture(509, 1.5, 1.5), dy + offset, dx + 3 * offset)
    return distance, cover, grain, base.astype(np.int64)


def stamp(cells: Cells, ground: Ground) -> npt.NDArray[np.bool_]:
    """Paste the cells onto the ground (changed in place); return the mask (y, x) of nuclei."""
    mask = np.zeros(ground.box.shape, bool)
    if not len(cells):
        return mask
    distance, cover, grain, centre = _shapes(cells)
    square = np.clip(1 - distance * distance, 0, 1)
    pale = cells.vesicle.astype(np.float32)[:, None, None]
    dark = cells.dark.astype(np.float32)[:, None, None]
    tone = dark * (1 - 0.55 * pale * square + (0.10 + 0.16 * pale) * grain)
    # A nucleolus: one dark spot off the centre of a pale nucleus.
    tone += dark * pale * np.clip((grain - 1.6) * 1.5, 0, 1) * (square > 0.35)
    tone = np.maximum(tone, 0.3 * dark)
    for k in range(len(cells)):
        y, x = int(centre[k, 0]), int(centre[k, 1])
        window = Box(y - WINDOW_PX, x - WINDOW_PX, y + WINDOW_PX + 1, x + WINDOW_PX + 1)
        part = window.intersect(ground.box)
        at, own = part.relative_to(ground.box), part.relative_to(window)
        alpha = cover[k][own]
        solid, eosin, blue = ground.solid[at], ground.eosin[at], ground.haematoxylin[at]
        # What was glass keeps no stain of its own under the cell.
        eosin *= 1 - alpha * (1 - solid)
        blue *= 1 - alpha * (1 - solid)
        if cells.red[k]:
            eosin += alpha * (tone[k][own] - eosin)
            blue *= 1 - alpha
        else:
            eosin *= 1 - 0.45 * alpha
            blue += alpha * (tone[k][own] - blue)
            mask[at] |= alpha > 0.5
        solid += alpha * (1 - solid)
    return mask
