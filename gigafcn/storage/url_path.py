"""Objects of an S3 bucket, used as files are.

A :class:`UrlPath` is a pathlib path whose reading and writing methods speak to the bucket, through
obstore.  An object is written whole or not at all, so nothing is renamed; folders are prefixes,
which need not be made.  Credentials are found by the process that uses the path, in its environment
or from the machine it runs on, and never travel with the path: it pickles as its text.

It has the methods that gigafcn uses; any other is refused, since it would look on the local disk.
"""

from __future__ import annotations

import errno
import functools
import io
import os
import re
from collections.abc import Callable
from contextlib import contextmanager
from datetime import timedelta
from fnmatch import fnmatch
from importlib.util import find_spec
from itertools import islice
from pathlib import Path, PosixPath
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, cast

from gigafcn.errors import UsageError
from gigafcn.storage.retrying import StoreError, persistently

if TYPE_CHECKING:
    from collections.abc import Iterator

    from obstore.store import ObjectStore

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):/(?=[^/]|/)")
"""Also with one slash, as pathlib writes it."""

RETRIES, LONGEST_S = 8, 60
"""Of a request, by obstore itself, on 5xx and broken connections."""

DELETED_AT_ONCE = 1000


def place_of(where: str | os.PathLike[str]) -> Path:
    """A path of this machine, or of a bucket for ``s3://``; ``file://`` is this machine.

    Raises
    ------
    UsageError
        If the URL is of another kind, or what reads it is not installed.

    Examples
    --------
    >>> place_of("file:///maps/a.zarr"), str(place_of("s3://bucket/maps/a.zarr") / "0")
    (PosixPath('/maps/a.zarr'), 's3://bucket/maps/a.zarr/0')
    """
    if isinstance(where, UrlPath):
        return where
    text = str(where)
    found = _SCHEME.match(text)
    if found is None:
        return Path(text)
    scheme, rest = found[1].lower(), text[found.end() :].lstrip("/")
    if scheme == "file":
        return Path("/", rest)
    if scheme != "s3":
        raise UsageError(f"{text}: gigafcn knows s3:// and file://, and plain paths")
    if not rest:
        raise UsageError(f"{text} names no bucket; write s3://BUCKET/NAME")
    if find_spec("obstore") is None:
        raise UsageError(f"{text} needs obstore: pip install 'gigafcn[s3]'")
    return UrlPath("s3:", rest)


def is_url(where: str | os.PathLike[str]) -> bool:
    """Whether a place is named by a URL."""
    return _SCHEME.match(str(where)) is not None


Method = TypeVar("Method", bound=Callable[..., Any])


def _patient(method: Method) -> Method:
    """Try again what obstore does not: requests that it does not know to be repeatable."""

    @functools.wraps(method)
    def trying(self: UrlPath, *arguments: Any, **options: Any) -> Any:
        return persistently(lambda: method(self, *arguments, **options))

    return cast("Method", trying)


def size_of(path: Path) -> int:
    """Bytes of a file or object."""
    return path.size if isinstance(path, UrlPath) else path.stat().st_size


class UrlPath(PosixPath):
    """An object, or a prefix of objects, in a bucket."""

    def __str__(self) -> str:
        return f"s3://{'/'.join(self.parts[1:])}"

    def __repr__(self) -> str:
        return f"UrlPath({str(self)!r})"

    def __reduce__(self) -> Any:
        return (place_of, (str(self),))

    def __fspath__(self) -> NoReturn:
        raise TypeError(f"{self} is not on a local disk")

    @property
    def bucket(self) -> str:
        """The bucket's name."""
        return self.parts[1]

    @property
    def key(self) -> str:
        """Name within the bucket; empty for the bucket itself."""
        return "/".join(self.parts[2:])

    @property
    def parents(self) -> Any:
        """None: there are no folders."""
        return ()

    def absolute(self) -> UrlPath:
        """The path itself."""
        return self

    def resolve(self, strict: bool = False) -> UrlPath:
        """The path itself."""
        return self

    def expanduser(self) -> UrlPath:
        """The path itself."""
        return self

    def is_symlink(self) -> bool:
        """No."""
        return False

    def is_file(self) -> bool:
        """Whether there is such an object."""
        return self.tag() is not None

    def is_dir(self) -> bool:
        """Whether there are objects below."""
        return bool(self._below(1))

    def exists(self) -> bool:
        """Whether there is an object, or any below."""
        return self.is_file() or self.is_dir()

    @_patient
    def tag(self) -> str | None:
        """What differs whenever the object is written with another content; None if absent."""
        import obstore

        try:
            with speaking(self):
                head = obstore.head(_bucket(self.bucket), self.key)
        except FileNotFoundError:
            return None
        return str(head["e_tag"])

    @property
    @_patient
    def size(self) -> int:
        """Bytes of the object."""
        import obstore

        with speaking(self):
            return int(obstore.head(_bucket(self.bucket), self.key)["size"])

    @_patient
    def read_bytes(self) -> bytes:
        """The object's content."""
        import obstore

        with speaking(self):
            return bytes(obstore.get(_bucket(self.bucket), self.key).bytes())

    def read_text(self, encoding: str | None = None, errors: str | None = None) -> str:
        """The object's content as text."""
        return self.read_bytes().decode(encoding or "utf-8", errors or "strict")

    @_patient
    def read_range(self, offset: int, count: int) -> bytes:
        """Some of the object's bytes; fewer where it ends before."""
        import obstore

        with speaking(self):
            found = obstore.get_range(_bucket(self.bucket), self.key, start=offset, length=count)
        return bytes(found)

    @_patient
    def write_bytes(self, data: Any) -> int:
        """Write the object, all of it or nothing."""
        import obstore

        with speaking(self):
            obstore.put(_bucket(self.bucket), self.key, bytes(data))
        return len(data)

    def write_text(
        self, data: str, encoding: str | None = None, errors: str | None = None,
        newline: str | None = None,
    ) -> int:  # fmt: skip
        """Write text as the object."""
        return self.write_bytes(data.encode(encoding or "utf-8", errors or "strict"))

    @_patient
    def create(self, data: bytes) -> bool:
        """Write the object unless there is one; of several that try, one succeeds."""
        import obstore
        from obstore.exceptions import AlreadyExistsError

        try:
            with speaking(self):
                obstore.put(_bucket(self.bucket), self.key, data, mode="create")
        except AlreadyExistsError:
            # A connection that broke after the object was written makes obstore try again.
            return self.read_bytes() == data
        return True

    @_patient
    def unlink(self, missing_ok: bool = False) -> None:
        """Remove the object."""
        import obstore

        if not missing_ok and not self.is_file():
            raise FileNotFoundError(errno.ENOENT, "no such object", str(self))
        with speaking(self):
            obstore.delete(_bucket(self.bucket), self.key)

    @_patient
    def remove_below(self) -> None:
        """Remove every object below."""
        import obstore

        keys = [path.key for path in self.rglob("*")]
        with speaking(self):
            for first in range(0, len(keys), DELETED_AT_ONCE):
                obstore.delete(_bucket(self.bucket), keys[first : first + DELETED_AT_ONCE])

    def mkdir(self, mode: int = 0o777, parents: bool = False, exist_ok: bool = False) -> None:
        """Do nothing: prefixes need not be made."""

    def rmdir(self) -> None:
        """Do nothing: a prefix without objects is not there."""

    def iterdir(self) -> Any:
        """Objects and prefixes right below."""
        return (UrlPath("s3:", self.bucket, key) for key in self._children())

    @_patient
    def _children(self) -> list[str]:
        import obstore

        with speaking(self):
            found = obstore.list_with_delimiter(_bucket(self.bucket), self.key)
        names = [str(each["path"]) for each in found["objects"]]
        return sorted([*names, *map(str, found["common_prefixes"])])

    def glob(self, pattern: str, **_: Any) -> Any:
        """Objects right below whose names match."""
        return (path for path in self.iterdir() if fnmatch(path.name, pattern))

    def rglob(self, pattern: str, **_: Any) -> Any:
        """All objects below whose names match."""
        return (path for path in self._below() if fnmatch(path.name, pattern))

    def open(self, mode: str = "r", *_: Any, **__: Any) -> Any:
        """The object for reading bytes, which come in ranges as they are asked for."""
        if mode != "rb":
            raise io.UnsupportedOperation(f"{self}: opened for mode {mode!r}")
        return io.BufferedReader(_Reader(self), buffer_size=1 << 16)

    @_patient
    def _below(self, pages: int | None = None) -> list[UrlPath]:
        """All objects below, or those of some pages of the listing."""
        import obstore

        prefix = f"{self.key}/" if self.key else ""
        with speaking(self):
            listed = islice(obstore.list(_bucket(self.bucket), prefix), pages)
            keys = [str(each["path"]) for page in listed for each in page]
        return [UrlPath("s3:", self.bucket, key) for key in keys]

    def replace(self, target: Any) -> NoReturn:
        """Refuse: objects are not renamed."""
        raise io.UnsupportedOperation(f"{self}: objects are not renamed")

    rename = replace


class _Reader(io.RawIOBase):
    """An object as a file that can be read at any place."""

    def __init__(self, path: UrlPath) -> None:
        self._path, self._size, self._at = path, path.size, 0

    @property
    def name(self) -> str:
        """For libraries that ask a file for its name."""
        return str(self._path)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any) -> int:
        count = min(len(buffer), self._size - self._at)
        if count <= 0:
            return 0
        found = self._path.read_range(self._at, count)
        buffer[: len(found)] = found
        self._at += len(found)
        return len(found)


@functools.lru_cache(maxsize=64)
def _bucket(name: str, prefix: str = "") -> ObjectStore:
    """A bucket, or a part of it, with the credentials that this process finds."""
    from obstore.store import from_url

    retries: Any = {"max_retries": RETRIES, "retry_timeout": timedelta(seconds=LONGEST_S)}
    return from_url(f"s3://{name}/{prefix}", retry_config=retries)


def bucket_of(path: UrlPath) -> ObjectStore:
    """The part of a bucket below a path."""
    return _bucket(path.bucket, path.key)


@contextmanager
def speaking(path: Path) -> Iterator[None]:
    """Turn what a store says into the errors that a disk would give.

    Raises
    ------
    FileNotFoundError, PermissionError, StoreError
        With the reason in one line, without addresses that may hold credentials.
    """
    from obstore.exceptions import (
        AlreadyExistsError,
        BaseError,
        PermissionDeniedError,
        UnauthenticatedError,
    )

    try:
        yield
    except AlreadyExistsError:
        raise
    except FileNotFoundError as error:
        raise FileNotFoundError(errno.ENOENT, "no such object", str(path)) from error
    except (PermissionDeniedError, UnauthenticatedError) as error:
        raise PermissionError(
            errno.EACCES,
            "the store denies access; check the credentials of this machine",
            str(path),
        ) from error
    except BaseException as error:
        if not isinstance(error, BaseError):
            raise
        raise StoreError(errno.EIO, _reason(error), str(path)) from error


def _reason(error: BaseException) -> str:
    """What a store answered, or that it did not, without URLs and XML."""
    text = " ".join(str(error).split())
    status = re.search(r"status code: (\d{3}[^:]*)", text)
    if status:
        return f"the store answers {status[1].strip()}"
    kind = next((w for w in ("timed out", "connect", "reset", "closed") if w in text.lower()), "")
    return (
        f"the store cannot be reached ({kind})"
        if kind
        else f"the store fails: {type(error).__name__}"
    )
