"""May this file be loaded, given that loading it can run code?

A file that can run code is loaded if the user says so, or if its sha256 is the one that the user
gave.  A sha256 is checked wherever it is given, also for files that run nothing.  Only what the
user says in person counts as trust: a sha256 inside a model's own TOML file pins the file, and
whoever wrote the one could have written the other.
"""

from __future__ import annotations

import hashlib
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from gigafcn.errors import ModelError, UsageError

HEX_DIGITS = 64


@dataclass(frozen=True, slots=True)
class Trust:
    """What the user allows."""

    code: bool = False
    """Run whatever code loading the model runs."""

    sha256: str | None = None
    """Load this very file, and no other."""

    def __post_init__(self) -> None:
        """Refuse what is no sha256."""
        given = self.sha256
        if given is not None and not is_sha256(given):
            raise UsageError(f"sha256 has {HEX_DIGITS} hexadecimal digits, got {given!r}")

    @property
    def file_alone(self) -> bool:
        """Whether one file is trusted, but not what lies beside it."""
        return self.sha256 is not None and not self.code


def is_sha256(text: str) -> bool:
    """Whether a text is a sha256 in hexadecimal digits."""
    return len(text) == HEX_DIGITS and all(c in "0123456789abcdef" for c in text.lower())


def sha256_of(path: Path) -> str:
    """Sha256 of a file's bytes."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ModelError(f"model file {path} cannot be read: {error.strerror or error}") from error


def require_same(path: Path, expected: str | None) -> str:
    """Refuse a file whose sha256 is not the expected one, and return its sha256.

    Raises
    ------
    ModelError
        Naming both.
    """
    found = sha256_of(path)
    if expected is not None and found != expected.lower():
        raise ModelError(
            f"file {path} has sha256 {found}, expected {expected.lower()}: it is not the file "
            f"that was meant"
        )
    return found


def require_trust(path: Path, trust: Trust, reason: str) -> str:
    """Refuse a file that can run code unless it is trusted, and return its sha256.

    Parameters
    ----------
    path
        The file.
    trust
        What the user allows.
    reason
        Why loading it can run code, as the rest of a sentence about the file.

    Raises
    ------
    ModelError
        Saying why, with the sha256 to give for this file alone.
    """
    found = require_same(path, trust.sha256)
    if not trust.code and trust.sha256 is None:
        raise ModelError(
            f"model file {path} {reason}; pass --trust (trust=True) if you trust it, or "
            f"--sha256 {found} to load this very file"
        )
    return found


def refuse_traversal(path: Path) -> None:
    """Refuse an archive with a member whose name leads out of it.

    Nothing is ever unpacked to disk here; the libraries that read the archive need not be as
    careful.

    Raises
    ------
    ModelError
        Naming the member.
    """
    if not zipfile.is_zipfile(path):
        return
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (OSError, zipfile.BadZipFile) as error:
        raise ModelError(f"model file {path} is a damaged archive: {error}") from error
    for name in names:
        plain = PurePosixPath(name.replace("\\", "/"))
        if plain.is_absolute() or ".." in plain.parts or ":" in plain.parts[0]:
            raise ModelError(
                f"model file {path} is not read: its member {name!r} leads out of the archive"
            )
