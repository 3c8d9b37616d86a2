"""How a sweep in strips avoids decoding a stored tile once per strip.

A stored segment (TIFF tile or strip, Zarr chunk) is usually taller than the strips that are read,
so its decoded pixels are kept until the sweep has passed.  The cache forgets the segment used
longest ago and holds a fixed number of bytes, but never less than one row of segments under the
box being read: that is the least that lets the next strip find what this one decoded.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator

    from gigafcn.geometry import Span

CACHE_BYTES = 32 << 20
"""Decoded bytes kept per slide: a row of 256 px RGB tiles 43 000 px wide."""

SEGMENT_LIMIT_BYTES = 1 << 30
"""Largest segment that is decoded; a segment is decoded as a whole, so this bounds memory."""


class _Sized(Protocol):
    """What knows its size."""

    @property
    def nbytes(self) -> int:
        """Bytes it takes."""
        ...


S = TypeVar("S", bound=_Sized)


class SegmentCache(Generic[S]):
    """Decoded segments of one slide, shared by its readers; all methods are thread-safe."""

    def __init__(self, capacity_bytes: int = CACHE_BYTES) -> None:
        self.capacity_bytes = capacity_bytes
        self.decoded = 0
        """Segments put in so far, which is how many were decoded."""
        self._floor_bytes = 0
        self._held_bytes = 0
        self._segments: OrderedDict[Hashable, S] = OrderedDict()
        self._lock = threading.Lock()

    def reserve(self, row_bytes: int) -> None:
        """State the bytes of one row of segments under the box about to be read."""
        with self._lock:
            self._floor_bytes = row_bytes

    def get(self, key: Hashable) -> S | None:
        """Return the decoded segment, or None when it must be decoded (again)."""
        with self._lock:
            segment = self._segments.get(key)
            if segment is not None:
                self._segments.move_to_end(key)
            return segment

    def put(self, key: Hashable, segment: S) -> None:
        """Keep a decoded segment and forget the oldest ones beyond the capacity."""
        with self._lock:
            self.decoded += 1
            replaced = self._segments.pop(key, None)
            self._held_bytes += segment.nbytes - (0 if replaced is None else replaced.nbytes)
            self._segments[key] = segment
            limit = max(self.capacity_bytes, self._floor_bytes)
            while self._held_bytes > limit and len(self._segments) > 1:
                _, oldest = self._segments.popitem(last=False)
                self._held_bytes -= oldest.nbytes

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._segments.clear()
            self._held_bytes = 0


def meeting(span: Span, size: int) -> range:
    """Indices of the segments of ``size`` px that meet ``span``.

    Examples
    --------
    >>> from gigafcn.geometry import Span
    >>> list(meeting(Span(100, 300), 128))
    [0, 1, 2]
    """
    return range(span.start // size, -(-span.stop // size)) if not span.is_empty else range(0)


def runs(indices: list[int]) -> Iterator[range]:
    """Group ascending indices into runs of neighbours.

    Examples
    --------
    >>> list(runs([1, 2, 5]))
    [range(1, 3), range(5, 6)]
    """
    start = 0
    for end in range(1, len(indices) + 1):
        if end == len(indices) or indices[end] != indices[end - 1] + 1:
            yield range(indices[start], indices[end - 1] + 1)
            start = end
