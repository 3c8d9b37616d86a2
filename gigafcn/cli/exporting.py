"""The exports of ``gigafcn infer --export``: of a map that is finished, beside it.

What an earlier run of the command exported is left as it is, unless the map was made anew.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from gigafcn.errors import UsageError

if TYPE_CHECKING:
    from gigafcn.config import InferOptions
    from gigafcn.run import Result

PICTURES = ("png", "jpeg")


def exported(result: Result, slide: str, options: InferOptions) -> list[Path]:
    """Export a map in every format asked for; return the files.

    Raises
    ------
    UsageError
        If the place of an export is taken by something else.
    RunError
        If the disk refuses.
    """
    if not options.export:
        return []
    if "://" in str(result.path):
        raise UsageError(
            f"exports are written to a disk, not to a bucket beside {result.path}; take a local "
            f"-o, or leave --export out"
        )
    from gigafcn.export import export_map  # loads shapely, matplotlib
    from gigafcn.export.exporting import target_of
    from gigafcn.export.places import is_own
    from gigafcn.output.opening import open_map
    from gigafcn.output.palette import is_background

    stored = open_map(result.path)
    files = []
    for to in dict.fromkeys(options.export):
        choices: list[dict[str, Any]] = [{}]
        if to in PICTURES:
            names = stored.spec.stored_classes
            shown = [name for name in names if not is_background(name)] or names
            choices = [{"classes": (name,), "slide": _file(slide)} for name in shown]
        if to == "geojson":
            choices = [{"slide": _file(slide)}]
        for chosen in choices:
            target = target_of(result.path, to, **chosen)
            known = result.summary.get("finished_before") and is_own(target, to)
            if not known:
                export_map(result.path, to, overwrite=True, **chosen)
            files.append(target)
    return files


def _file(slide: str) -> str | None:
    """The slide's own file, which knows the area that viewers show."""
    return None if "://" in slide else slide
