"""Coarser levels built while a tile is in memory are those built from what is stored."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from gigafcn.geometry import Box
from gigafcn.output import (
    MapSpec,
    MapStore,
    build_pyramid_shard,
    create_map,
    map_levels,
    pyramid_tasks,
)
from gigafcn.output.tile_pyramid import shards_across_tiles
from gigafcn.plan.tiles import tiles
from tests.output.maps import a_spec, some_values, write_level_0

if TYPE_CHECKING:
    from pathlib import Path


def objects(root: Path) -> dict[str, bytes]:
    """Every stored shard of every level by its path in the store."""
    return {str(f.relative_to(root)): f.read_bytes() for f in root.glob("**/c/**/*") if f.is_file()}


def built_by_tiles(root: Path, spec: MapSpec, tile: tuple[int, int]) -> None:
    """Store a map tile by tile, one row of shards at a time, and what tiles leave afterwards."""
    scores, labels = some_values(spec)
    create_map(root, spec)
    store = MapStore(root, spec)
    for box in tiles(Box.whole(spec.shape), tile):
        pyramid = store.tile_pyramid(box)
        for row in tiles(box, (spec.shard, tile[1])):
            rows, columns = row.relative_to(Box(0, 0, 0, 0))
            part = scores[:, rows, columns], None if labels is None else labels[rows, columns]
            store.write(row, *part)
            pyramid.add(row, *part)
    for level in range(1, len(map_levels(spec))):
        for index in shards_across_tiles(spec, level, tile):
            build_pyramid_shard(root, spec, level, index)


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize("shape", [(1030, 301), (517, 1101)])
@pytest.mark.parametrize("shards", [(1, 1), (2, 3), (10, 10)])
def test_tiles_of_any_size_leave_the_same_bytes(
    shape: tuple[int, int], dtype: str, shards: tuple[int, int], tmp_path: Path
) -> None:
    spec = a_spec(shape, dtype=dtype, chunk=100, shard=200)
    create_map(tmp_path / "stored.zarr", spec)
    write_level_0(tmp_path / "stored.zarr", spec, some_values(spec))
    for level, index in pyramid_tasks(spec):
        build_pyramid_shard(tmp_path / "stored.zarr", spec, level, index)
    built_by_tiles(tmp_path / "tiles.zarr", spec, (200 * shards[0], 200 * shards[1]))
    assert objects(tmp_path / "tiles.zarr") == objects(tmp_path / "stored.zarr")


def test_one_tile_builds_the_whole_pyramid(tmp_path: Path) -> None:
    spec = a_spec((1601, 1603), chunk=50, shard=100)
    left = [shards_across_tiles(spec, k, (1700, 1700)) for k in range(1, len(map_levels(spec)))]
    assert not any(left)


def test_tiles_of_one_shard_build_nothing_but_what_one_shard_covers() -> None:
    spec = a_spec((1600, 1600), chunk=50, shard=100)
    assert len(shards_across_tiles(spec, 1, (100, 100))) == np.prod(map_levels(spec)[1].grid)
