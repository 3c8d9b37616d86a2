"""Whether a file is the same as last time, without reading many gigabytes.

Files up to 64 MiB are hashed whole.  Of larger ones the size, the first and last MiB and 256
blocks spread evenly are hashed: re-encoding or editing a compressed slide moves what follows, so
the blocks change; a change of a few bytes in place in an uncompressed file may go unseen.  Times
and paths are left out, so a copy on another machine has the same fingerprint.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from gigafcn.storage.url_path import place_of, size_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

WHOLE_BYTES = 64 << 20
"""Largest file that is hashed whole."""

_END_BYTES = 1 << 20
_READ_BYTES = 1 << 22
_BLOCKS, _BLOCK_BYTES = 256, 16 << 10


def hash_file(path: Path) -> str:
    """SHA-256 of a file's size and bytes, sampled when it is large."""
    size = size_of(path)
    digest = hashlib.sha256(str(size).encode())
    with path.open("rb") as file:
        for offset, count in _parts(size):
            file.seek(offset)
            digest.update(file.read(count))
    return f"sha256:{digest.hexdigest()}"


def hash_files(paths: Sequence[Path]) -> str:
    """SHA-256 of several files' hashes, in their order."""
    both = "".join(hash_file(path) for path in paths)
    return f"sha256:{hashlib.sha256(both.encode()).hexdigest()}"


def sha256_of(source: str) -> str:
    """SHA-256 of every byte of a slide: of a file, or of all files of a folder with their names.

    The companion folder of an MRXS slide is part of it.
    """
    place = place_of(source)
    companion = place.with_suffix("")
    digest = hashlib.sha256()
    if place.is_file() and not (place.suffix.lower() == ".mrxs" and companion.is_dir()):
        _add(digest, place)
    else:
        top = companion if place.is_file() else place
        files = [*([place] if place.is_file() else []), *(f for f in top.rglob("*") if f.is_file())]
        for file in sorted(files, key=str):
            digest.update(str(file).removeprefix(str(top)).encode() + b"\0")
            _add(digest, file)
    return digest.hexdigest()


def _add(digest: hashlib._Hash, path: Path) -> None:
    with path.open("rb") as file:
        while block := file.read(_READ_BYTES):
            digest.update(block)


def _parts(size: int) -> Iterator[tuple[int, int]]:
    """Offset and length of what is hashed."""
    if size <= WHOLE_BYTES:
        yield from ((offset, _END_BYTES) for offset in range(0, size, _END_BYTES))
        return
    yield 0, _END_BYTES
    yield size - _END_BYTES, _END_BYTES
    for block in range(1, _BLOCKS + 1):
        yield block * size // (_BLOCKS + 1), _BLOCK_BYTES
