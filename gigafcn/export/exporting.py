"""``export_map``: a finished map as a file that other programs open."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gigafcn.errors import UsageError
from gigafcn.export.geojson import GeojsonOptions, write_geojson
from gigafcn.export.heat_map import HeatMapOptions, shown_class, write_jpeg, write_png
from gigafcn.export.ome_tiff import OmeTiffOptions, write_ome_tiff
from gigafcn.export.places import check_target, default_target, written_whole
from gigafcn.export.table import TableOptions, write_csv, write_json
from gigafcn.output.opening import StoredMap, open_map
from gigafcn.storage.url_path import is_url

if TYPE_CHECKING:
    from collections.abc import Callable

    from gigafcn.progress import ProgressCallback


@dataclass(frozen=True, slots=True)
class Export:
    """A file made from a map."""

    path: Path
    """The file."""

    format: str
    """One of :data:`FORMATS`."""

    figures: dict[str, int]
    """Features per class (geojson), map px per class (csv, json), levels (ome-tiff), or width and
    height in px (png, jpeg)."""


_OPTIONS: dict[str, type[Any]] = {
    "ome-tiff": OmeTiffOptions,
    "geojson": GeojsonOptions,
    "png": HeatMapOptions,
    "jpeg": HeatMapOptions,
    "csv": TableOptions,
    "json": TableOptions,
}
_WRITERS: dict[str, Callable[..., dict[str, int]]] = {
    "ome-tiff": write_ome_tiff,
    "geojson": write_geojson,
    "png": write_png,
    "jpeg": write_jpeg,
    "csv": write_csv,
    "json": write_json,
}
_REPORTING = ("ome-tiff", "geojson")

FORMATS = tuple(_OPTIONS)
"""What a map can be exported to."""


def export_map(
    path: str | Path,
    to: str,
    output: str | Path | None = None,
    *,
    overwrite: bool = False,
    progress: ProgressCallback | None = None,
    **options: Any,
) -> Export:
    """Export a finished map.

    Parameters
    ----------
    path
        Directory of the map.
    to
        "ome-tiff", "geojson", "png", "jpeg", "csv" or "json".
    output
        File to write; None is beside the map, under its name.
    overwrite
        Replace an earlier export of this format; nothing else is ever replaced.
    progress
        Called while OME-TIFF and GeoJSON are written.
    **options
        Of the format: :class:`~gigafcn.export.ome_tiff.OmeTiffOptions`,
        :class:`~gigafcn.export.geojson.GeojsonOptions`,
        :class:`~gigafcn.export.heat_map.HeatMapOptions`,
        :class:`~gigafcn.export.table.TableOptions`.

    Returns
    -------
    Export

    Raises
    ------
    UsageError
        When an option does not fit, or the place is taken.
    SlideError
        When there is no finished map.
    RunError
        When the map is damaged or the disk refuses.
    """
    if to not in _OPTIONS:
        raise UsageError(f"a map cannot be exported to {to!r}; choose one of {', '.join(FORMATS)}")
    if output is not None and is_url(output):
        raise UsageError(f"output {output}: exports are written to a disk; name a file")
    chosen = _chosen(to, options)
    stored = open_map(path)
    target = _target(stored, to, chosen) if output is None else Path(output)
    check_target(target, stored.path, to, overwrite=overwrite)
    write = _WRITERS[to]
    if to in _REPORTING:
        write = partial(write, progress=progress)
    with written_whole(target) as unfinished:
        figures = write(unfinished, stored, chosen)
    return Export(target, to, figures)


def target_of(path: str | Path, to: str, **options: Any) -> Path:
    """Where :func:`export_map` writes unless told otherwise."""
    return _target(open_map(path), to, _chosen(to, options))


def _chosen(to: str, options: dict[str, Any]) -> Any:
    kind = _OPTIONS[to]
    known = [option.name for option in fields(kind)]
    for name in options:
        if name not in known:
            users = ", ".join(f for f, k in _OPTIONS.items() if name in {o.name for o in fields(k)})
            what = f"is for {users}, not for {to}" if users else "is no option of any format"
            raise UsageError(f"{name.replace('_', '-')} {what}")
    return kind(**options)


def _target(stored: StoredMap, to: str, options: Any) -> Path:
    part = shown_class(stored, options) if to in ("png", "jpeg") else ""
    return default_target(stored.path, to, part)
