"""Maps that the tests of this room write."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from gigafcn.geometry import Box
from gigafcn.output import (
    ChunkStatus,
    MapSpec,
    MapStore,
    build_pyramid_shard,
    colours_for,
    create_map,
    empty_status,
    finish_map,
    map_levels,
    pyramid_shards,
    pyramid_tasks,
    status_slices,
)

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

CLASSES = ("background", "tissue", "nuclei")


def a_spec(shape: tuple[int, int] = (600, 340), **changes: Any) -> MapSpec:
    """A small map with 3 classes, several shards and edge shards, unless changed."""
    values: dict[str, Any] = {
        "shape": shape,
        "classes": CLASSES,
        "dtype": "uint8",
        "chunk": 128,
        "shard": 256,
        "mpp": (0.5, 0.25),
        "stride": (Fraction(1), Fraction(1)),
        "labels": True,
    } | changes
    return MapSpec(**{"colours": colours_for(values["classes"])} | values)


def some_values(spec: MapSpec, seed: int = 0) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """Random scores (c, y, x), and their argmax where the map stores labels."""
    random = np.random.default_rng(seed)
    shape = (len(spec.classes), *spec.shape)
    if spec.dtype == "uint8":
        scores: NDArray[Any] = random.integers(0, 256, shape, dtype=np.uint8)
    else:
        scores = random.random(shape).astype(spec.dtype)
    return scores, scores.argmax(0).astype(spec.label_dtype) if spec.labels else None


def write_level_0(
    path: Path,
    spec: MapSpec,
    values: tuple[NDArray[Any], NDArray[Any] | None],
    status: NDArray[np.uint8] | None = None,
) -> NDArray[np.uint8]:
    """Write every shard as a task of its own; return the whole status."""
    store = MapStore(path, spec)
    scores, labels = values
    cells = empty_status(spec)
    for index in pyramid_shards(spec, 0):
        box = map_levels(spec)[0].shard_box(index)
        where = box.relative_to(Box(0, 0, 0, 0))
        at = status_slices(spec, box)
        cells[at] = store.write(
            box,
            scores[(slice(None), *where)],
            None if labels is None else labels[where],
            ChunkStatus.COMPUTED if status is None else status[at],
        )
    return cells


def write_map(
    path: Path,
    spec: MapSpec,
    values: tuple[NDArray[Any], NDArray[Any] | None] | None = None,
    status: NDArray[np.uint8] | None = None,
) -> None:
    """Write a finished map."""
    create_map(path, spec)
    cells = write_level_0(path, spec, some_values(spec) if values is None else values, status)
    for level, index in pyramid_tasks(spec):
        build_pyramid_shard(path, spec, level, index)
    finish_map(path, spec, {"model": "a test"}, status=cells)


def files_of(path: Path) -> list[Path]:
    """All files below a directory."""
    return sorted(p for p in path.rglob("*") if p.is_file())
