"""How a picture of a slide, or of a part of it, is made in bounded memory.

Of a part nothing else is read.  The coarsest level that is still as large as wanted (the finest
when none is) is reduced by a whole factor: each pixel of the thumbnail is the mean of a block.  The
level is read in bands of whole blocks, and where stored tiles are taller than these in stripes of
columns, so memory is bounded however large the slide.  Of more than 2^28 px only some rows of each
block are read: enough for a first look, and much faster where rows can be read apart.  What cannot
be read is shown as the slide's background.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from gigafcn.errors import UsageError
from gigafcn.geometry import Box, Span
from gigafcn.slide.protocol import colours_of

if TYPE_CHECKING:
    from gigafcn.slide.protocol import Level, Pixels, Slide

_BAND_BYTES = 16 << 20
_DECODED_BYTES = 32 << 20
"""Decoded segments of a stripe of columns, which lie in memory while it is read."""
_WHOLE_PX = 1 << 28
"""Largest level of which every pixel is read."""
_ROWS_READ = 8
"""Rows of each block that are read of larger levels."""
_MOST_THREADS = 4  # each holds a band of its own
_PERCENTILES = (0.5, 99.5)


def read_thumbnail(
    slide: Slide, max_px: int = 1024, *, box: Box | None = None, threads: int = 1
) -> Pixels:
    """Small RGB picture of a slide or of a part of it, its longer side at most ``max_px``.

    uint8 values are shown as they are; others are stretched between their percentiles 0.5 and
    99.5, together for three channels, else each by itself.  One channel is shown grey, of more
    than three the first three, and alpha is not.

    Parameters
    ----------
    slide
        Any open slide.
    max_px
        Longest side of the picture, at least 1 px.
    box
        The part shown, in level-0 px, to the nearest px of the level that is read; None shows
        the whole slide.
    threads
        That read side by side, each a stripe of columns; of many, four.

    Returns
    -------
    numpy.ndarray
        (y, x, 3) uint8.

    Raises
    ------
    UsageError
        If ``max_px`` is below 1, or the box is empty or not inside the slide.

    Examples
    --------
    >>> from gigafcn.slide.array import ArraySlide
    >>> read_thumbnail(ArraySlide(np.zeros((100, 50), np.uint8)), max_px=10).shape
    (10, 5, 3)
    """
    if max_px < 1:
        raise UsageError(f"a thumbnail needs at least 1 px, got max_px={max_px}")
    whole = Box.whole(slide.levels[0].shape)
    if box is not None and (box.is_empty or not whole.contains(box)):
        raise UsageError(
            f"a thumbnail shows part of the slide: box {tuple(box)} (y0, x0, y1, x1) is empty or "
            f"not inside {whole.y1} x {whole.x1} px (y, x)"
        )
    parts = [_on_level(box, level) for level in slide.levels]
    enough = [n for n, part in enumerate(parts) if max(part.shape) >= max_px]
    level = max(enough, default=0)
    factor = -(-max(parts[level].shape) // max_px)
    means = _reduced(slide, level, parts[level], factor, threads)
    return _rgb(means, slide.dtype)


def _on_level(box: Box | None, level: Level) -> Box:
    """Px of a level nearest to a box of level-0 px, at least one; the whole level for None."""
    if box is None:
        return Box.whole(level.shape)
    spans = []
    for span, scale, size in zip(box.spans, level.downsample, level.shape, strict=True):
        start = min(round(span.start / scale), size - 1)
        spans.append(Span(start, min(max(round(span.stop / scale), start + 1), size)))
    return Box.of(*spans)


def _reduced(slide: Slide, level: int, part: Box, factor: int, threads: int) -> Pixels:
    """Block means of a part of a level, (y, x, c) float32."""
    threads = min(threads, _MOST_THREADS)
    widest = min(_stripe_px(slide, level), -(-part.x.size // threads))
    stripe = factor * max(1, widest // factor)
    stripes = [
        part._replace(x0=x, x1=min(x + stripe, part.x1)) for x in range(part.x0, part.x1, stripe)
    ]
    with ThreadPoolExecutor(threads, "gigafcn-thumbnail") as pool:
        reduced = pool.map(lambda one: _of_stripe(slide, level, one, part, factor), stripes)
        return np.concatenate(list(reduced), axis=1)


def _stripe_px(slide: Slide, level: int) -> int:
    """Columns read from top to bottom before the next, so that what is decoded at once is small."""
    column_bytes = slide.levels[level].decoded_rows * slide.channels * slide.dtype.itemsize
    return max(1, _DECODED_BYTES // max(1, column_bytes))


def _of_stripe(slide: Slide, level: int, stripe: Box, part: Box, factor: int) -> Pixels:
    """Block means of some columns of a part, band by band."""
    height, width = part.shape
    rows_out = -(-height // factor)
    sampled = height * width > _WHOLE_PX and factor > _ROWS_READ
    rows = _ROWS_READ if sampled else factor
    row_bytes = stripe.x.size * slide.channels * max(4, slide.dtype.itemsize)
    per_band = 1 if sampled else max(1, _BAND_BYTES // (row_bytes * factor))
    out = np.empty((rows_out, -(-stripe.x.size // factor), len(colours_of(slide))), np.float32)
    for first in range(0, rows_out, per_band):
        last = min(first + per_band, rows_out)
        top, bottom = first * factor, min(last * factor, height)
        if sampled:
            top += max(0, (bottom - top - rows) // 2)
            bottom = min(bottom, top + rows)
        band = Box.of(Span(top, bottom), Span(0, stripe.x.size)).shift(stripe.y0, stripe.x0)
        out[first:last] = _block_means(slide, level, band, (rows, factor))
    return out


def _block_means(slide: Slide, level: int, band: Box, block: tuple[int, int]) -> Pixels:
    """Means over blocks of a band, read in pieces of bounded size; edge blocks may be smaller."""
    rows, columns = block
    row_bytes = band.y.size * slide.channels * max(4, slide.dtype.itemsize)
    step = columns * max(1, _BAND_BYTES // (row_bytes * columns))
    colours = colours_of(slide) if slide.traits.alpha is not None else None
    pieces = []
    for x in range(band.x0, band.x1, step):
        pixels = slide.look(band._replace(x0=x, x1=min(x + step, band.x1)), level, colours).pixels
        sums = _block_sums(_block_sums(pixels, rows, 0), columns, 1)
        pieces.append(
            sums
            / _counts(pixels.shape[0], rows)[:, np.newaxis, np.newaxis]
            / _counts(pixels.shape[1], columns)[:, np.newaxis]
        )
    return np.concatenate(pieces, axis=1)


def _block_sums(pixels: Pixels, block: int, axis: int) -> Pixels:
    """Sums over blocks along one axis in float32, the last of what is left of it.

    Whole slices are added, one for each place in a block: ten times as fast as numpy's reduceat.
    """
    lines = np.moveaxis(pixels, axis, 0)
    sums = lines[::block].astype(np.float32)
    for place in range(1, block):
        more = lines[place::block]
        sums[: len(more)] += more
    return np.moveaxis(sums, 0, axis)


def _counts(size: int, block: int) -> Pixels:
    """Entries of each block along an axis."""
    starts = np.arange(0, size, block)
    return np.minimum(starts + block, size) - starts


def _rgb(means: Pixels, dtype: np.dtype[np.generic]) -> Pixels:
    """Choose three channels and bring them to uint8."""
    shown = means[..., :3]
    if dtype != np.uint8:
        shown = _stretched(shown)
    shown = np.clip(np.rint(shown), 0, 255).astype(np.uint8)
    if shown.shape[2] == 1:
        return np.repeat(shown, 3, axis=2)
    missing = 3 - shown.shape[2]
    return np.pad(shown, ((0, 0), (0, 0), (0, missing)))


def _stretched(means: Pixels) -> Pixels:
    """Map the percentiles to 0 and 255."""
    finite = np.nan_to_num(means, nan=0.0, posinf=0.0, neginf=0.0)
    axis = None if means.shape[2] == 3 else (0, 1)
    low, high = np.percentile(finite, _PERCENTILES, axis=axis)
    span = np.where(high > low, high - low, 1.0)
    stretched: Pixels = (finite - low) / span * 255.0
    return stretched
