"""How large chunks and shards should be.

A chunk is what a viewer fetches and what status describes: 256 px.  A map smaller than that has
one chunk of its own longer side, so that a one-pixel map stores one pixel.

A shard is one file and what one task must hold, compress and write in one piece.  Small shards
mean many files, large ones much memory.  So: the smallest multiple of the chunk, at least
2048 px, with which the finished map stays below a number of objects; but never more pixels than
a byte limit allows (with hundreds of channels the limit on memory wins over that on files), and
never larger than the map needs.  When the tile is given, the shard divides it, since a tile is a
whole number of shards.

It leaves out tiles: the planner chooses those, and may choose them first.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from gigafcn.errors import UsageError
from gigafcn.output.spec import MapSpec, count_objects

if TYPE_CHECKING:
    from collections.abc import Iterable

CHUNK = 256
"""Side of an inner chunk in px."""

LEAST_SHARD = 2048
"""Side in px below which a shard is not made for the sake of memory alone."""

MOST_OBJECTS = 1500
"""Files that a finished map of an ordinary slide may have, metadata included."""

MOST_SHARD_BYTES = 256 * 2**20
"""Bytes that one uncompressed shard of scores may have."""


def choose_chunk(shape: tuple[int, int]) -> int:
    """Side of an inner chunk in px for a map of ``shape`` (y, x)."""
    return min(CHUNK, max(shape))


def choose_shard(
    shape: tuple[int, int],
    classes: int,
    *,
    dtype: str = "uint8",
    labels: bool = False,
    chunk: int | None = None,
    tile: tuple[int, int] | None = None,
) -> int:
    """Choose the side of a shard in px.

    Parameters
    ----------
    shape
        Size (y, x) of the map in px.
    classes
        Number of classes whose scores are stored.
    dtype
        Type of the scores.
    labels
        Whether the argmax is stored too.
    chunk
        Side of an inner chunk in px; None is :func:`choose_chunk`.
    tile
        Tile (y, x) in map px that shards must divide, each side a multiple of the chunk or at
        least the map's; None leaves the choice free.

    Raises
    ------
    UsageError
        When ``tile`` is no multiple of the chunk.

    Examples
    --------
    >>> choose_shard((100_000, 100_000), 3, labels=True)
    4352
    >>> choose_shard((16_384, 16_384), 3, labels=True)
    2048
    >>> choose_shard((300, 200), 3)
    512
    """
    side = chunk or choose_chunk(shape)
    bytes_per_px = max(1, classes * np.dtype(dtype).itemsize)
    candidates = _candidates(shape, side, tile)
    affordable = [s for s in candidates if s * s * bytes_per_px <= MOST_SHARD_BYTES]
    affordable = affordable or candidates[:1]

    def few_enough(shard: int) -> bool:
        spec = _example(shape, classes, dtype=dtype, labels=labels, chunk=side, shard=shard)
        return shard >= LEAST_SHARD and count_objects(spec) <= MOST_OBJECTS

    return next((s for s in affordable if few_enough(s)), affordable[-1])


def _candidates(shape: tuple[int, int], chunk: int, tile: tuple[int, int] | None) -> list[int]:
    """Sides that a shard may have, ascending."""
    largest = -(-max(shape) // chunk) * chunk
    # A tile as long as the map is clipped to it and may hold any shard along that axis.
    sides = [] if tile is None else [t for t, n in zip(tile, shape, strict=True) if t < n]
    if any(side % chunk for side in sides):
        raise UsageError(f"tile sides must be multiples of {chunk} px, got tile (y, x) {tile}")
    return _divisors(math.gcd(*sides), range(chunk, largest + 1, chunk))


def _divisors(of: int, among: Iterable[int]) -> list[int]:
    """Those ``among`` that divide ``of``; all of them when ``of`` is 0."""
    return [n for n in among if of % n == 0]


def _example(
    shape: tuple[int, int], classes: int, *, dtype: str, labels: bool, chunk: int, shard: int
) -> MapSpec:
    named = max(classes, 2)
    return MapSpec(
        shape=shape,
        classes=tuple(str(i) for i in range(named)),
        colours=("808080",) * named,
        scores=tuple(range(classes)),
        dtype=dtype,
        chunk=chunk,
        shard=shard,
        labels=labels,
    )
