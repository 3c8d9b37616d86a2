"""Where does an export go, and when may it replace what is there?

Beside the map, under the map's name, unless told otherwise; never inside the map.  A file is
written under another name and renamed when complete, so that what has the right name is whole.
What exists is refused without ``overwrite``, and even then only a file that gigafcn wrote is
replaced: the default name of an export can be that of the slide itself.
"""

from __future__ import annotations

import json
import os
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import NAMESPACE_OID, UUID, uuid4, uuid5

from PIL import Image
from tifffile import TiffFile

from gigafcn.errors import GigafcnError, StorageError, UsageError
from gigafcn.storage.url_path import is_url

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gigafcn.output.opening import StoredMap

MARK = "gigafcn"
"""Start of the text inside every file that says who wrote it."""

SUFFIXES = {
    "ome-tiff": ".ome.tiff",
    "geojson": ".geojson",
    "png": ".png",
    "jpeg": ".jpg",
    "csv": ".csv",
    "json": ".json",
}
"""Formats and how their files end."""

TABLE_HEADER = (
    "class,pixels,area_px,area_mm2,fraction_of_tissue,mean_probability,mean_probability_in_class"
)
"""First line of a CSV table."""

_HEAD_BYTES = 200


def generator() -> str:
    """What a file says of who wrote it."""
    return f"{MARK} {version('gigafcn')}"


def identity(stored: StoredMap) -> UUID:
    """Identifier that is the same whenever the same map is exported."""
    said = json.dumps([stored.spec.to_json(), stored.provenance], sort_keys=True)
    return uuid5(NAMESPACE_OID, said)


def default_target(map_path: Path, to: str, part: str = "") -> Path:
    """Path beside a map; of a map in a bucket, in the working directory.

    Examples
    --------
    >>> from pathlib import Path
    >>> default_target(Path("maps/case.zarr"), "ome-tiff").as_posix()
    'maps/case.ome.tiff'
    >>> default_target(Path("case.zarr"), "png", "DCIS/LCIS").as_posix()
    'case.DCIS_LCIS.png'
    """
    stem = map_path.name.removesuffix(".zarr")
    safe = "".join(c if c.isalnum() or c in "-+ " else "_" for c in part)
    name = f"{stem}{f'.{safe}' if safe else ''}{SUFFIXES[to]}"
    return Path(name) if is_url(map_path) else map_path.with_name(name)


def check_target(target: Path, map_path: Path, to: str, *, overwrite: bool) -> None:
    """Refuse a place that is taken.

    Raises
    ------
    UsageError
        Naming what is there.
    """
    if target.resolve().is_relative_to(map_path.resolve()):
        raise UsageError(f"output {target} lies inside the map {map_path}; choose another place")
    if target.is_symlink():
        raise UsageError(f"output {target} is a symbolic link; name the file itself")
    if not target.exists():
        return
    if not target.is_file():
        raise UsageError(f"output {target} exists and is not a file; choose another name")
    if not is_own(target, to):
        raise UsageError(
            f"output {target} exists and was not exported by gigafcn as {to}, so it is never "
            f"replaced; choose another name"
        )
    if not overwrite:
        raise UsageError(
            f"output {target} exists; choose another name or replace it with --overwrite"
        )


def is_own(path: Path, to: str) -> bool:
    """Whether the file is an export of gigafcn in this format."""
    try:
        match to:
            case "ome-tiff":
                with TiffFile(path) as tif:
                    return tif.pages.first.software.startswith(MARK)
            case "png" | "jpeg":
                with Image.open(path) as picture:
                    key, mark = ("Software", MARK) if to == "png" else ("comment", MARK.encode())
                    return bool(picture.info.get(key, mark[:0]).startswith(mark))
            case "csv":
                with path.open(encoding="utf-8") as file:
                    return file.readline().rstrip("\r\n") == TABLE_HEADER
            case _:
                with path.open("rb") as file:
                    return _signature() in file.read(_HEAD_BYTES)
    # Pillow and tifffile raise errors of many kinds on files that are not theirs
    except Exception:
        return False


def json_head() -> str:
    """Beginning of a JSON document, up to and with who wrote it."""
    return f'"generator": {json.dumps(generator())}'


def _signature() -> bytes:
    return f'"generator": "{MARK} '.encode()


@contextmanager
def written_whole(target: Path) -> Iterator[Path]:
    """Lend another name to write under; it becomes ``target`` when all went well.

    Raises
    ------
    StorageError
        When the disk refuses.
    """
    partial = target.with_name(f".{uuid4().hex[:12]}.partial-{target.name}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        partial.replace(target)
    except GigafcnError:  # some of which are OSErrors, such as that of a damaged map
        raise
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise StorageError(f"cannot write {target}: {reason}") from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
