"""A few windows of a slide, to see what its pixels are like.

Windows lie where the run computes, and on stained tissue where a coarser level shows some; spread
evenly, the same each time.  Nothing else of the slide is read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from gigafcn.geometry import Box, Span
from gigafcn.slide.marks import Mark
from gigafcn.slide.thumbnail import read_thumbnail
from gigafcn.slide.tissue import tissue_mask

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from gigafcn.slide.protocol import Slide

PLACES = 6
"""Windows along each axis of an area of which nothing is known."""

WINDOWS = 24
"""Windows on tissue."""

WINDOW_PX = 64
"""Side of a window."""

COARSE_PX = 256
"""Longer side of the picture that shows where tissue is."""

LEAST_COLOUR = 0.07
"""Saturation of stained px in a window."""

_WHOLE_PX = 1 << 28
"""Of more px only some can be looked at, which shows nothing of the others."""


@dataclass(frozen=True, slots=True)
class Sample:
    """Px of some windows."""

    px: NDArray[np.float64]
    """(px, channels) stored values, of the channels that the model sees."""

    tissue: NDArray[np.bool_]
    """(px,) whether each is stained; all are where no stain can be told."""

    @property
    def flat(self) -> bool:
        """Whether all px are the same."""
        return bool((self.px == self.px[0]).all())


def sample_of(
    slide: Slide, level: int, channels: tuple[int, ...], areas: Sequence[Box]
) -> Sample | None:
    """Px of some windows of a level; None if none of them holds any.

    Parameters
    ----------
    areas
        Px of the level among which to look: one box that is searched for tissue, or several, with
        a window in each, or none.
    """
    if not areas:
        return None
    boxes = [_around(box, _MIDDLE) for box in areas]
    if len(areas) == 1:
        places = _on_tissue(slide, level, areas[0]) or _GRID
        boxes = sorted({_around(areas[0], place) for place in places})
    found = []
    for box in boxes:
        reading = slide.look(box, level)
        held = reading.marks is None or reading.marks == Mark.HELD
        found.append(reading.pixels[held].reshape(-1, slide.channels)[:, list(channels)])
    px = np.concatenate(found).astype(np.float64)
    return Sample(px, _stained(px, slide.dtype)) if len(px) else None


def every_px_alike(slide: Slide, channels: tuple[int, ...]) -> bool:
    """Whether all px of level 0 are the same; False of a single px or of too many to look at."""
    whole = Box.whole(slide.levels[0].shape)
    if not 1 < whole.area <= _WHOLE_PX:
        return False
    first: NDArray[Any] | None = None
    rows = max(1, (1 << 22) // (whole.x.size * slide.channels))
    for top in range(0, whole.y1, rows):
        band = whole._replace(y0=top, y1=min(top + rows, whole.y1))
        px = slide.look(band).pixels[..., list(channels)]
        first = px[0, 0] if first is None else first
        if (px != first).any():
            return False
    return True


_MIDDLE = (0.5, 0.5)
_GRID = [
    ((2 * y + 1) / (2 * PLACES), (2 * x + 1) / (2 * PLACES))
    for y in range(PLACES)
    for x in range(PLACES)
]


def _around(area: Box, place: tuple[float, float]) -> Box:
    """A window around a place, given as parts (y, x) of an area; wholly inside that."""
    spans = []
    for span, part in zip(area.spans, place, strict=True):
        side = min(WINDOW_PX, span.size)
        start = min(max(span.start, span.start + int(part * span.size) - side // 2),
                    span.stop - side)  # fmt: skip
        spans.append(Span(start, start + side))
    return Box.of(*spans)


def _on_tissue(slide: Slide, level: int, area: Box) -> list[tuple[float, float]]:
    """Places on tissue, spread evenly over it, as parts of an area; none without a pyramid."""
    if len(slide.levels) == 1 or slide.channels < 3 or slide.dtype != np.uint8:
        return []
    spans = [
        Span(int(span.start * step), int(span.stop * step)).clip(size)
        for span, step, size in zip(
            area.spans, slide.levels[level].downsample, slide.levels[0].shape, strict=True
        )
    ]
    mask = tissue_mask(read_thumbnail(slide, COARSE_PX, box=Box.of(*spans)))
    places = np.argwhere(mask)
    chosen = places[np.linspace(0, len(places) - 1, min(WINDOWS, len(places))).astype(int)]
    return [((y + 0.5) / mask.shape[0], (x + 0.5) / mask.shape[1]) for y, x in chosen.tolist()]


def _stained(px: NDArray[np.float64], dtype: np.dtype[Any]) -> NDArray[np.bool_]:
    """Px with colour, of an image in 8-bit colours; else, or where hardly any has, all."""
    every = np.ones(len(px), bool)
    if dtype != np.uint8 or px.shape[1] != 3:
        return every
    brightest = px.max(axis=1)
    coloured: NDArray[np.bool_] = (brightest - px.min(axis=1)) > LEAST_COLOUR * np.maximum(
        brightest, 40
    )
    return coloured if coloured.sum() >= WINDOW_PX else every
