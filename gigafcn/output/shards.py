"""How one shard is stored, so that whatever happens it is whole or absent.

An object is written under another name and renamed; object stores take it whole or not at all.
Four more rules make writing safe: a write makes exactly one shard (two writers of one object lose
data); an object is removed before it is written again, so that what fails leaves nothing of old;
chunks that hold only the fill value are stored all the same, so that a missing object means
background, failed or not written, never "all zero"; and failures that may pass are met by trying
again.

Chunks are compressed with blosc and end in a crc32c.  ``benchmarks/codecs.py`` tells which codec is
best: for float32, bytes shuffled, lz4 leaves 70 % and compresses 2.0 GB/s per core, zstd 67 % and
0.54; for uint8 lz4 13 % and 2.0, zstd 8 % and 0.74; for labels 8 % and 2.5, 2.5 % and 1.2.  Higher
levels take twice as long for a few percent.  So float32 is lz4's, everything else zstd's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import google_crc32c
import numpy as np
import zarr
from zarr.codecs import BloscCodec, Crc32cCodec

from gigafcn.doing import Doing, during
from gigafcn.errors import RunError
from gigafcn.output.disk import replace_file
from gigafcn.output.encoding import decoded, encoded
from gigafcn.storage.retrying import persistently
from gigafcn.storage.zarr_stores import store_at

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from gigafcn.output.spec import MapLevel

_LEVEL = 1


def create_array(
    path: Path,
    shape: tuple[int, ...],
    level: MapLevel,
    *,
    dtype: str,
    fill: float,
    attributes: dict[str, Any] | None = None,
) -> None:
    """Create a pixel array: (c, y, x) scores or (y, x) labels; its parents stay plain folders."""
    classes = shape[:-2]
    is_float = np.dtype(dtype).kind == "f"
    zarr.create_array(
        store=store_at(path),
        shape=shape,
        dtype=dtype,
        chunks=(1,) * len(classes) + (level.chunk, level.chunk),
        shards=(*classes, level.shard, level.shard),
        compressors=[
            BloscCodec(
                cname="lz4" if dtype == "float32" else "zstd",
                clevel=_LEVEL,
                shuffle="shuffle" if is_float else "noshuffle",
                typesize=np.dtype(dtype).itemsize,
            ),
            Crc32cCodec(),
        ],
        fill_value=fill,
        dimension_names=("c", "y", "x")[-len(shape) :],
        attributes=attributes,
    )


class ShardedArray:
    """One level of scores or labels in a store, read and written shard by shard.

    Parameters
    ----------
    root
        Directory of the store.
    name
        Path of the array inside the store.
    level
        The level it holds.
    """

    def __init__(self, root: Path, name: str, level: MapLevel) -> None:
        self._root = root
        self._name = name
        self._level = level
        self._array = zarr.open_array(store_at(root / name), mode="r+")

    @property
    def fill(self) -> float:
        """Value of pixels that are not stored."""
        value: float = self._array.fill_value
        return value

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values."""
        return np.dtype(self._array.dtype)

    @property
    def is_stack(self) -> bool:
        """Whether there is a class axis before (y, x)."""
        return self._array.ndim == 3

    def key(self, index: tuple[int, int]) -> str:
        """Path of the shard at ``index`` (y, x) inside the store."""
        leading = ("0",) * (self._array.ndim - 2)
        return "/".join((self._name, "c", *leading, str(index[0]), str(index[1])))

    def object_path(self, index: tuple[int, int]) -> Path:
        """File of the shard at ``index`` (y, x)."""
        return self._root / self.key(index)

    def has(self, index: tuple[int, int]) -> bool:
        """Whether the shard at ``index`` has an object."""
        return self.object_path(index).is_file()

    def drop(self, index: tuple[int, int]) -> None:
        """Remove the shard's object, so that it reads as the fill value."""
        self.object_path(index).unlink(missing_ok=True)

    def put(
        self,
        index: tuple[int, int],
        block: NDArray[Any],
        within: tuple[slice, slice] = (slice(None), slice(None)),
    ) -> dict[str, str]:
        """Store ``block`` (..., y, x), which covers the shard clipped to the level.

        Returns the CRC32C of the object by its key.

        Parameters
        ----------
        within
            Rows and columns of whole chunks that are stored; the others read as the fill value.
        """
        box = self._level.shard_box(index)
        if block.shape[-2:] != box.shape or block.dtype != self.dtype:
            raise ValueError(
                f"shard {index} of {self._root / self._name} takes {box.shape} px of {self.dtype}, "
                f"got {block.shape[-2:]} px of {block.dtype}"
            )
        inside = (slice(None),) * (block.ndim - 2) + tuple(
            slice(*part.indices(size)[:2]) for part, size in zip(within, box.shape, strict=True)
        )
        with during(Doing.COMPRESSING):
            data = encoded(self._array.metadata.to_dict(), block[inside], inside)
        path = self.object_path(index)
        with during(Doing.WRITING_BYTES):
            persistently(lambda: self.drop(index))
            persistently(lambda: path.parent.mkdir(parents=True, exist_ok=True))
            replace_file(path, data)
        return {self.key(index): f"{google_crc32c.value(data):08x}"}

    def get(self, index: tuple[int, int]) -> NDArray[Any]:
        """Values of a shard that has an object: (c, y, x), or (y, x) of labels.

        Raises
        ------
        RunError
            If the object is damaged.
        """
        shape = self._level.shard_box(index).shape
        place = (slice(None),) * (self._array.ndim - 2) + tuple(slice(0, side) for side in shape)
        path = self.object_path(index)
        data = persistently(path.read_bytes)
        try:
            return decoded(self._array.metadata.to_dict(), data, place)
        except ValueError as error:
            raise RunError(
                f"{path} is damaged since it was written: {error}; the same command checks what is "
                f"stored and computes it again"
            ) from error
