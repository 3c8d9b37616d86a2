"""How a map says what it is and where it lies.

OME-Zarr 0.5: the root holds a multiscale image (c, y, x) with one coordinate transformation per
level, channel names and colours, and under ``labels/classes`` a label image with the same levels.
Labels need an image to belong to, so the root of a map of labels alone is an image (y, x) whose
arrays are those of the labels: nothing is stored twice, and viewers open either.
Scale is micrometres per px when mpp is known, otherwise level-0 px of the slide, or what a slide in
OME-Zarr counts in.  The position of a level is that of the centre of its first pixel: map px j
covers the model's input px [off + j * stride, off + (j + 1) * stride), a px of level k covers 2^k
map px, and an input px some level-0 px of the slide.  Whatever covers d level-0 px has its centre
(d - 1) / 2 of them beyond the centre of the first, which is where the slide itself is placed.

Under the key ``gigafcn`` the root holds the layout and the provenance that the run gives.

:func:`finish_map` writes all of it, the root document last, through a rename: before that, no
reader can mistake the directory for a map.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr

from gigafcn.errors import RunError
from gigafcn.output.chunk_status import ChunkStatus, status_codes, stored_statuses
from gigafcn.output.disk import replace_file, storing
from gigafcn.output.label_codes import WITHOUT_CLASS, codes_of
from gigafcn.output.ownership import KEY
from gigafcn.output.palette import is_background, rgb
from gigafcn.output.place import MICROMETER, Place
from gigafcn.output.shards import ShardedArray
from gigafcn.output.spec import (
    MapLevel,
    MapSpec,
    array_kinds,
    map_levels,
    pyramid_shards,
    source_shards,
    status_slices,
)
from gigafcn.output.store import STATUS_PATH
from gigafcn.storage.url_path import place_of
from gigafcn.storage.zarr_stores import store_at

if TYPE_CHECKING:
    from numpy.typing import NDArray

OME_VERSION = "0.5"
"""Version of the OME-Zarr metadata written."""

LABELS_METHOD = (
    "mode of the px of each 2 x 2 block of the level below that have a class, ties to the first in "
    "reading order"
)
"""How coarser levels of labels are made."""

_ACTIVE_CHANNELS = 6  # viewers blend active channels; more than a few are unreadable


def level_transform(
    spec: MapSpec, level: MapLevel
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Scale and translation (y, x) of a level: size and centre of its first px.

    Examples
    --------
    >>> spec = MapSpec(
    ...     shape=(600, 600), classes=("a",), colours=("000000",), dtype="uint8", chunk=256,
    ...     shard=768, mpp=(0.5, 0.5), stride=(Fraction(4), Fraction(4)), offset=(10.0, 0.0),
    ...     place=Place((0.25, 0.25), (0.0, 0.0), ("micrometer",) * 2, (Fraction(2),) * 2),
    ... )
    >>> level_transform(spec, map_levels(spec)[1])
    ((4.0, 4.0), (6.875, 1.875))
    """
    place = spec.place or _unsaid(spec)
    scale, translation = [], []
    for axis, (stride, offset) in enumerate(zip(spec.stride, spec.offset, strict=True)):
        cell = stride * level.factor
        scale.append(float(place.size(axis) * cell))
        translation.append(float(place.centre(axis, Fraction(offset), cell)))
    return (scale[0], scale[1]), (translation[0], translation[1])


def corner_of(spec: MapSpec) -> tuple[float, float]:
    """Corner (y, x) of the map's first px, where a slide that states no position begins at 0.

    In micrometres, or in level-0 px when mpp is unknown.
    """
    place = spec.place or _unsaid(spec)
    unit = (1.0, 1.0) if spec.mpp is not None else place.px
    y, x = (
        float(place.corner(axis, Fraction(spec.offset[axis])) / Fraction(str(unit[axis])))
        for axis in (0, 1)
    )
    return y, x


def _unsaid(spec: MapSpec) -> Place:
    """What maps were placed by that do not say so: as if the input were level 0."""
    unit = None if spec.mpp is None else MICROMETER
    return Place(spec.mpp or (1.0, 1.0), (0.0, 0.0), (unit, unit), (Fraction(1), Fraction(1)))


def image_metadata(spec: MapSpec) -> dict[str, Any]:
    """Return the ``ome`` attribute of the root group."""
    if not spec.stored:
        scale = _multiscale(spec, "yx", spec.name, "mode", LABELS_METHOD, prefix="labels/classes/")
        return {"version": OME_VERSION, "multiscales": [scale]}
    top = 255.0 if spec.dtype == "uint8" else 1.0
    method = "mean of the computed pixels of each 2 x 2 block of the level below"
    channels = [
        {
            "label": name,
            "color": colour.upper(),
            "active": i < _ACTIVE_CHANNELS and not is_background(name),
            "window": {"min": 0.0, "max": top, "start": 0.0, "end": top},
        }
        for i, (name, colour) in enumerate(
            (spec.classes[number], spec.colours[number]) for number in spec.stored
        )
    ]
    return {
        "version": OME_VERSION,
        "multiscales": [_multiscale(spec, "cyx", spec.name, "mean", method)],
        "omero": {"channels": channels},
    }


def labels_metadata(spec: MapSpec) -> dict[str, Any]:
    """Return the ``ome`` attribute of ``labels/classes``; px without a class are transparent."""
    codes = codes_of(spec.label_dtype)
    named = zip((codes.failed, codes.left_out), WITHOUT_CLASS, strict=True)
    without = dict(named) if spec.coded else {}
    return {
        "version": OME_VERSION,
        "multiscales": [_multiscale(spec, "yx", "classes", "mode", LABELS_METHOD)],
        "image-label": {
            "colors": [
                {"label-value": i, "rgba": [*rgb(colour), 255]}
                for i, colour in enumerate(spec.colours)
            ]
            + [{"label-value": code, "rgba": [0, 0, 0, 0]} for code in without],
            "properties": [
                {"label-value": i, "class": name}
                for i, name in (*enumerate(spec.classes), *without.items())
            ],
            "source": {"image": "../../"},
        },
    }


def _multiscale(
    spec: MapSpec, axes: str, name: str, kind: str, method: str, *, prefix: str = ""
) -> dict[str, Any]:
    lead = [1.0] * (len(axes) - 2)
    datasets = []
    for k, level in enumerate(map_levels(spec)):
        scale, translation = level_transform(spec, level)
        transformations = [
            {"type": "scale", "scale": [*lead, *scale]},
            {"type": "translation", "translation": [*([0.0] * len(lead)), *translation]},
        ]
        datasets.append({"path": f"{prefix}{k}", "coordinateTransformations": transformations})
    return {
        "name": name,
        "axes": [_axis(axis, spec.place or _unsaid(spec)) for axis in axes],
        "datasets": datasets,
        "type": kind,
        "metadata": {"description": method, "method": "gigafcn.output.pyramid"},
    }


def _axis(name: str, place: Place) -> dict[str, str]:
    if name == "c":
        return {"name": "c", "type": "channel"}
    unit = place.units["yx".index(name)]
    return {"name": name, "type": "space", **({} if unit is None else {"unit": unit})}


def finish_map(
    path: str | Path,
    spec: MapSpec,
    provenance: Mapping[str, Any],
    *,
    status: NDArray[np.uint8],
) -> None:
    """Write the status array and all group documents, the root document last.

    Parameters
    ----------
    path
        Directory of the store, every shard of every level written.
    spec
        Layout of the map.
    provenance
        What the run says about itself, stored under ``gigafcn``; JSON values, and fractions,
        paths, tuples and numpy scalars, which are converted.
    status
        Cells (y, x) of the whole map, none absent.

    Raises
    ------
    ValueError
        When the provenance is not JSON.
    RunError
        When the map is not complete, or the disk refuses.
    """
    root = place_of(path)
    described = {**_json_object(provenance), "map": spec.to_json(), "status": status_codes()}
    _check_complete(root, spec, status)
    with storing(root, spec, "the metadata"):
        array = zarr.open_array(store_at(root / STATUS_PATH), mode="r+")
        array[...] = status
        if spec.labels:
            label_list = {"version": OME_VERSION, "labels": ["classes"]}
            _write_group(root / "labels" / "classes", {"ome": labels_metadata(spec)})
            _write_group(root / "labels", {"ome": label_list})
        _write_group(root, {"ome": image_metadata(spec), KEY: described})


def _write_group(path: Path, attributes: dict[str, Any]) -> None:
    document = {"zarr_format": 3, "node_type": "group", "attributes": attributes}
    text = json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False)
    replace_file(path / "zarr.json", text.encode())


def _check_complete(root: Path, spec: MapSpec, status: NDArray[np.uint8]) -> None:
    """Raise unless every chunk has a status and every shard that must exist does."""
    if status.shape != spec.status_shape:
        raise ValueError(f"status must have {spec.status_shape} cells, got {status.shape}")
    absent = np.argwhere(status == ChunkStatus.ABSENT)
    if len(absent):
        y, x = (int(cell) * spec.chunk for cell in absent[0])
        raise RunError(
            f"{root} is not complete: {len(absent)} of {status.size} chunks were not computed, "
            f"the first at y {y}, x {x} px; run again"
        )
    levels = map_levels(spec)
    for kind, stored in zip(array_kinds(spec), stored_statuses(spec), strict=True):
        array_path = kind.path
        needed: set[tuple[int, int]] = set()
        for k, level in enumerate(levels):
            below = needed
            needed = {
                index
                for index in pyramid_shards(spec, k)
                if (k > 0 and below.intersection(source_shards(spec, k, index)))
                or (k == 0 and _stores(spec, level, index, np.isin(status, stored)))
            }
            array = ShardedArray(root, array_path(k), level)
            missing = sorted(index for index in needed if not array.has(index))
            if missing:
                raise RunError(
                    f"{root} is not complete: {len(missing)} of {len(needed)} shards of "
                    f"{array_path(k)} are missing, the first is {array.object_path(missing[0])}; "
                    f"run again"
                )


def _stores(
    spec: MapSpec, level: MapLevel, index: tuple[int, int], stored: NDArray[np.bool_]
) -> bool:
    """Whether a shard holds a chunk that is stored, of which (y, x) tells."""
    return bool(stored[status_slices(spec, level.shard_box(index))].any())


def _json_object(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the mapping as JSON values, naming the entry that cannot be one."""
    reserved = {"map", "status"}.intersection(values)
    if reserved:
        raise ValueError(f"provenance must not use the keys {sorted(reserved)}")
    return {key: _json_value(value, key) for key, value in values.items()}


def _json_value(value: Any, where: str) -> Any:
    match value:
        case None | bool() | int() | str():
            return value
        case float() | np.floating():
            if not np.isfinite(value):
                raise ValueError(f"provenance {where} is {value}, which JSON cannot hold")
            return float(value)
        case np.bool_() | np.integer():
            return value.item()
        case Fraction() | Path():
            return str(value)
        case Mapping():
            return {str(key): _json_value(v, f"{where}.{key}") for key, v in value.items()}
        case list() | tuple():
            return [_json_value(v, f"{where}[{i}]") for i, v in enumerate(value)]
        case _:
            kind = type(value).__name__
            raise ValueError(f"provenance {where} is a {kind}, which JSON cannot hold: {value!r}")
