"""A Zarr store at a place."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

from zarr.storage import LocalStore, ObjectStore, WrapperStore

from gigafcn.storage.url_path import UrlPath, bucket_of, speaking

if TYPE_CHECKING:
    from pathlib import Path

    from zarr.abc.store import Store
    from zarr.core.buffer import Buffer


class PlacedStore(WrapperStore[Any]):
    """A store whose errors are those of a disk.

    Parameters
    ----------
    store
        What it wraps.
    place
        For messages.
    """

    def __init__(self, store: Store, place: Path) -> None:
        super().__init__(store)
        self._place = place

    def _with_store(self, store: Store) -> PlacedStore:
        """Wrap another store the same way, as when it is opened read-only."""
        return PlacedStore(store, self._place)

    def with_read_only(self, read_only: bool = False) -> PlacedStore:
        """The same store, to be read only or to be written too."""
        return self._with_store(self._store.with_read_only(read_only))

    async def set(self, key: str, value: Buffer) -> None:
        """Write an object."""
        if isinstance(self._place, UrlPath):
            with speaking(self._place):
                await self._store.set(key, value)
        else:
            await self._store.set(key, value)

    async def get(self, key: str, prototype: Any, byte_range: Any = None) -> Buffer | None:
        """Read an object, or a part of it."""
        found: Buffer | None
        if isinstance(self._place, UrlPath):
            with speaking(self._place):
                found = await self._store.get(key, prototype, byte_range)
        else:
            found = await self._store.get(key, prototype, byte_range)
        return found


def store_at(place: Path) -> PlacedStore:
    """A Zarr store whose keys begin at a place."""
    if isinstance(place, UrlPath):
        return PlacedStore(ObjectStore(bucket_of(place)), place)
    return PlacedStore(LocalStore(place), place)


def remove_tree(place: Path) -> None:
    """Remove everything below a place, as far as possible."""
    if isinstance(place, UrlPath):
        place.remove_below()
    else:
        shutil.rmtree(place, ignore_errors=True)
