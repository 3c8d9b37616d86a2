"""Read the padded image: real pixels inside, repeated or mirrored ones outside.

The image is a level of the slide, or is resampled from it.  Nothing padded or resampled is ever
stored; a box of the padded image is gathered from the slide when asked.
A reader thread fetches and decodes the next strip while the current one is computed.
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, TypeVar

import numpy as np

from gigafcn.doing import Doing
from gigafcn.engine.resampling import Resampler
from gigafcn.errors import RunError, UnreadableError
from gigafcn.geometry import Box, Span
from gigafcn.slide.marks import Reading

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from gigafcn.engine.account import Account
    from gigafcn.engine.timeline import Watch
    from gigafcn.plan.map_geometry import MapGeometry
    from gigafcn.slide.protocol import Pixels, Slide

AHEAD = 2
"""Strips decoded ahead of the one being computed."""


@dataclass(frozen=True, slots=True)
class PaddedImage:
    """A slide's level with the border that the whole run puts around it."""

    slide: Slide
    level: int
    channels: tuple[int, ...]
    geometry: MapGeometry
    strict: bool = False
    """Raise where the slide cannot be read, instead of going on with the background colour."""

    def read(self, box: Box) -> Pixels:
        """Pixels (y, x, c) of a box of the padded image, in stored units."""
        return self.look(box).pixels

    def look(self, box: Box) -> Reading:
        """Pixels of a box of the padded image, and which of them are substitutes."""
        return self.looker()(box)

    def looker(self) -> Callable[[Box], Reading]:
        """What looks at box after box, in one thread; a sweep reads no stored px twice with it."""
        stored = self.slide.levels[self.level].shape
        if self.geometry.image == stored:
            return lambda box: self._padded(box, self._stored)
        resampler = Resampler(self._stored, stored, self.geometry.image, len(self.channels))
        return lambda box: self._padded(box, resampler.look)

    def _stored(self, box: Box) -> Reading:
        """Pixels of a box of the level that is read."""
        every = self.channels == tuple(range(self.slide.channels))
        found = self.slide.look(box, self.level, None if every else self.channels)
        if self.strict and found.failed:
            try:
                self.slide.read(box, self.level)  # raises, with the reason
            except RunError as error:
                raise UnreadableError(f"{error}; without --strict the rest is mapped") from error
        return found

    def _padded(self, box: Box, look: Callable[[Box], Reading]) -> Reading:
        rows, columns = (self._sources(span, axis) for axis, span in enumerate(box.spans))
        inner = Box(
            int(rows.min()), int(columns.min()), int(rows.max()) + 1, int(columns.max()) + 1
        )
        found = look(inner)
        pixels, marks = found.pixels, found.marks
        if inner.shape == box.shape and rows[0] == inner.y0 and columns[0] == inner.x0:
            return Reading(pixels, marks, found.failed)
        where = np.ix_(rows - inner.y0, columns - inner.x0)
        return Reading(pixels[where], None if marks is None else marks[where], found.failed)

    def _sources(self, span: Span, axis: int) -> NDArray[np.int64]:
        """Image position of each position of the padded image."""
        size = self.geometry.image[axis]
        position = np.arange(span.start, span.stop) - self.geometry.origin[axis]
        before, both = self.geometry.origin[axis], self.geometry.mirrored[axis]
        position = np.clip(position, -before, size - 1 + both - before)
        if size > 1:
            position = np.mod(position, 2 * (size - 1))
            position = np.minimum(position, 2 * (size - 1) - position)
        clipped: NDArray[np.int64] = np.clip(position, 0, size - 1)
        return clipped


T = TypeVar("T")


def as_stored(pixels: Pixels) -> Pixels:
    """Strips that nothing is done with before they are asked for."""
    return pixels


@dataclass(slots=True)
class StripReader(Generic[T]):
    """Decodes strips of a window ahead of time, in a thread of its own."""

    image: PaddedImage
    strips: Sequence[Box]
    """Boxes of the padded image, in the order they will be asked for."""

    account: Account
    """Told what of each strip could be read."""

    watch: Watch
    send: Callable[[Pixels], T]
    """What is done with each strip in that thread."""

    _queue: queue.Queue[T | BaseException] = field(
        default_factory=lambda: queue.Queue(maxsize=AHEAD)
    )
    _stopped: threading.Event = field(default_factory=threading.Event)

    def __iter__(self) -> Iterator[tuple[Box, T]]:
        """Each strip with its pixels; reading errors are raised here."""
        thread = threading.Thread(target=self._read_all, name="gigafcn-reader", daemon=True)
        thread.start()
        try:
            for box in self.strips:
                with self.watch.during(Doing.WAITING_FOR_PIXELS):
                    item = self._queue.get()
                if isinstance(item, BaseException):
                    raise item
                yield box, item
        finally:
            self._stopped.set()
            thread.join()

    def _read_all(self) -> None:
        look = self.image.looker()
        for box in self.strips:
            try:
                with self.watch.during(Doing.READING), self.watch.listening():
                    reading = look(box)
                    self.account.add(box, reading)
                with self.watch.during(Doing.TO_DEVICE):
                    item: T | BaseException = self.send(reading.pixels)
            except BaseException as error:  # handed to the consumer, which raises it
                item = error
            if not self._put(item) or isinstance(item, BaseException):
                return

    def _put(self, item: T | BaseException) -> bool:
        """Hand over an item; False once the consumer has gone."""
        while not self._stopped.is_set():
            try:
                self._queue.put(item, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False


class SharedStrips(Generic[T]):
    """Strips of one reader for several that take all of them, at about the same pace.

    A strip is held until the last has taken it.

    Parameters
    ----------
    strips
        The reader.
    count
        How many share it.
    """

    def __init__(self, strips: StripReader[T], count: int) -> None:
        self._strips = iter(strips)
        self._lock = threading.Lock()
        self._waiting: list[deque[tuple[Box, T]]] = [deque() for _ in range(count)]
        self._error: BaseException | None = None
        self._given = 0

    def reader(self) -> Iterator[tuple[Box, T]]:
        """All strips, for the next that shares them."""
        own = self._waiting[self._given]
        self._given += 1
        return self._taken(own)

    def _taken(self, own: deque[tuple[Box, T]]) -> Iterator[tuple[Box, T]]:
        while True:
            if not own:  # who is behind need not wait for the next to be decoded
                with self._lock:
                    if not own and not self._more():
                        return
            yield own.popleft()

    def _more(self) -> bool:
        """Take the next strip, for all; False after the last, and the same error for all."""
        if self._error is not None:
            raise self._error
        try:
            strip = next(self._strips, None)
        except BaseException as error:
            self._error = error
            raise
        if strip is not None:
            for waiting in self._waiting:
                waiting.append(strip)
        return strip is not None
