"""What lies under the nuclei of a drawn world: glass, stroma, epithelium, fat, glands, vessels?

:func:`lay_ground` paints amounts of haematoxylin and eosin and how solid the tissue is, pixel by
pixel, from hashed noise: collagen bundles that follow a warped flow and part in white clefts,
sheets of epithelium, fat, and the rings of :mod:`gigafcn.train.structures`.  It also keeps what
the nuclei need to know: which zone a pixel belongs to, and the direction of the fibres.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gigafcn.geometry import Box
from gigafcn.train.noise import Field, sample, smooth, texture, uniform
from gigafcn.train.structures import (
    REACH_PX,
    Rings,
    edge,
    fat_cells,
    ring_distance,
    rings_in,
    speckle,
    wobble,
)

OPEN, WALL, LUMEN, BLOOD = range(4)
"""Where a pixel is with regard to rings: outside all, in a wall, in a gland's or vessel's lumen."""


@dataclass(slots=True)
class Ground:
    """Tissue without nuclei over ``box``; all arrays are (y, x)."""

    box: Box
    """Pixels drawn, in world coordinates."""

    haematoxylin: Field
    """Amount of stain."""

    eosin: Field
    """Amount of stain."""

    solid: Field
    """Coverage by tissue, 0 (glass) to 1."""

    sheet: Field
    """Positive in solid epithelium."""

    inflamed: Field
    """Where lymphocytes gather: about mean 0, standard deviation 1."""

    flow: Field
    """Direction of the fibres, radians from x towards y."""

    whole: Field
    """Coverage by the section as cut, before clefts, lumina and fat emptied parts of it."""

    place: npt.NDArray[np.uint8]
    """OPEN, WALL, LUMEN or BLOOD."""

    rings: Rings
    """Glands and vessels that may touch the box."""


def _coordinates(box: Box) -> tuple[Field, Field]:
    y, x = np.broadcast_arrays(
        np.arange(box.y0, box.y1, dtype=np.float32)[:, None],
        np.arange(box.x0, box.x1, dtype=np.float32)[None, :],
    )
    return y, x


def presence(seed: int, box: Box, frame: tuple[int, int] | None) -> Field:
    """Signed field over ``box``: positive where there is tissue.

    Without a ``frame`` tissue has no end but holes; with one, (y, x) in px, it is an island that
    leaves glass along the border.
    """
    field = (
        1.15 * smooth(seed, "tissue far", box, 900)
        + 0.35 * smooth(seed, "tissue near", box, 140)
        + 0.16 * smooth(seed, "tissue edge", box, 24)
        + 0.07 * smooth(seed, "tissue hair", box, 7)
    )
    if frame is None:
        return np.asarray(field + np.float32(1.1), np.float32)
    y, x = _coordinates(box)
    height, width = frame
    ry = (y - height / 2) / (0.41 * height)
    rx = (x - width / 2) / (0.41 * width)
    # At the slide's border the island is so far below zero that no noise reaches it.
    island = 8 * (1 - (np.abs(ry) ** 2.4 + np.abs(rx) ** 2.4))
    island += 1.1 * smooth(seed, "outline", box, max(16, min(frame) // 5))
    return np.asarray(np.minimum(island + 0.8 * field, field + np.float32(2.2)), np.float32)


def _stroma(ground: Ground, seed: int) -> None:
    """Collagen: bundles and fibres along a warped flow, parting in clefts."""
    box = ground.box
    y, x = _coordinates(box)
    turn = np.float32(2 * np.pi * uniform(seed, "flow turn", 0, 0)[0])
    sin, cos = np.sin(turn), np.cos(turn)
    u = cos * y - sin * x + 380 * smooth(seed, "flow far", box, 700)
    u += 26 * smooth(seed, "flow near", box, 100) + 3.6 * smooth(seed, "flow wave", box, 24)
    v = cos * x + sin * y + 220 * smooth(seed, "flow along", box, 800)
    v += 12 * smooth(seed, "flow slip", box, 60)
    u += np.float32(1024) * uniform(seed, "flow start", 0, 0)
    v += np.float32(1024) * uniform(seed, "flow start", 0, 1)
    across, along = np.gradient(u)
    ground.flow = np.arctan2(-along, across).astype(np.float32)
    # The warp stretches and squeezes the texture; its density in px keeps the bundles' width.
    bundles = sample(texture(1024, 4.0, 30.0), u, v)
    fibres = sample(texture(1024, 1.1, 11.0), u, v)
    patch = smooth(seed, "stroma patch", box, 160)
    loose = smooth(seed, "loose", box, 380)
    grain = speckle(seed, box)
    ground.eosin = np.clip(
        0.33 + 0.085 * bundles + 0.06 * fibres + 0.045 * patch + 0.018 * grain, 0.06, None
    )
    ground.haematoxylin = np.clip(0.055 + 0.02 * patch - 0.015 * bundles + 0.012 * grain, 0, None)
    cleft = bundles + 0.45 * fibres + 1.75 - 0.62 * loose
    ground.solid *= np.clip(cleft * 2.2 + 0.5, 0, 1)


def _sheets(ground: Ground, seed: int) -> None:
    """Solid epithelium: purple, without fibres."""
    box = ground.box
    field = smooth(seed, "sheet far", box, 420) - 1.05 + 0.22 * smooth(seed, "sheet near", box, 60)
    ground.sheet = field
    cover = edge(field, 60.0, 6.0)
    if not cover.any():
        return
    tone = smooth(seed, "sheet tone", box, 50)
    grain = speckle(seed, box, 0.7)
    eosin = 0.27 + 0.03 * tone + 0.02 * grain
    haematoxylin = 0.20 + 0.025 * tone + 0.03 * grain
    solid = np.clip((tone + 0.6 * grain + 3.4) * 1.5, 0, 1)
    ground.eosin += cover * (eosin - ground.eosin)
    ground.haematoxylin += cover * (haematoxylin - ground.haematoxylin)
    ground.solid += cover * (solid * ground.whole - ground.solid)


def _fat(ground: Ground, seed: int) -> None:
    """Fat: empty round cells between thin walls."""
    box = ground.box
    cells, near = fat_cells(seed, box)
    ground.solid += near * (ground.whole - ground.solid)
    ground.solid *= 1 - cells
    ground.eosin += near * (0.24 - ground.eosin)
    ground.place[cells > 0.5] = LUMEN


def _ring(ground: Ground, k: int, wobbling: Field, inner_wobbling: Field, grain: Field) -> None:
    """Paint gland or vessel ``k``."""
    rings, box = ground.rings, ground.box
    y, x = int(rings.y[k]), int(rings.x[k])
    window = box.intersect(Box(y - REACH_PX, x - REACH_PX, y + REACH_PX, x + REACH_PX))
    if window.is_empty:
        return
    at = window.relative_to(box)
    size, lumen = float(rings.size[k]), float(rings.lumen[k])
    distance = ring_distance(rings, k, window, wobbling[at])
    hollow = edge(np.float32(lumen) - distance * inner_wobbling[at], size)
    inside = edge(1 - distance, size)
    present = ground.whole[at]
    # From the lumen (0) to the basal border (1): the wall's cytoplasm, paler where mucin is held.
    depth = np.clip((distance - lumen) / (1 - lumen), 0, 1)
    variety = float(rings.rank[k])
    if rings.vessel[k]:
        eosin, haematoxylin = 0.36 + 0.02 * grain[at], 0.06 + 0.01 * grain[at]
    else:
        mucin = np.clip(1.6 - 2.4 * depth, 0, 1) * np.clip(grain[at] + 2 * variety - 0.6, 0, 1)
        eosin = 0.24 + 0.10 * variety + 0.02 * grain[at] - 0.17 * mucin
        haematoxylin = 0.15 + 0.06 * (1 - variety) + 0.02 * grain[at] - 0.06 * mucin
    rim = edge(np.float32(1.06) - distance, size) - inside
    eosin_here, haematoxylin_here = ground.eosin[at], ground.haematoxylin[at]
    eosin_here += inside * (eosin - eosin_here) + rim * np.float32(0.10)
    haematoxylin_here += inside * (haematoxylin - haematoxylin_here)
    solid = ground.solid[at]
    solid += np.maximum(inside, rim) * (present - solid)
    solid *= 1 - hollow
    place = ground.place[at]
    place[inside > 0.5] = WALL
    place[(hollow > 0.5) & (present > 0.5)] = BLOOD if rings.vessel[k] and variety > 0.35 else LUMEN


def lay_ground(seed: int, box: Box, frame: tuple[int, int] | None) -> Ground:
    """Paint the ground of world ``seed`` over ``box``.

    Parameters
    ----------
    seed
        Names the world.
    box
        Pixels to paint, in world coordinates.
    frame
        Size (y, x) px of the slide that the tissue has to stay within, or None.
    """
    here = presence(seed, box, frame)
    empty = np.zeros(box.shape, np.float32)
    ground = Ground(
        box=box,
        haematoxylin=empty,
        eosin=empty.copy(),
        solid=edge(here, 60.0, 2.5),
        sheet=empty,
        inflamed=smooth(seed, "inflamed", box, 330) + 0.3 * smooth(seed, "inflamed near", box, 40),
        flow=empty,
        whole=empty,
        place=np.zeros(box.shape, np.uint8),
        rings=rings_in(seed, box),
    )
    ground.whole = ground.solid.copy()
    if not ground.solid.any():
        return ground
    _stroma(ground, seed)
    _sheets(ground, seed)
    _fat(ground, seed)
    wobbling = wobble(seed, box)
    inner_wobbling = 1 + 0.10 * smooth(seed, "wobble lumen", box, 22)
    grain = speckle(seed, box, 0.45)
    for k in range(len(ground.rings)):
        _ring(ground, k, wobbling, inner_wobbling, grain)
    return ground
