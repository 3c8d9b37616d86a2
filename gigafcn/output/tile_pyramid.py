"""Coarser levels of a tile while its pixels are still in memory.

A shard of a coarser level whose source pixels all lie in one tile belongs to that tile, so the
task that computes the tile builds it too, from the very values it stored: nothing is read back.
Only shards that lie across tiles are left to :func:`gigafcn.output.pyramid.build_pyramid_shard`.
Both give the same bytes.  Memory: one row of shards per level, together less than one of level 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from gigafcn.geometry import Box
from gigafcn.output.chunk_status import stored_statuses
from gigafcn.output.disk import storing
from gigafcn.output.pyramid import halved_planes
from gigafcn.output.shards import ShardedArray
from gigafcn.output.spec import (
    MapSpec,
    array_kinds,
    map_levels,
    pyramid_shards,
    shard_keys,
    source_shards,
)

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


def shards_across_tiles(spec: MapSpec, level: int, tile: tuple[int, int]) -> list[tuple[int, int]]:
    """Shards (y, x) of a coarser level that no tile can build on its own.

    Parameters
    ----------
    spec
        Layout of the map.
    level
        At least 1.
    tile
        Size (y, x) of a tile in map px, whole shards; tiles begin at the map's first pixel.

    Examples
    --------
    >>> spec = MapSpec((8192, 8192), ("a",), ("FF0000",), "uint8", 256, 2048)
    >>> shards_across_tiles(spec, 1, (4096, 2048))
    [(0, 0), (0, 1), (1, 0), (1, 1)]
    >>> shards_across_tiles(spec, 1, (4096, 8192))
    []
    """
    return [
        index
        for index in pyramid_shards(spec, level)
        if not _within_one(_source_box(spec, level, index), tile)
    ]


def drop_shards_within(root: Path, spec: MapSpec, tile: Box) -> None:
    """Remove the shards of coarser levels that a tile alone would build, should there be any."""
    for level in range(1, len(map_levels(spec))):
        for index in pyramid_shards(spec, level):
            if tile.contains(_source_box(spec, level, index)):
                for key in shard_keys(spec, level, index):
                    (root / key).unlink(missing_ok=True)


def _source_box(spec: MapSpec, level: int, index: tuple[int, int]) -> Box:
    """Level-0 pixels that a shard is made of."""
    target = map_levels(spec)[level]
    box = target.shard_box(index)
    return Box(*(edge * target.factor for edge in box)).clip(spec.shape)


def _within_one(box: Box, tile: tuple[int, int]) -> bool:
    return all(
        span.start // side == (span.stop - 1) // side
        for span, side in zip(box.spans, tile, strict=True)
    )


@dataclass(slots=True)
class _Row:
    """One row of shards of a level while it fills."""

    box: Box
    planes: list[NDArray[Any]]
    """Per kind of array that is stored: (c, y, x) scores, then (1, y, x) labels."""


class TilePyramid:
    """Builds the coarser shards that belong to one tile, from its rows of shards in order.

    Parameters
    ----------
    root
        Directory of the store.
    spec
        Layout of the map.
    tile
        The tile in map px; whole shards.
    """

    def __init__(self, root: Path, spec: MapSpec, tile: Box) -> None:
        self._root = root
        self._spec = spec
        self._levels = map_levels(spec)
        self._owned = [tile]
        for level in range(1, len(self._levels)):
            self._owned.append(self._owned_part(level, tile))
        self._rows: dict[int, _Row] = {}
        self._present: set[tuple[int, int, int, int]] = set()
        """Kind of array, level and index (y, x) of shards that hold something."""

        self.written: dict[str, str] = {}
        """CRC32C of the objects written so far, by key."""

    def _owned_part(self, level: int, tile: Box) -> Box:
        """Hull of a level's shards that belong to the tile; they form a rectangle."""
        target = self._levels[level]
        boxes = [
            target.shard_box(index)
            for index in pyramid_shards(self._spec, level)
            if tile.contains(_source_box(self._spec, level, index))
        ]
        if not boxes:
            return Box(0, 0, 0, 0)
        return Box(boxes[0].y0, boxes[0].x0, boxes[-1].y1, boxes[-1].x1)

    def add(
        self,
        box: Box,
        scores: NDArray[Any] | None,
        labels: NDArray[Any] | None,
        status: NDArray[np.uint8] | None = None,
    ) -> None:
        """Take one row of shards of the tile, (c, y, x) scores and (y, x) labels.

        What the map does not store is None.  Rows without a stored chunk may be left out.

        Parameters
        ----------
        status
            Of each chunk (y, x); None when all are computed.

        Raises
        ------
        RunError
            When the disk refuses.
        """
        for kind, stored in enumerate(stored_statuses(self._spec)):
            held = None if status is None else np.isin(status, stored)
            for index in self._levels[0].shards_in(box):
                cells = self._levels[0].shard_box(index).relative_to(box)
                chunk = self._spec.chunk
                rows, columns = (slice(s.start // chunk, -(-s.stop // chunk)) for s in cells)
                if held is None or held[rows, columns].any():
                    self._present.add((kind, 0, *index))
        lifted = None if labels is None else labels[None]
        self._add(0, box, [planes for planes in (scores, lifted) if planes is not None])

    def finish(self) -> None:
        """Store what still waits for rows that were left out.

        Raises
        ------
        RunError
            When the disk refuses.
        """
        for level in range(1, len(self._levels)):
            self._close(level)

    def _close(self, level: int) -> None:
        """Store the row of a level that is open, whatever it lacks."""
        row = self._rows.pop(level, None)
        if row is not None:
            self._store(level, row)
            self._add(level, row.box, row.planes)

    def _add(self, level: int, box: Box, planes: list[NDArray[Any]]) -> None:
        target = level + 1
        if target == len(self._levels) or self._owned[target].is_empty:
            return
        owned = self._owned[target]
        half = Box(box.y0 // 2, box.x0 // 2, -(-box.y1 // 2), -(-box.x1 // 2)).intersect(owned)
        if half.is_empty:
            return
        open_row = self._rows.get(target)
        if open_row is not None and open_row.box.y1 <= half.y0:
            self._close(target)  # its last rows were left out
        row = self._rows.get(target) or self._opened(target, half, planes)
        for index in self._levels[level].shards_in(box):
            if any((kind, level, *index) in self._present for kind in range(len(planes))):
                self._halve(self._levels[level].shard_box(index).intersect(box), box, planes, row)
        if half.y1 == row.box.y1:
            self._close(target)

    def _halve(self, part: Box, box: Box, planes: list[NDArray[Any]], row: _Row) -> None:
        """Put the halved pixels of one shard (its ``part`` of ``box``) into the row."""
        half = Box(part.y0 // 2, part.x0 // 2, -(-part.y1 // 2), -(-part.x1 // 2))
        half = half.intersect(row.box)
        source = Box(*(2 * edge for edge in half)).intersect(box).relative_to(box)
        place = half.relative_to(row.box)
        parts = [stack[(slice(None), *source)] for stack in planes]
        for target, pixels in zip(row.planes, halved_planes(self._spec, parts), strict=True):
            target[(slice(None), *place)] = pixels

    def _opened(self, level: int, half: Box, planes: list[NDArray[Any]]) -> _Row:
        side = self._levels[level].shard
        first = half.y0 // side * side
        owned = self._owned[level]
        box = Box(first, owned.x0, min(first + side, owned.y1), owned.x1)
        kinds = zip(array_kinds(self._spec), planes, strict=True)
        row = _Row(box, [np.full((len(p), *box.shape), k.fill, p.dtype) for k, p in kinds])
        self._rows[level] = row
        return row

    def _store(self, level: int, row: _Row) -> None:
        target = self._levels[level]
        kinds = array_kinds(self._spec)
        arrays = [ShardedArray(self._root, kind.path(level), target) for kind in kinds]
        for index in target.shards_in(row.box):
            sources = source_shards(self._spec, level, index)
            rows, columns = target.shard_box(index).relative_to(row.box)
            with storing(self._root, self._spec, f"shard {index[0]}/{index[1]} of level {level}"):
                for kind, (array, planes) in enumerate(zip(arrays, row.planes, strict=True)):
                    if not any((kind, level - 1, *source) in self._present for source in sources):
                        array.drop(index)
                        continue
                    self._present.add((kind, level, *index))
                    block = planes[:, rows, columns]
                    self.written |= array.put(index, block if array.is_stack else block[0])
