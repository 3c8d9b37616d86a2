"""What is in a finished map.

:func:`open_map` reads back the spec, the arrays of every level, the status and the provenance of
a map that gigafcn wrote, for pictures, evaluation and export.  It reads nothing of the pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr

from gigafcn.errors import SlideError, UsageError
from gigafcn.output.ownership import KEY, attributes_of, is_ours
from gigafcn.output.spec import MapLevel, MapSpec, labels_path, map_levels, scores_path
from gigafcn.output.store import STATUS_PATH, ChunkStatus
from gigafcn.storage.url_path import place_of
from gigafcn.storage.zarr_stores import store_at

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class StoredMap:
    """A finished map, open for reading."""

    path: Path
    """Directory of the store."""

    spec: MapSpec
    """Its layout."""

    levels: tuple[MapLevel, ...]
    """Levels of the pyramid, finest first."""

    scores: tuple[zarr.Array[Any], ...]
    """Scores (c, y, x) of the stored classes per level; empty when not stored."""

    labels: tuple[zarr.Array[Any], ...]
    """Argmax (y, x) per level; empty when not stored."""

    status: NDArray[np.uint8]
    """:class:`~gigafcn.output.store.ChunkStatus` per level-0 chunk (y, x)."""

    provenance: dict[str, Any]
    """What the run said about itself."""

    def computed(self, level: int) -> NDArray[np.bool_]:
        """Pixels (y, x) of ``level`` whose first level-0 pixel lies in a computed chunk."""
        return self.with_status(level, ChunkStatus.COMPUTED)

    def with_status(self, level: int, status: ChunkStatus) -> NDArray[np.bool_]:
        """Pixels (y, x) of ``level`` whose first level-0 pixel lies in a chunk of ``status``."""
        at = self.levels[level]
        rows, columns = (np.arange(n) * at.factor // self.spec.chunk for n in at.shape)
        found: NDArray[np.bool_] = self.status == status
        return found[np.ix_(rows, columns)]


def open_map(path: str | Path) -> StoredMap:
    """Open a finished map.

    Parameters
    ----------
    path
        Directory of the store.

    Raises
    ------
    SlideError
        When there is no finished map of gigafcn, or it cannot be read.
    """
    root = place_of(path)
    if not root.is_dir():
        raise SlideError(f"map {root} does not exist or is not a directory")
    described = attributes_of(root).get(KEY)
    if not isinstance(described, dict) or "map" not in described:
        reason = "its run did not finish" if is_ours(root) else "gigafcn did not write it"
        raise SlideError(f"map {root} cannot be opened: {reason}")
    try:
        spec = MapSpec.from_json(described["map"])
        levels = map_levels(spec)
        status = _open(root / STATUS_PATH)
        return StoredMap(
            path=root,
            spec=spec,
            levels=levels,
            scores=tuple(_open(root / scores_path(k)) for k in range(len(levels)))
            if spec.stored
            else (),
            labels=tuple(_open(root / labels_path(k)) for k in range(len(levels)))
            if spec.labels
            else (),
            status=np.asarray(status[...], np.uint8),
            provenance={k: v for k, v in described.items() if k not in {"map", "status"}},
        )
    except (OSError, UsageError, ValueError) as error:
        raise SlideError(f"map {root} cannot be opened: {error}") from error


def _open(path: Path) -> zarr.Array[Any]:
    return zarr.open_array(store_at(path), mode="r")
