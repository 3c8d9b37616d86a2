"""Are drawings deterministic, without seams, and true to their masks?"""

from __future__ import annotations

import numpy as np
import pytest

from gigafcn.geometry import Box
from gigafcn.train.drawing import Drawing, World, draw_region
from gigafcn.train.ground import lay_ground
from gigafcn.train.nuclei import NUCLEI, SUPPORT_PX, TISSUE, cells_in, stamp

SEED = 3


@pytest.fixture(scope="module")
def drawing() -> Drawing:
    return draw_region(World(SEED), Box(0, 0, 512, 512))


def test_the_same_world_draws_the_same_pixels(drawing: Drawing) -> None:
    again = draw_region(World(SEED), Box(0, 0, 512, 512))
    assert (again.picture == drawing.picture).all()
    assert (again.mask == drawing.mask).all()


def test_worlds_of_other_seeds_differ(drawing: Drawing) -> None:
    assert (draw_region(World(SEED + 1), Box(0, 0, 512, 512)).mask != drawing.mask).mean() > 0.05


def test_a_pixel_is_the_same_from_every_box(drawing: Drawing) -> None:
    part = draw_region(World(SEED), Box(-20, 300, 200, 530))
    assert (part.picture[20:, :212] == drawing.picture[:200, 300:]).all()
    assert (part.mask[20:, :212] == drawing.mask[:200, 300:]).all()


def test_blocks_meet_as_if_drawn_in_one_piece() -> None:
    box = Box(400, 400, 640, 640)
    margin = SUPPORT_PX
    ground = lay_ground(
        SEED, Box(box.y0 - margin, box.x0 - margin, box.y1 + margin, box.x1 + margin), None
    )
    nuclei = stamp(cells_in(SEED, ground), ground)
    mask = np.where(nuclei, NUCLEI, np.where(ground.solid > 0.5, TISSUE, 0))
    inner = mask[margin:-margin, margin:-margin]
    assert (inner == draw_region(World(SEED), box).mask).all()


def test_all_classes_are_drawn(drawing: Drawing) -> None:
    share = np.bincount(drawing.mask.ravel(), minlength=3) / drawing.mask.size
    assert share.min() > 0.01


@pytest.mark.parametrize("world", [World(SEED), World.random(41), World.random(42)])
def test_nuclei_are_darker_and_bluer_than_the_tissue_round_them(world: World) -> None:
    picture, mask = draw_region(world, Box(0, 0, 512, 512))
    nuclei, tissue = (picture[mask == c].astype(float).mean(axis=0) for c in (NUCLEI, TISSUE))
    assert nuclei.sum() < tissue.sum() - 60
    assert nuclei[2] - nuclei[0] > tissue[2] - tissue[0] + 20


def test_glass_is_brighter_than_tissue_almost_everywhere(drawing: Drawing) -> None:
    brightness = drawing.picture.min(axis=-1)
    # Borders are soft, so a few pixels on either side lie in between.
    assert (brightness[drawing.mask == 0] > 200).mean() > 0.9
    assert (brightness[drawing.mask == TISSUE] < 215).mean() > 0.95


def test_a_framed_world_leaves_glass_along_the_slides_border() -> None:
    world = World(SEED, frame=(1024, 1024))
    left = draw_region(world, Box(0, 0, 1024, 12)).mask
    middle = draw_region(world, Box(256, 256, 768, 768)).mask
    assert (left == 0).all()
    assert (middle > 0).mean() > 0.2
