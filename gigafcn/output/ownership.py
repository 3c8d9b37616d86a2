"""Whether a map may be created at a path.

A path that does not exist, or an empty directory, may always be used.  Anything else needs
``overwrite``, and even then only a directory that gigafcn wrote is replaced: its ``status`` array
(written first, removed last, so an unfinished map has it too) or its root document carries the
``gigafcn`` key, and every entry is one that gigafcn writes.  Files, symbolic links, foreign
directories and directories to which somebody added something are refused, whatever is asked.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from gigafcn.errors import UsageError
from gigafcn.storage.zarr_stores import remove_tree

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

KEY = "gigafcn"
"""Attribute under which gigafcn keeps what it knows about a map."""

_DOCUMENT = re.compile(r"zarr\.json|zarr\.[0-9a-f]+\.partial")
_LEVEL = re.compile(r"[0-9]{1,2}")


def attributes_of(node: Path) -> dict[str, Any]:
    """Attributes of the Zarr node in directory ``node``; empty when there is no readable one."""
    try:
        document = json.loads((node / "zarr.json").read_bytes())
    except (OSError, ValueError):
        return {}
    found = document.get("attributes") if isinstance(document, dict) else None
    return found if isinstance(found, dict) else {}


def is_ours(path: Path) -> bool:
    """Whether the directory at ``path`` is a map, finished or not, that gigafcn wrote."""
    return KEY in attributes_of(path) or KEY in attributes_of(path / "status")


def make_room(path: Path, *, overwrite: bool) -> None:
    """Remove an own map at ``path`` when that is allowed; afterwards the path can be created.

    Raises
    ------
    UsageError
        When something is there that must not be replaced.
    """
    if path.is_symlink():
        raise UsageError(f"output {path} is a symbolic link; name the directory itself")
    if not path.exists():
        return
    if not path.is_dir():
        raise UsageError(f"output {path} exists and is not a directory; choose another name")
    if not any(path.iterdir()):
        return
    if not is_ours(path):
        raise UsageError(
            f"output {path} exists and was not written by gigafcn, so it is never replaced; "
            f"choose another name"
        )
    if not overwrite:
        state = "" if (path / "zarr.json").exists() else " (unfinished)"
        raise UsageError(
            f"output {path} exists{state}; choose another name or replace it with --overwrite"
        )
    foreign = next(_foreign_entries(path), None)
    if foreign is not None:
        raise UsageError(
            f"output {path} holds {foreign}, which gigafcn did not write, so it is not replaced; "
            f"move that away or choose another name"
        )
    _remove(path)


def _foreign_entries(path: Path) -> Iterator[str]:
    """Entries of an own map that gigafcn does not write, as paths inside the map."""
    for entry in sorted(path.iterdir()):
        if not (_is_node(entry, {"status", "labels"}) or _is_document(entry)):
            yield entry.name
    if (path / "labels").is_dir():
        for entry in sorted((path / "labels").iterdir()):
            if not (_is_node(entry, {"classes"}) or _is_document(entry)):
                yield f"labels/{entry.name}"


def _is_node(entry: Path, names: set[str]) -> bool:
    known = entry.name in names or _LEVEL.fullmatch(entry.name) is not None
    return known and entry.is_dir() and not entry.is_symlink()


def _is_document(entry: Path) -> bool:
    return _DOCUMENT.fullmatch(entry.name) is not None and not entry.is_symlink()


def _remove(path: Path) -> None:
    # First what makes it a map, last what makes it ours: cut short, it is still an own,
    # unfinished map.
    (path / "zarr.json").unlink(missing_ok=True)
    for entry in path.iterdir():
        if entry.is_dir() and entry.name != "status":
            remove_tree(entry)
        elif not entry.is_dir():
            entry.unlink()
    if (path / "status").is_dir():
        remove_tree(path / "status" / "c")
        remove_tree(path / "status")
    path.rmdir()
