"""How the coarser levels come from the finest.

Each level is made from the one below by 2 x 2 blocks, one task per destination shard, which may
start as soon as its source shards (``source_shards``) are written.  At an odd edge a block has
only the pixels that exist.

- Scores: the mean of the px that were computed, for uint8 rounded half to even.  A block without
  one is NaN, or 0 in uint8.
- Labels: the mode of the px that were computed; on a tie the first of the tied labels in reading
  order.  A block without one has failed if any of its px has, else it was left out.  (The mode
  keeps thin structures better than the nearest pixel and, unlike an argmax of the averaged scores,
  does not depend on how they were quantised.)

Which px were computed is told by NaN, by the labels, or by the array that says only that.

This module makes shards that lie across tiles, from what is stored; those within one tile are made
while it is computed (:mod:`gigafcn.output.tile_pyramid`), by the same functions.

Because a chunk is normally a power of two, computed and background chunks do not share a block
down to the level at which a chunk is one pixel.  Peak memory is one destination shard and one
source shard of each array.  A destination shard without any source object stores no object.

It leaves out scheduling.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gigafcn.geometry import Box
from gigafcn.output.disk import storing
from gigafcn.output.label_codes import codes_of
from gigafcn.output.shards import ShardedArray
from gigafcn.output.spec import (
    ArrayKind,
    MapSpec,
    array_kinds,
    coded_kind,
    map_levels,
    source_shards,
)
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
    kinds, levels = array_kinds(spec), map_levels(spec)
    written: dict[str, str] = {}
    with storing(root, spec, f"shard {index[0]}/{index[1]} of level {level}"):
        sources = [ShardedArray(root, k.path(level - 1), levels[level - 1]) for k in kinds]
        targets = [ShardedArray(root, k.path(level), levels[level]) for k in kinds]
        box = levels[level].shard_box(index)
        blocks = [
            np.full((kind.planes or 1, *box.shape), kind.fill, target.dtype)
            for kind, target in zip(kinds, targets, strict=True)
        ]
        exist = [False] * len(kinds)
        for shard in source_shards(spec, level, index):
            there = [source.has(shard) for source in sources]
            exist = [a or b for a, b in zip(exist, there, strict=True)]
            if any(there):
                part = levels[level - 1].shard_box(shard)
                planes = [_planes(*one, shard, part) for one in zip(kinds, sources, strict=True)]
                half = _halved(part).relative_to(box)
                for block, pixels in zip(blocks, halved_planes(spec, planes), strict=True):
                    block[(slice(None), *half)] = pixels
        for target, block, any_source in zip(targets, blocks, exist, strict=True):
            if any_source:
                written |= target.put(index, block if target.is_stack else block[0])
            else:
                target.drop(index)
    return written


def _planes(
    kind: ArrayKind, source: ShardedArray, shard: tuple[int, int], box: Box
) -> NDArray[Any]:
    """Values (c, y, x) of a source shard; the fill value where it has no object."""
    if not source.has(shard):
        return np.full((kind.planes or 1, *box.shape), kind.fill, source.dtype)
    stored = source.get(shard)
    return stored if source.is_stack else stored[None]


def halved_planes(spec: MapSpec, planes: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
    """Halve a part of all that a map stores: one stack (c, y, x) per kind of array."""
    coded, known = coded_kind(spec), None
    if coded is not None:
        mask = planes[-1][0] < codes_of(coded.dtype).failed
        known = None if mask.all() else mask
    return [
        np.stack([_halver(kind, known)(plane) for plane in stack])
        for kind, stack in zip(array_kinds(spec), planes, strict=True)
    ]


def _halver(kind: ArrayKind, known: NDArray[np.bool_] | None) -> Halve:
    """How one plane is halved, if only ``known`` px (y, x) were computed, or all (None)."""
    if kind.planes is None:
        return halve_labels if known is None else partial(halve_known_labels, known=known)
    if kind.dtype != "uint8":
        return halve_float
    return halve_uint8 if known is None else partial(halve_known_uint8, known=known)


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


def halve_known_uint8(image: NDArray[np.uint8], known: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Mean of the known px of each 2 x 2 block of (y, x), rounded half to even; 0 without any.

    Examples
    --------
    >>> known = np.array([[True, False], [True, False]])
    >>> halve_known_uint8(np.array([[10, 0], [20, 0]], np.uint8), known)
    array([[15]], dtype=uint8)
    """
    corners = zip(_corners(image), _corners(known), strict=True)
    counted = [(np.where(there, values, 0).astype(np.float64), there) for values, there in corners]
    count = np.sum([there for _, there in counted], axis=0)
    total = np.sum([values for values, _ in counted], axis=0)
    mean: NDArray[np.uint8] = np.rint(total / np.maximum(count, 1)).astype(np.uint8)
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


def halve_known_labels(image: NDArray[Any], known: NDArray[np.bool_]) -> NDArray[Any]:
    """Mode of the known px of each 2 x 2 block; without any, failed if one of its px is.

    Examples
    --------
    >>> labels = np.array([[255, 1], [2, 2], [255, 254], [255, 255]], np.uint8)
    >>> halve_known_labels(labels, labels < 254)
    array([[  2],
           [254]], dtype=uint8)
    """
    values, there = np.stack(_corners(image)), np.stack(_corners(known))
    votes = np.zeros(values.shape, np.uint8)
    for other, counts in zip(values, there, strict=True):
        votes += (values == other) & counts
    votes[~there] = 0
    # The first of the largest, and in blocks without a vote the smaller code, which is "failed".
    mode = np.take_along_axis(values, votes.argmax(axis=0)[None], axis=0)[0]
    halved: NDArray[Any] = np.where(there.any(axis=0), mode, values.min(axis=0))
    return halved


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
