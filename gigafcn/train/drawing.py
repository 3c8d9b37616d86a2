"""What does an H&E-like picture with an exact mask look like, at any place and of any size?

A :class:`World` is endless (or framed as a slide) and drawn in fixed blocks, each with a margin:
ground, nuclei, mask, then the scanner's view of them.  Whatever box is asked for, its pixels come
from whole blocks, and all that crosses a block's border depends on place alone, so regions fit
each other exactly and large slides can be drawn piece by piece.  The result imitates tissue for
demonstration and tests; it is not a model of any organ.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from gigafcn.geometry import Box
from gigafcn.train.ground import lay_ground
from gigafcn.train.nuclei import NUCLEI, SUPPORT_PX, TISSUE, cells_in, stamp
from gigafcn.train.stain import Look, Picture, develop, random_look

BLOCK_PX = 512
"""Side of the blocks a world is drawn in."""

MPP = 0.5
"""Micrometres per px that sizes of cells are drawn at."""


@dataclass(frozen=True, slots=True)
class World:
    """A drawn slide: everything in it follows from these values."""

    seed: int
    """Names the tissue."""

    frame: tuple[int, int] | None = None
    """Size (y, x) in px of a slide whose tissue leaves glass along the border; None: endless."""

    look: Look = field(default_factory=Look)
    """Stain and scanner."""

    @staticmethod
    def random(seed: int) -> World:
        """Return an endless world with a look of its own, for training."""
        return World(seed=seed, look=random_look(seed))


class Drawing(NamedTuple):
    """A picture and its exact mask."""

    picture: Picture
    """RGB (y, x, 3)."""

    mask: npt.NDArray[np.uint8]
    """Class (y, x): 0 background, 1 tissue, 2 nuclei."""


def _block(world: World, row: int, column: int) -> Drawing:
    """Draw one block, with the margin that blur and nuclei need."""
    inner = Box(row * BLOCK_PX, column * BLOCK_PX, (row + 1) * BLOCK_PX, (column + 1) * BLOCK_PX)
    margin = SUPPORT_PX
    box = Box(inner.y0 - margin, inner.x0 - margin, inner.y1 + margin, inner.x1 + margin)
    ground = lay_ground(world.seed, box, world.frame)
    nuclei = stamp(cells_in(world.seed, ground), ground)
    mask = np.where(ground.solid > 0.5, np.uint8(TISSUE), np.uint8(0))
    mask[nuclei] = NUCLEI
    rng = np.random.default_rng([world.seed & 0xFFFFFFFF, row & 0xFFFFFFFF, column & 0xFFFFFFFF])
    picture = develop(
        ground.haematoxylin * ground.solid, ground.eosin * ground.solid, world.look, rng, margin
    )
    return Drawing(picture, mask[margin:-margin, margin:-margin])


def draw_region(world: World, box: Box) -> Drawing:
    """Draw the pixels of ``box``, the same whatever box they are asked for with.

    Parameters
    ----------
    world
        What to draw.
    box
        Pixels, in world coordinates; may be negative.

    Examples
    --------
    >>> drawing = draw_region(World(seed=1), Box(0, 0, 64, 96))
    >>> drawing.picture.shape, drawing.mask.shape
    ((64, 96, 3), (64, 96))
    """
    picture = np.empty((*box.shape, 3), np.uint8)
    mask = np.empty(box.shape, np.uint8)
    for row in range(box.y0 // BLOCK_PX, -(-box.y1 // BLOCK_PX)):
        for column in range(box.x0 // BLOCK_PX, -(-box.x1 // BLOCK_PX)):
            whole = Box(0, 0, BLOCK_PX, BLOCK_PX).shift(row * BLOCK_PX, column * BLOCK_PX)
            part = whole.intersect(box)
            block = _block(world, row, column)
            picture[part.relative_to(box)] = block.picture[part.relative_to(whole)]
            mask[part.relative_to(box)] = block.mask[part.relative_to(whole)]
    return Drawing(picture, mask)
