"""The image that every row maps: a drawn slide, tiled and lossless, and the mask it was drawn from.

Lossless, so that every library decodes the same pixels.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import tifffile

from gigafcn.geometry import Box
from gigafcn.train.drawing import BLOCK_PX, World, draw_region

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SEED = 4
TILE_PX = 512
THREADS = 2


def drawn(folder: Path, size: int) -> tuple[Path, Path]:
    """Image and mask (NumPy, uint8 (y, x)) of a slide of ``size`` px square; drawn if not there."""
    folder.mkdir(parents=True, exist_ok=True)
    image, mask = folder / f"drawn-{size}.tiff", folder / f"drawn-{size}-truth.npy"
    if not (image.exists() and mask.exists()):
        print(f"drawing {size} x {size} px", flush=True)
        _draw(image, mask, size)
    return image, mask


def _draw(image: Path, mask: Path, size: int) -> None:
    truth = np.empty((size, size), np.uint8)
    part = image.with_suffix(".part")
    tifffile.imwrite(
        part,
        _tiles(truth),
        shape=(size, size, 3),
        dtype=np.uint8,
        tile=(TILE_PX, TILE_PX),
        compression="deflate",
        photometric="rgb",
        metadata=None,
    )
    np.save(mask, truth)
    part.replace(image)


def _tiles(truth: np.ndarray[Any, np.dtype[np.uint8]]) -> Iterator[Any]:
    """Tiles in the order of a TIFF; their masks go into ``truth``."""
    size = truth.shape[0]
    world = World(seed=SEED, frame=(size, size))
    assert TILE_PX == BLOCK_PX, "a tile is a block of the drawing"
    with ThreadPoolExecutor(THREADS) as pool:
        for y in range(0, size, TILE_PX):
            boxes = [Box(y, x, y + TILE_PX, x + TILE_PX) for x in range(0, size, TILE_PX)]
            for box, found in zip(
                boxes, pool.map(lambda box: draw_region(world, box), boxes), strict=True
            ):
                truth[box.y0 : box.y1, box.x0 : box.x1] = found.mask[: size - box.y0]
                yield found.picture
