"""Give px without a class a number of their own, in the labels of a map of gigafcn 0.1.

Such maps hold 0 there, the number of the first class, and only their status tells the difference.
The status stays what counts until the root document says otherwise, which is written last, so a
mend that is cut short leaves the map as right as it was, and the same command mends it anew.
Receipts get the checksums of what was written again.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from gigafcn.errors import UsageError
from gigafcn.output.chunk_status import ChunkStatus
from gigafcn.output.disk import replace_file, storing
from gigafcn.output.label_codes import COMPUTED, MOST_CLASSES_OF_A_BYTE, codes_of
from gigafcn.output.metadata import finish_map
from gigafcn.output.opening import open_map
from gigafcn.output.ownership import KEY, attributes_of
from gigafcn.output.pyramid import build_pyramid_shard
from gigafcn.output.shards import ShardedArray, create_array
from gigafcn.output.spec import (
    ArrayKind,
    MapSpec,
    coded_kind,
    map_levels,
    pyramid_shards,
    status_slices,
)
from gigafcn.output.store import STATUS_PATH
from gigafcn.schedule.lock import locked
from gigafcn.schedule.run_folder import RunFolder

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from gigafcn.output.opening import StoredMap


def mend_labels(path: Path) -> int:
    """Write what says of each px of a map of gigafcn 0.1 whether it has a class.

    Returns the number of objects written; 0 if the map says it already.

    Raises
    ------
    SlideError
        If there is no finished map.
    UsageError
        If its classes leave no number free.
    RunError
        If the disk refuses, or an object is damaged.
    """
    stored = open_map(path)
    if stored.spec.coded:
        return 0
    if stored.labels and MOST_CLASSES_OF_A_BYTE < len(stored.spec.classes) <= 256:
        raise UsageError(
            f"map {path} has {len(stored.spec.classes)} classes in labels of one byte, which "
            f"leaves no number for px without a class; map the slide anew"
        )
    folder = RunFolder(path)
    folder.path.mkdir(exist_ok=True)
    try:
        with locked(folder.lock), storing(path, stored.spec, "labels"):
            return _mended(stored, folder)
    finally:
        if not any(folder.path.iterdir()):
            folder.path.rmdir()


def _mended(stored: StoredMap, folder: RunFolder) -> int:
    left_out = bool((stored.status == ChunkStatus.BACKGROUND).any())
    spec = replace(stored.spec, coded=True, leaves_out="chunks" if left_out else "nothing")
    kind, written = coded_kind(spec), {}
    if kind is not None:
        _prepare(stored, spec, kind)
        written = _level_0(stored, spec, kind) | _coarser(stored, spec)
    _note(folder, spec, written)
    described = {k: v for k, v in attributes_of(stored.path)[KEY].items() if k not in _OWN}
    if "plan" in described:
        described["plan"] = {**described["plan"], "spec": spec.to_json()}
    finish_map(stored.path, spec, described, status=stored.status)
    return len(written)


_OWN = {"map", "status"}


def _prepare(stored: StoredMap, spec: MapSpec, kind: ArrayKind) -> None:
    """Have what is not stored read as left out."""
    for k, level in enumerate(map_levels(spec)):
        place = stored.path / kind.path(k)
        if spec.marks_computed:
            create_array(place, level.shape, level, dtype=kind.dtype, fill=kind.fill)
        else:
            document = json.loads((place / "zarr.json").read_bytes())
            _write(place / "zarr.json", {**document, "fill_value": int(kind.fill)})
    status = stored.path / STATUS_PATH / "zarr.json"
    document = json.loads(status.read_bytes())
    document["attributes"][KEY]["map"] = spec.to_json()
    _write(status, document)


def _level_0(stored: StoredMap, spec: MapSpec, kind: ArrayKind) -> dict[str, str]:
    """Mark chunks that were not computed; CRC32C of the objects written, by key."""
    level, codes = map_levels(spec)[0], codes_of(kind.dtype)
    array = ShardedArray(stored.path, kind.path(0), level)
    written: dict[str, str] = {}
    for index in pyramid_shards(spec, 0):
        box = level.shard_box(index)
        cells = stored.status[status_slices(spec, box)]
        if not np.isin(cells, (ChunkStatus.COMPUTED, ChunkStatus.FAILED)).any():
            array.drop(index)
            continue
        if spec.labels and (cells == ChunkStatus.COMPUTED).all():
            continue
        block: NDArray[Any] = np.full(box.shape, COMPUTED, kind.dtype)
        if spec.labels and array.has(index):
            block = array.get(index).copy()
        for status, code in (
            (ChunkStatus.BACKGROUND, codes.left_out),
            (ChunkStatus.FAILED, codes.failed),
        ):
            for y, x in np.argwhere(cells == status) * spec.chunk:
                block[y : y + spec.chunk, x : x + spec.chunk] = code
        written |= array.put(index, block)
    return written


def _coarser(stored: StoredMap, spec: MapSpec) -> dict[str, str]:
    """Build the shards of coarser levels again that lie over a chunk that was not computed."""
    written: dict[str, str] = {}
    not_computed = stored.status != ChunkStatus.COMPUTED
    for k, level in enumerate(map_levels(spec)):
        for index in pyramid_shards(spec, k) if k else ():
            box = level.shard_box(index)
            below = type(box)(*(edge * level.factor for edge in box)).clip(spec.shape)
            if spec.marks_computed or not_computed[status_slices(spec, below)].any():
                written |= build_pyramid_shard(stored.path, spec, k, index)
    return written


def _note(folder: RunFolder, spec: MapSpec, written: dict[str, str]) -> None:
    """Tell receipts and plan, where a run left them, what is stored now."""
    begun = folder.begun()
    if begun is None:
        return
    for receipt in folder.receipts().values():
        objects, sources = (
            {key: written.get(key, crc) for key, crc in before.items()}
            for before in (receipt.objects, receipt.sources)
        )
        folder.write(replace(receipt, objects=objects, sources=sources))
    folder.fold()
    folder.replace_plan({**begun["plan"], "spec": spec.to_json()})


def _write(path: Path, document: dict[str, Any]) -> None:
    replace_file(path, json.dumps(document, indent=1).encode())
