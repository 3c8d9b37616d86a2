"""Windows of a slide to try a model on: those that show most, as the model would see them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from gigafcn.certificate.compare import Window
from gigafcn.engine.pixels import to_input
from gigafcn.engine.resampling import Resampler
from gigafcn.errors import SlideError
from gigafcn.geometry import Box
from gigafcn.run import choices
from gigafcn.run.resolution import image_grid

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gigafcn.model.loading import LoadedModel
    from gigafcn.plan.image_grid import ImageGrid
    from gigafcn.run.options import Options
    from gigafcn.slide.protocol import Pixels, Slide

    Read = Callable[[Box], Pixels]

Pair = tuple[int, int]

PLACES = 5
"""Places looked at along each axis of a slide, to find windows that show something."""

PATCH_PX = 64
"""Side of what is looked at."""


def slide_windows(
    slide: Slide, model: LoadedModel, options: Options, channels: tuple[int, ...], count: int
) -> Callable[[Pair], Sequence[Window]]:
    """What reads windows of a size where the slide shows most, at the resolution of a run.

    Raises
    ------
    SlideError
        If the model wants an mpp and the slide's is unknown, or too far from it.
    """
    grid = image_grid(slide, model, options)
    scaling = choices.scaling(slide, model, options, len(channels))
    read = _reader(slide, grid)

    def windows(size: Pair) -> list[Window]:
        found = []
        for y, x in _liveliest(read, grid.shape, size)[:count]:
            stored = read(Box(y, x, y + size[0], x + size[1]))[:, :, list(channels)]
            pixels = to_input(stored, scaling, torch.device("cpu"), torch.float64)
            found.append(Window(pixels, "slide", (y, x)))
        return found

    return windows


def window_of_image(
    slide: Slide,
    model: LoadedModel,
    options: Options,
    channels: tuple[int, ...],
    corner_of: Callable[[Pair], Pair | None],
) -> Window | None:
    """From a corner, chosen by the size of the image that is mapped, to its end; None if none is.

    Raises
    ------
    SlideError
        As :func:`slide_windows`.
    """
    grid = image_grid(slide, model, options)
    corner = corner_of(grid.shape)
    if corner is None:
        return None
    stored = _reader(slide, grid)(Box(*corner, *grid.shape))[:, :, list(channels)]
    scaling = choices.scaling(slide, model, options, len(channels))
    return Window(to_input(stored, scaling, torch.device("cpu"), torch.float64), "slide", corner)


def _reader(slide: Slide, grid: ImageGrid) -> Read:
    """What reads boxes of the image that is mapped; beyond its edge it is repeated."""
    if min(grid.shape) < 1:
        raise SlideError(f"{slide.name} has no pixel: {grid.shape[0]} x {grid.shape[1]} px (y, x)")

    def read(box: Box) -> Pixels:
        inside = box.clip(grid.shape)
        beyond = [(0, want - have) for want, have in zip(box.shape, inside.shape, strict=True)]
        return np.pad(_pixels(slide, grid, inside), (*beyond, (0, 0)), mode="edge")

    return read


def _pixels(slide: Slide, grid: ImageGrid, box: Box) -> Pixels:
    if not grid.resampled:
        return slide.look(box, grid.level).pixels
    resampler = Resampler(
        lambda stored: slide.look(stored, grid.level), grid.stored, grid.shape, slide.channels
    )
    return resampler.look(box).pixels


def _liveliest(read: Read, shape: Pair, size: Pair) -> list[Pair]:
    """Corners (y, x) of windows on a coarse grid, the one whose middle varies most first."""
    starts = [
        sorted({max(0, n - side) * i // (PLACES - 1) for i in range(PLACES)})
        for n, side in zip(shape, size, strict=True)
    ]

    def variation(corner: Pair) -> float:
        y, x = (
            min(start + side // 2, n - 1)
            for start, side, n in zip(corner, size, shape, strict=True)
        )
        return -float(read(Box(y, x, y + PATCH_PX, x + PATCH_PX)).astype(np.float64).std())

    return sorted(((y, x) for y in starts[0] for x in starts[1]), key=variation)
