"""How the coarser levels come from the finest.

Each level is made from the one below by 2 x 2 blocks, one task per destination shard, which may
start as soon as its source shards (``source_shards``) are written.  At an odd edge a block has
only the pixels that exist.

- Scores: the mean.  For uint8 it is rounded half to even; for floats pixels that were not
  computed (NaN) do not count, and a block without a computed pixel is NaN.
- Labels: the mode; on a tie the first of the tied labels in reading order.  (The mode keeps thin
  structures better than the nearest pixel and, unlike an argmax of the averaged scores, does not
  depend on how they were quantised.)

This module makes shards that lie across tiles, from what is stored; those within one tile are made
while it is computed (:mod:`gigafcn.output.tile_pyramid`), by the same functions.

Because a chunk is normally a power of two, computed and background chunks do not share a block
down to the level at which a chunk is one pixel.  Peak memory is one destination shard and one
source shard.  A destination shard without any source object stores no object.

It leaves out scheduling.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gigafcn.geometry import Box
from gigafcn.output.disk import storing
from gigafcn.output.shards import ShardedArray
from gigafcn.output.spec import ArrayKind, MapSpec, array_kinds, map_levels, source_shards
from gigafcn.storage.url_path import place_of

if TYPE_CHECKING:
    from pathlib import Path

Halve = Callable[[NDArray[Any]], NDArray[Any]]


def build_pyramid_shard(
    path: str | Path, spec: MapSpec, level: int, index: tuple[int, int]
) -> dict[str, str]:
    """Build the scores and labels of one shard of a coarser level.

    Returns the CRC32C of the objects written, by key.

    Parameters
    ----------
    path
        Directory of the store.
    spec
        Layout of the map.
    level
        Level to write, at least 1.
    index
        Shard (y, x) of that level.

    Raises
    ------
    RunError
        When the disk refuses.
    """
    root = place_of(path)
    written: dict[str, str] = {}
    with storing(root, spec, f"shard {index[0]}/{index[1]} of level {level}"):
        levels = map_levels(spec)
        for kind in array_kinds(spec):
            halve = halving(kind)
            source = ShardedArray(root, kind.path(level - 1), levels[level - 1])
            target = ShardedArray(root, kind.path(level), levels[level])
            existing = [s for s in source_shards(spec, level, index) if source.has(s)]
            if not existing:
                target.drop(index)
                continue
            box = levels[level].shard_box(index)
            block = np.full((kind.planes or 1, *box.shape), target.fill, target.dtype)
            for shard in existing:
                half = _halved(levels[level - 1].shard_box(shard)).relative_to(box)
                stored = source.get(shard)
                for plane, pixels in enumerate(stored if source.is_stack else stored[None]):
                    block[(plane, *half)] = halve(pixels)
            written |= target.put(index, block if target.is_stack else block[0])
    return written


def halving(kind: ArrayKind) -> Halve:
    """How blocks of scores or of labels are merged."""
    if kind.planes is None:
        return halve_labels
    return halve_uint8 if kind.dtype == "uint8" else halve_float


def _halved(box: Box) -> Box:
    """The pixels that those of a box become at the next level."""
    return Box(box.y0 // 2, box.x0 // 2, -(-box.y1 // 2), -(-box.x1 // 2))


def halve_uint8(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Mean of each 2 x 2 block of (y, x), rounded half to even.

    Examples
    --------
    >>> halve_uint8(np.array([[1, 2], [2, 1]], np.uint8)), halve_uint8(np.array([[3]], np.uint8))
    (array([[2]], dtype=uint8), array([[3]], dtype=uint8))
    """
    whole = _even(image)
    rows = np.add(whole[0::2], whole[1::2], dtype=np.uint16)
    # Two neighbouring sums are one 32-bit word: adding its halves needs no strided access.
    words = rows.view(np.uint32)
    total = (words + (words >> np.uint32(16))).astype(np.uint16)
    odd = (total >> np.uint16(2)) & np.uint16(1)
    mean: NDArray[np.uint8] = ((total + np.uint16(1) + odd) >> np.uint16(2)).astype(np.uint8)
    return mean


def halve_float(image: NDArray[Any]) -> NDArray[Any]:
    """Mean of the pixels that are not NaN in each 2 x 2 block of (y, x), in the image's dtype.

    Examples
    --------
    >>> halve_float(np.array([[1.0, np.nan], [2.0, np.nan]], np.float32))
    array([[1.5]], dtype=float32)
    """
    if not np.isnan(image).any():
        return _mean(_even(image))
    corners = _corners(image)
    total = np.zeros(corners[0].shape, np.float64)
    count = np.zeros(corners[0].shape, np.uint8)
    for corner in corners:
        known = ~np.isnan(corner)
        np.add(total, corner, out=total, where=known)
        count += known
    with np.errstate(invalid="ignore"):
        return (total / count).astype(image.dtype)


def _mean(whole: NDArray[Any]) -> NDArray[Any]:
    """Mean of each 2 x 2 block of numbers; five times as fast as with a mask."""
    total = whole[0::2, 0::2].astype(np.float64)
    for y, x in ((0, 1), (1, 0), (1, 1)):
        total += whole[y::2, x::2]
    total *= 0.25
    return total.astype(whole.dtype)


def halve_labels(image: NDArray[Any]) -> NDArray[Any]:
    """Mode of each 2 x 2 block of (y, x); on a tie the first tied label in reading order.

    Examples
    --------
    >>> halve_labels(np.array([[1, 2], [3, 2]], np.uint8))
    array([[2]], dtype=uint8)
    """
    a, b, c, d = _corners(image)
    # With a alone, only a pair among b, c, d can outnumber it; with a paired, nothing can.
    alone = (a != b) & (a != c) & (a != d)
    second = (b == c) | (b == d)
    best = a.copy()
    np.copyto(best, b, where=alone & second)
    np.copyto(best, c, where=alone & (c == d) & ~second)
    return best


def _corners(image: NDArray[Any]) -> list[NDArray[Any]]:
    """Return the four pixels of each 2 x 2 block, in reading order, each contiguous."""
    whole = _even(image)
    return [np.ascontiguousarray(whole[y::2, x::2]) for y in (0, 1) for x in (0, 1)]


def _even(image: NDArray[Any]) -> NDArray[Any]:
    """The image with an odd edge repeated.

    Each existing pixel of a block then counts equally often, so mean and mode are those of the
    existing pixels.
    """
    rows, columns = image.shape
    if rows % 2 or columns % 2:
        return np.pad(image, ((0, rows % 2), (0, columns % 2)), mode="edge")
    return image
