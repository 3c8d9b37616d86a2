"""How a numpy array is read as a slide.

As one level of (y, x) or (y, x, c) pixels.  The array is not copied, so it must not change during
a run; what is read from it is.  Memory-mapped arrays work and are read box by box.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

from gigafcn.errors import RunError, SlideError
from gigafcn.slide.declared import without_data
from gigafcn.slide.marks import Reading, with_no_data
from gigafcn.slide.protocol import Level, Pixels, check_box, check_dtype, default_channel_names
from gigafcn.slide.traits import Traits

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gigafcn.geometry import Box

MOST_CHANNELS = 32
"""An axis of at most this length may be channels when nothing says which axis is."""

_HASH_BYTES = 16 << 20


class ArraySlide:
    """A numpy array (y, x) or (y, x, c) as a slide of one level.

    Examples
    --------
    >>> from gigafcn.geometry import Box
    >>> ArraySlide(np.zeros((8, 6), np.uint8)).read(Box(0, 0, 2, 3)).shape
    (2, 3, 1)
    """

    def __init__(
        self,
        array: Pixels,
        *,
        name: str = "slide",
        source: str | None = None,
        mpp: tuple[float, float] | None = None,
        traits: Traits | None = None,
        empty: NDArray[np.bool_] | None = None,
        blank: float = 0,
    ) -> None:
        check_dtype("the array", array.dtype)
        self._array: Pixels | None = _with_channels(array)
        height, width, self.channels = self._array.shape
        self.name = name
        self.source = source
        self.levels: tuple[Level, ...] = (Level((height, width), (1.0, 1.0)),)
        self.channel_names = default_channel_names(self.channels)
        self.dtype = array.dtype.newbyteorder("=")
        self.mpp = mpp
        self.traits = Traits("array") if traits is None else traits
        self._empty, self._blank = empty, blank
        """Px (y, x) that hold no data, and what is shown there."""

    def read(self, box: Box, level: int = 0) -> Pixels:
        """Copy the pixels of ``box``, (y, x, c)."""
        check_box(self.name, self.levels, box, level)
        return self._open_array()[box.y0 : box.y1, box.x0 : box.x1].astype(self.dtype, order="C")

    def look(self, box: Box, level: int = 0, channels: tuple[int, ...] | None = None) -> Reading:
        """As :meth:`read`, with 0 for what is not a number."""
        pixels = self.read(box, level)
        if channels is not None:
            pixels = pixels[:, :, list(channels)]
        if self._empty is not None:
            empty = self._empty[box.y0 : box.y1, box.x0 : box.x1]
            return with_no_data(without_data(Reading(pixels), empty, self._blank), None)
        return with_no_data(Reading(pixels), self.traits.no_data)

    def fingerprint(self) -> str:
        """SHA-256 of shape, type and every value, and of which px hold no data."""
        own = hash_array(self._open_array())
        return own if self._empty is None else f"{own} {hash_array(self._empty)}"

    def close(self) -> None:
        """Let go of the array."""
        self._array = None

    def _open_array(self) -> Pixels:
        if self._array is None:
            raise RunError(f"slide {self.name!r} is closed; open it again to read from it")
        return self._array


def hash_array(array: Pixels) -> str:
    """SHA-256 of an array's shape, type and values, hashed in strips of bounded size.

    Examples
    --------
    >>> hash_array(np.zeros(3, np.uint8)) == hash_array(np.zeros(4, np.uint8))
    False
    """
    dtype = array.dtype.newbyteorder("<")
    digest = hashlib.sha256(f"{array.shape} {dtype.str}".encode())
    row_bytes = max(1, array.nbytes // max(1, array.shape[0]))
    rows = max(1, _HASH_BYTES // row_bytes)
    for start in range(0, array.shape[0], rows):
        strip = np.ascontiguousarray(array[start : start + rows], dtype=dtype)
        digest.update(strip.reshape(-1).view(np.uint8).data)
    return f"sha256:{digest.hexdigest()}"


def _with_channels(array: Pixels) -> Pixels:
    """View as (y, x, c), or explain what is wrong with the shape."""
    if array.ndim == 2:
        array = array[..., np.newaxis]
    if array.ndim != 3 or 0 in array.shape:
        raise SlideError(
            f"the array has shape {array.shape}; a slide is (y, x) or (y, x, c) with no empty axis"
        )
    if array.shape[0] <= MOST_CHANNELS < array.shape[2]:
        raise SlideError(
            f"the array has shape {array.shape}, which looks like (c, y, x); a slide is "
            f"(y, x, c): pass np.moveaxis(array, 0, -1)"
        )
    return array
