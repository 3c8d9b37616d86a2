"""What may a slide be called where nobody may learn whose it is?

File names of slides often hold names, dates and numbers of patients.  ``--deidentify`` puts a
keyed hash (HMAC-SHA-256) of the file's name in their place: whoever has the key can tell which
slide it was, by hashing the names of all candidates; nobody else can, not even by guessing.
:class:`Disguise` does so in whatever is said of one slide, also by other libraries.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
import re
import secrets
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from gigafcn.cache import cache_root
from gigafcn.errors import GigafcnError, QuestionError, RunError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

KEY_VARIABLE = "GIGAFCN_DEIDENTIFY_KEY"
OWN_KEY = "deidentify.key"
LEAST_KEY_BYTES = 16
DIGITS = 16
"""Hexadecimal, of a pseudonym: two of a million slides share one with probability 3e-8."""

SHORTEST_STEM = 3
"""Characters of a name from which on it is looked for in messages: "1" is in too many."""


def read_key(file: str | Path | None) -> bytes:
    """The key: of a file, else of ``GIGAFCN_DEIDENTIFY_KEY``, else one made for this user.

    Raises
    ------
    UsageError
        If it cannot be read, or is so short that it could be guessed.
    """
    given = os.environ.get(KEY_VARIABLE)
    if file is not None:
        where = f"deidentify-key {file}"
        try:
            key = Path(file).read_bytes().strip()
        except OSError as error:
            raise UsageError(f"{where} cannot be read: {error.strerror}") from error
    elif given is not None:
        where, key = KEY_VARIABLE, given.encode()
    else:
        return _own_key()
    if len(key) < LEAST_KEY_BYTES:
        raise UsageError(
            f"{where} holds {len(key)} bytes, which could be guessed; give {LEAST_KEY_BYTES} or "
            f"more, for instance with: openssl rand -hex 32"
        )
    return key


def _own_key() -> bytes:
    """This user's key, made when it is first needed."""
    root = cache_root()
    if root is None:
        raise UsageError(f"there is no place to keep a key; set {KEY_VARIABLE} or --deidentify-key")
    path = root / OWN_KEY
    try:
        root.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except FileExistsError:
        pass
    except OSError as error:
        raise UsageError(
            f"no key can be kept at {path}: {error.strerror}; set {KEY_VARIABLE}"
        ) from error
    else:
        with os.fdopen(handle, "wb") as file:
            file.write(secrets.token_hex(32).encode())
    return path.read_bytes()


def key_place(file: str | Path | None) -> str:
    """Where :func:`read_key` finds the key, in words."""
    if file is not None:
        return str(file)
    root = cache_root()
    return f"${KEY_VARIABLE}" if KEY_VARIABLE in os.environ else f"{root}/{OWN_KEY}"


def pseudonym(source: str, key: bytes) -> str:
    """Name for a slide, by its file's name: the same in every folder.

    Examples
    --------
    >>> pseudonym("/archive/Smith 1960.svs", b"0123456789abcdef")
    'slide-88786c8ebb347918'
    """
    digest = hmac.new(key, _file_name(source).encode(), hashlib.sha256).hexdigest()
    return f"slide-{digest[:DIGITS]}"


def _file_name(source: str) -> str:
    return source.rstrip("/").rpartition("/")[2]


@dataclass(frozen=True, slots=True)
class Disguise:
    """One slide under another name; equal strings, so that it can be handed to workers."""

    source: str
    """Path or URL of the slide."""

    name: str
    """Its pseudonym."""

    def clean(self, text: str) -> str:
        """The text with every trace of the slide's name and folders replaced."""
        text = re.sub(r"; did you mean [^?]*\?", "", text)  # names of other slides
        for said, shown in self._said():
            if len(said.strip("/.")) >= SHORTEST_STEM:
                text = text.replace(said, shown)
        stem = PurePath(_file_name(self.source)).stem
        stems = {stem, stem.removesuffix(".ome")}
        for part in sorted(stems, key=len, reverse=True):
            if len(part) >= SHORTEST_STEM:
                text = re.sub(rf"(?<!\w){re.escape(part)}(?!\w)", self.name, text)
        return text

    def _said(self) -> Iterator[tuple[str, str]]:
        """Ways in which it may be named, the longest first, and what to say instead."""
        paths = {self.source, self.source.rstrip("/")}
        if "://" not in self.source:
            path = Path(self.source).expanduser()
            paths |= {str(path), str(path.absolute()), str(path.resolve())}
        for path_said in sorted(paths, key=len, reverse=True):
            yield path_said, self.name
        yield _file_name(self.source), self.name
        folders = {path_said.rpartition("/")[0] for path_said in paths}
        for folder in sorted(folders, key=len, reverse=True):
            yield folder, "its folder"

    def cleaned(self, error: Exception) -> GigafcnError:
        """The same error, saying nothing of the slide's name."""
        if not isinstance(error, GigafcnError):
            return RunError(f"unexpected {type(error).__name__}: {self.clean(str(error))}")
        if isinstance(error, QuestionError):
            answers = [replace(one, meaning=self.clean(one.meaning)) for one in error.answers]
            return QuestionError(self.clean(error.question), answers)
        try:
            return type(error)(self.clean(str(error)))
        except TypeError:
            return RunError(self.clean(str(error)))

    @contextmanager
    def worn(self) -> Iterator[None]:
        """Clean what is logged and raised meanwhile, in this process.

        Raises
        ------
        GigafcnError
            In place of whatever was raised, without its history.
        """
        handlers = [h for name in ("gigafcn", None) for h in logging.getLogger(name).handlers]
        keep = _Cleaning(self)
        for handler in handlers:
            handler.addFilter(keep)
        try:
            yield
        except Exception as error:
            said = str(error)
            raise (error if self.clean(said) == said else self.cleaned(error)) from None
        finally:
            for handler in handlers:
                handler.removeFilter(keep)


class _Cleaning(logging.Filter):
    """Cleans records, whoever logs them."""

    def __init__(self, disguise: Disguise) -> None:
        super().__init__()
        self._disguise = disguise

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = self._disguise.clean(record.getMessage()), ()
        record.exc_info = record.exc_text = None
        return True
