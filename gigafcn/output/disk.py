"""What the user hears when the disk refuses.

Every write of this room goes through :func:`storing`, which turns the operating system's error
into one line: what could not be written, how much the map needs at most, how much is free, what
to do.  Nothing is cleaned up here: a store without its root document is not a map, and shards
are whole or absent.
"""

from __future__ import annotations

import errno
import shutil
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING
from uuid import uuid4

import google_crc32c

from gigafcn.errors import RunError, StorageError
from gigafcn.output.spec import MapSpec, store_bytes
from gigafcn.storage.retrying import is_passing, persistently
from gigafcn.storage.url_path import UrlPath

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

READ_BYTES = 1 << 22
"""Of a file at a time, while its checksum is computed."""

UNLIMITED = 1 << 62

_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_REFUSED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.ENOTDIR})
"""The next tile would be refused as well."""


@contextmanager
def storing(path: Path, spec: MapSpec, what: str) -> Iterator[None]:
    """Turn an OSError while ``what`` is written to the map at ``path`` into one line.

    A StorageError if no other tile would fare better, else a RunError.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        if error.errno in _NO_ROOM:
            raise StorageError(
                f"no room to write {what} of {path}: {reason}. The whole map needs at most "
                f"{format_bytes(store_bytes(spec))}, {format_bytes(free_bytes(path))} is free; "
                f"free some space or write to another disk"
            ) from error
        if error.errno in _REFUSED:
            raise StorageError(f"cannot write {what} of {path}: {reason}") from error
        raise RunError(
            f"cannot write {what} of {path}: {reason}; it was tried several times"
            if is_passing(error)
            else f"cannot write {what} of {path}: {reason}"
        ) from error


def free_bytes(path: Path) -> int:
    """Bytes free to this user on the disk that holds ``path``, which need not exist yet.

    A bucket has no end.
    """
    if isinstance(path, UrlPath):
        return UNLIMITED
    existing = path.absolute()
    while not existing.exists():
        existing = existing.parent
    return shutil.disk_usage(existing).free


def format_bytes(count: int) -> str:
    """Return a byte count with a decimal unit.

    Examples
    --------
    >>> format_bytes(999), format_bytes(1_500_000), format_bytes(52_400_000_000)
    ('999 B', '1.5 MB', '52.4 GB')
    """
    if count < 1000:
        return f"{count} B"
    value = float(count)
    for unit in ("kB", "MB", "GB"):
        value /= 1000
        if value < 999.95:
            return f"{value:.1f} {unit}"
    return f"{value / 1000:.1f} TB"


def checksum(path: Path) -> str:
    """CRC32C of a file in hexadecimal.

    Raises
    ------
    OSError
        If it cannot be read.
    """
    crc = 0
    with path.open("rb") as file:
        while block := file.read(READ_BYTES):
            crc = google_crc32c.extend(crc, block)
    return f"{crc:08x}"


def replace_file(path: Path, content: bytes) -> None:
    """Write a file so that a reader sees all of it or none: under another name, then renamed."""
    if isinstance(path, UrlPath):
        persistently(lambda: path.write_bytes(content))
    else:
        persistently(lambda: _renamed_into(path, content))


def _renamed_into(path: Path, content: bytes) -> None:
    partial = path.with_name(f"{path.stem}.{uuid4().hex}.partial")
    try:
        partial.write_bytes(content)
        partial.replace(path)
    except BaseException:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise
