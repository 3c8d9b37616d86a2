"""Poisoned images through untouched modules: the need of a tile suffices and is minimal."""

from __future__ import annotations

import pytest

from gigafcn.geometry import Box
from tests.poison import SIDES, check_poison, moves
from tests.sweeping import local_net

# torch says once that even kernels may need a padded copy; that costs memory, not exactness.
pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")

INNER = {
    "unet_r18": ((672, 640), Box(301, 309, 355, 341)),
    "monai_basic_unet": ((320, 288), Box(117, 121, 170, 154)),
    "monai_unet": ((304, 288), Box(117, 121, 170, 154)),
    "dilated": ((120, 104), Box(45, 47, 70, 58)),
    "even": ((64, 72), Box(21, 25, 40, 37)),
    "aligned": ((64, 78), Box(21, 25, 40, 37)),
    "border": ((71, 62), Box(21, 25, 40, 37)),
    "bicubic": ((64, 78), Box(31, 35, 50, 47)),
    "tokens": ((80, 72), Box(11, 15, 20, 21)),
    "viewed": ((64, 72), Box(61, 65, 90, 87)),
    "halo_attention": ((64, 72), Box(21, 25, 40, 37)),
    "windows": ((64, 72), Box(21, 25, 40, 37)),
}
"""Image size and a tile on no period whose need lies inside the image, by net."""


@pytest.mark.parametrize("name", INNER)
def test_a_tile_reads_all_of_its_need_and_nothing_else(name: str) -> None:
    size, tile = INNER[name]
    assert check_poison(*local_net(name, size), tile) == list(SIDES)


@pytest.mark.parametrize(
    "name",
    [
        "even",
        "aligned",
        "border",
        "dilated",
        "bicubic",
        "tokens",
        "viewed",
        "halo_attention",
        "windows",
    ],
)
def test_tiles_at_the_edges_read_all_of_their_need_and_nothing_else(name: str) -> None:
    module, graph = local_net(name, (72, 88))
    height, width = graph.result.grid
    for tile in (
        Box(0, 0, 1, 1),
        Box(height - 9, width - 12, height, width),
        Box(0, width - 1, 7, width),
        Box(height - 1, 0, height, 20),
    ):
        check_poison(module, graph, tile)


@pytest.mark.parametrize("phase", range(6))
def test_an_unpooled_tile_reads_all_of_its_need_and_nothing_else(phase: int) -> None:
    module, graph = local_net("unpooled", (83, 78))
    tile = Box(31, 35, 50, 47).shift(phase, phase)
    assert check_poison(module, graph, tile, moves) == list(SIDES)


def aligned_halo(name: str, tile: Box) -> tuple[int, int]:
    """Rows that a tile of whole periods reads above and below itself."""
    _, graph = local_net(name, INNER[name][0])
    need = graph.need_box(tile)
    return tile.y0 - need.y0, need.y1 - tile.y1


@pytest.mark.parametrize(
    ("name", "tile", "halo"),
    [
        ("unet_r18", Box(320, 320, 352, 352), (281, 250)),
        ("monai_basic_unet", Box(112, 112, 144, 144), (94, 94)),
    ],
)
def test_halos_of_aligned_tiles_are_the_published_ones(
    name: str, tile: Box, halo: tuple[int, int]
) -> None:
    assert aligned_halo(name, tile) == halo
