"""Where do the windows of blend and patch lie, and which of them touch a part of the map?

*Blend* averages overlapping windows.  Their positions are those of MONAI's
``sliding_window_inference``: one every ``int(size * (1 - overlap))`` px, the last shifted back
inside; an image smaller than a window is padded with zeros, half on each side.

*Patch* gives one map px for each window.  Map px j has as its cell the ``step`` px around the
centre of window j.  With border "valid" window j starts at image px ``j * step`` and only windows
wholly inside the image count; with "cover" the cells start at the image's first px and cover all
of it, and the image is mirrored outward for the windows that reach beyond.

A row of windows is cut into batches once, for the whole image.  A tile computes every batch that
holds a window of its own, always whole: what a batch holds, and so how its sums are rounded, does
not depend on tiles.  This module knows positions only: no pixels, no weights.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import asdict, dataclass
from fractions import Fraction
from math import ceil, floor
from typing import TYPE_CHECKING, Any

import numpy as np

from gigafcn.errors import SlideError
from gigafcn.geometry import Box, Span
from gigafcn.plan.map_geometry import MapGeometry

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

Pair = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Windows:
    """All windows of a run, in px of the padded image; pairs are (y, x)."""

    mode: str
    """"blend" or "patch"."""

    size: Pair
    """Of a window."""

    interval: Pair
    """Px from one window to the next."""

    count: Pair
    """Rows of windows, and windows in each."""

    first: Pair
    """Where the first window starts."""

    last: Pair
    """Where the last window starts."""

    cell: Pair
    """Map px that a window gives."""

    crop: Pair
    """Px of the padded image's map before the first px of the map."""

    content: Box
    """Part of the padded image that is read; zeros, after normalisation, around it."""

    weights: str
    """"constant" or "gaussian", how windows are weighted; "none" for patch."""

    overlap: float
    """As asked for; 0 for patch."""

    batch: int
    """Windows per call of the module; the last of a row may have fewer."""

    axes: str = "bcyx"
    """What the dimensions of the module's output are, see :mod:`gigafcn.engine.axes`."""

    def start(self, axis: int, index: int) -> int:
        """First px of a window."""
        return min(self.first[axis] + index * self.interval[axis], self.last[axis])

    def window(self, axis: int, index: int) -> Span:
        """Px of a window, of the padded image."""
        start = self.start(axis, index)
        return Span(start, start + self.size[axis])

    def place(self, axis: int, index: int) -> Span:
        """Map px that a window gives; may reach beyond a map that was cropped."""
        if self.mode == "patch":
            return Span(index, index + 1)
        start = self.start(axis, index) * self.cell[axis] // self.size[axis] - self.crop[axis]
        return Span(start, start + self.cell[axis])

    def touching(self, axis: int, span: Span) -> range:
        """Windows that give a map px of ``span``."""
        every = range(self.count[axis])

        def begin(index: int) -> int:
            return self.place(axis, index).start

        first = bisect_right(every, span.start - self.cell[axis], key=begin)
        return range(first, bisect_left(every, span.stop, key=begin))

    def batches(self, columns: Span) -> Iterator[range]:
        """Windows of a row, batch by batch, of every batch that touches map columns."""
        wanted = self.touching(1, columns)
        for start in range(wanted.start // self.batch * self.batch, wanted.stop, self.batch):
            yield range(start, min(start + self.batch, self.count[1]))

    def reads(self, tile: Box) -> Box:
        """Px of the padded image that the windows computed for a tile hold."""
        rows = self.touching(0, tile.y)
        batches = list(self.batches(tile.x))
        columns = range(batches[0].start, batches[-1].stop)
        return Box.of(*(self._hull(axis, part) for axis, part in enumerate((rows, columns))))

    def _hull(self, axis: int, part: range) -> Span:
        return Span(self.start(axis, part[0]), self.window(axis, part[-1]).stop)

    def computed(self, tile: Box) -> int:
        """Windows computed for a tile, those of other tiles in its batches included."""
        return len(self.touching(0, tile.y)) * sum(len(b) for b in self.batches(tile.x))

    def coverage(self, axis: int, span: Span) -> NDArray[np.int64]:
        """How many windows give each map px of ``span``, along one axis."""
        edges = np.zeros(span.size + 1, np.int64)
        for index in self.touching(axis, span):
            inside = self.place(axis, index).intersect(span)
            edges[inside.start - span.start] += 1
            edges[inside.stop - span.start] -= 1
        return np.cumsum(edges[:-1])

    @property
    def described(self) -> str:
        """In a few characters: size, then overlap and weights, or step.

        Examples
        --------
        >>> patch_windows((512, 512), (224, 224), step=(112, 112), batch=1).described
        'patch 224/112'
        """
        size = _sides(self.size)
        if self.mode == "patch":
            return f"patch {size}/{_sides(self.interval)}"
        return f"blend {size}/{self.overlap:g} {self.weights}"

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self) | {"content": list(self.content)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Windows:
        """Inverse of :meth:`to_json`."""
        values: dict[str, Any] = {
            name: tuple(v) if isinstance(v, list) else v for name, v in data.items()
        }
        return cls(**values | {"content": Box(*data["content"])})


def _sides(pair: Pair) -> str:
    return str(pair[0]) if pair[0] == pair[1] else f"{pair[0]}x{pair[1]}"


def blend_windows(
    image: Pair, size: Pair, *, cell: Pair, overlap: float, weights: str, batch: int
) -> Windows:
    """Windows that cover an image, overlapping.

    Parameters
    ----------
    image, size
        Px (y, x) of the image and of a window.
    cell
        Map px (y, x) that the model gives for a window.
    overlap
        Part of a window, 0 to below 1, that it shares with the next.

    Examples
    --------
    >>> found = blend_windows(
    ...     (100, 30), (64, 64), cell=(64, 64), overlap=0.25, weights="constant", batch=1
    ... )
    >>> [found.start(0, i) for i in range(found.count[0])], found.content
    ([0, 36], Box(y0=0, x0=17, y1=100, x1=47))
    """
    padded = [max(i, s) for i, s in zip(image, size, strict=True)]
    before = [(p - i) // 2 for p, i in zip(padded, image, strict=True)]
    interval = [
        s if s == p else max(1, int(s * (1 - overlap))) for s, p in zip(size, padded, strict=True)
    ]
    last = padded[0] - size[0], padded[1] - size[1]
    return Windows(
        mode="blend",
        size=size,
        interval=(interval[0], interval[1]),
        count=(ceil(last[0] / interval[0]) + 1, ceil(last[1] / interval[1]) + 1),
        first=(0, 0),
        last=last,
        cell=cell,
        # As MONAI rounds it: to the nearest, halves to even.
        crop=(
            round(before[0] * Fraction(cell[0], size[0])),
            round(before[1] * Fraction(cell[1], size[1])),
        ),
        content=Box(before[0], before[1], before[0] + image[0], before[1] + image[1]),
        weights=weights,
        overlap=overlap,
        batch=batch,
    )


def patch_windows(
    image: Pair, size: Pair, *, step: Pair, batch: int, border: str = "valid"
) -> Windows:
    """Windows on a grid, one map px each; see this module's docstring.

    Raises
    ------
    SlideError
        If no window fits into the image and the border is "valid".
    """
    axes = [
        (_valid if border == "valid" else _covering)(image[a], size[a], step[a], "yx"[a])
        for a in (0, 1)
    ]
    count, first, padded = zip(*axes, strict=True)
    return Windows(
        mode="patch",
        size=size,
        interval=step,
        count=count,
        first=first,
        last=(first[0] + (count[0] - 1) * step[0], first[1] + (count[1] - 1) * step[1]),
        cell=(1, 1),
        crop=(0, 0),
        content=Box.whole(padded),
        weights="none",
        overlap=0.0,
        batch=batch,
    )


def _valid(image: int, size: int, step: int, name: str) -> tuple[int, int, int]:
    """Count, first start and padded size along one axis."""
    if image < size:
        raise SlideError(
            f"the image is {image} px along {name}, smaller than a window of {size} px; take a "
            f"smaller --window, or --border cover, which mirrors the image outward"
        )
    return (image - size) // step + 1, 0, image


def _covering(image: int, size: int, step: int, name: str) -> tuple[int, int, int]:
    """Count, first start and padded size along one axis."""
    count = ceil(image / step)
    before = floor(Fraction(size - step, 2))
    first = max(0, -before)
    return count, first, max(first + (count - 1) * step + size, max(0, before) + image)


def windows_geometry(image: Pair, windows: Windows, *, border: str = "valid") -> MapGeometry:
    """How image, padded image and map relate; ``border`` as for the windows of patch."""
    if windows.mode == "patch":
        return _patch_geometry(image, windows, border)
    stride = [Fraction(s, c) for s, c in zip(windows.size, windows.cell, strict=True)]
    origin = windows.content.y0, windows.content.x0
    padded = [max(i, s) for i, s in zip(image, windows.size, strict=True)]
    shape, offset = [], []
    for axis in (0, 1):
        # MONAI's crop; where nothing was padded it is the whole of int(padded / stride).
        stop = floor(padded[axis] / stride[axis])
        if padded[axis] > image[axis]:
            stop = round((origin[axis] + image[axis]) / stride[axis])
        shape.append(max(1, stop - windows.crop[axis]))
        offset.append(windows.crop[axis] * stride[axis] - origin[axis])
    return MapGeometry(
        image=image,
        padded=(padded[0], padded[1]),
        origin=origin,
        # Zeros are put there, but its content must lie where it does.
        mirrored=(padded[0] - image[0], padded[1] - image[1]),
        shape=(shape[0], shape[1]),
        stride=(stride[0], stride[1]),
        offset=(offset[0], offset[1]),
    )


def _patch_geometry(image: Pair, windows: Windows, border: str) -> MapGeometry:
    margins = [
        Fraction(size - step, 2) for size, step in zip(windows.size, windows.interval, strict=True)
    ]
    before = [floor(m) if border == "cover" else 0 for m in margins]
    padded = windows.content.shape
    origin = max(0, before[0]), max(0, before[1])
    # Where margin and rounded margin differ, cells lie half a px beside the image's.
    offset = [margins[a] - before[a] for a in (0, 1)]
    return MapGeometry(
        image=image,
        padded=padded,
        origin=origin,
        mirrored=(padded[0] - image[0], padded[1] - image[1]),
        shape=windows.count,
        stride=(Fraction(windows.interval[0]), Fraction(windows.interval[1])),
        offset=(offset[0], offset[1]),
    )
