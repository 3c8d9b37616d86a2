"""Finished maps with given pixels, for the tests of export and evaluate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from skimage.measure import label

from gigafcn.output import build_pyramid_shard, create_map, finish_map, pyramid_tasks
from tests.output.maps import a_spec, write_level_0

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

LARGE = (1100, 1300)
"""Size of a map that is read in several pieces."""


def write_scores(
    path: Path,
    scores: NDArray[Any],
    *,
    status: NDArray[np.uint8] | None = None,
    provenance: dict[str, Any] | None = None,
    **spec: Any,
) -> Path:
    """Write a map of given scores (c, y, x), labels being their argmax."""
    changes = {"mpp": (0.5, 0.5), "chunk": 64, "dtype": scores.dtype.name} | spec
    layout = a_spec((scores.shape[1], scores.shape[2]), **changes)
    labels = scores.argmax(0).astype(layout.label_dtype) if layout.labels else None
    create_map(path, layout)
    cells = write_level_0(path, layout, (scores, labels), status)
    for level, index in pyramid_tasks(layout):
        build_pyramid_shard(path, layout, level, index)
    finish_map(path, layout, provenance or {}, status=cells)
    return path


def one_hot(labels: NDArray[Any], classes: int = 3, top: int = 200) -> NDArray[np.uint8]:
    """Scores (c, y, x) that make these labels: ``top`` for the class, 20 for the others."""
    scores = np.full((classes, *labels.shape), 20, np.uint8)
    np.put_along_axis(scores, labels[None].astype(np.int64), np.uint8(top), axis=0)
    return scores


def blobs(shape: tuple[int, int] = LARGE, seed: int = 0) -> NDArray[np.int64]:
    """Labels: tissue in smooth blobs of all sizes on background, nuclei within."""
    rng = np.random.default_rng(seed)
    small = rng.random((shape[0] // 50 + 2, shape[1] // 50 + 2))
    rows = np.linspace(0, small.shape[0] - 1.001, shape[0])
    columns = np.linspace(0, small.shape[1] - 1.001, shape[1])
    y, x = rows.astype(int)[:, None], columns.astype(int)[None]
    fy, fx = rows[:, None] - y, columns[None] - x
    upper = small[y, x] * (1 - fx) + small[y, x + 1] * fx
    lower = small[y + 1, x] * (1 - fx) + small[y + 1, x + 1] * fx
    height = upper * (1 - fy) + lower * fy
    labels: NDArray[np.int64] = (height > 0.5).astype(np.int64) + (height > 0.7)
    return labels


def parts_of(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Number (y, x) of the 4-connected part of the mask that each pixel belongs to, else 0."""
    return np.asarray(label(mask, connectivity=1), np.int64)  # type: ignore[no-untyped-call]
