"""At which resolution is a slide mapped: which level, and is it resampled to the model's mpp?

What the model wants comes from ``--mpp`` or from its author; what the slide has from
``--slide-mpp`` or from the slide.  The coarsest level that is no coarser than wanted is resampled,
unless a level is wanted to within the tolerance: that one is read as it is.  A level that was asked
for is read as it is too, unless an mpp was asked for beside it.  A model that states an mpp on a
slide of unknown resolution is refused: a guess would give a map of something else.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING

from gigafcn.errors import Answer, QuestionError, SlideError, UsageError
from gigafcn.output.place import MICROMETER, Place
from gigafcn.plan.image_grid import ImageGrid, micrometres
from gigafcn.run import choices
from gigafcn.slide.mpp import LEAST_UM, MOST_UM
from gigafcn.slide.traits import Position

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gigafcn.model.loading import LoadedModel
    from gigafcn.run.options import Options
    from gigafcn.slide.protocol import Level, Slide

log = logging.getLogger(__name__)

MOST_ENLARGED = 4
"""A slide may be coarser than the model wants by this factor; beyond it something is mistaken."""

MOST_REDUCED = 256
"""A level may be finer than the model wants by this factor."""

_SAME = 1 + Fraction(1, 10**9)  # sizes that differ less are equal: they were divided and multiplied
Mpp = tuple[float, float]


def image_grid(slide: Slide, model: LoadedModel, options: Options) -> ImageGrid:
    """The image that is mapped, said in the log.

    Raises
    ------
    SlideError
        If the model wants an mpp and the slide's is unknown, or too far from it.
    UsageError
        If there is no such level, or the user must say how large a level's px are.
    """
    said = tuple(replace(at, downsample=at.stated or at.downsample) for at in slide.levels)
    if said == slide.levels:
        grid = _grid(slide, slide.levels, model, options)
    else:
        grid = _settled(slide, *(_tried(slide, at, model, options) for at in (slide.levels, said)))
    _tell(slide, grid)
    return grid


def _tried(
    slide: Slide, levels: Sequence[Level], model: LoadedModel, options: Options
) -> ImageGrid | SlideError:
    """The grid for these levels, or why there is none."""
    try:
        return _grid(slide, levels, model, options)
    except SlideError as error:
        return error


def _grid(slide: Slide, levels: Sequence[Level], model: LoadedModel, options: Options) -> ImageGrid:
    """The image that is mapped where the levels of the slide are these."""
    wanted = _pair(model.mpp if options.mpp is None else options.mpp)
    own = choices.mpp(slide, options.slide_mpp)
    pyramid = _Pyramid(slide.name, levels)
    if options.level is not None and options.mpp is None:
        level = choices.level(slide, options.level)
        return _as_stored(pyramid, level, own, f"level {level} was asked for")
    if wanted is None:
        return _as_stored(pyramid, 0, own, f"model {model.name} states no mpp")
    if own is None:
        raise SlideError(_refusal(slide, model, options, wanted))
    levels_asked = None if options.level is None else [choices.level(slide, options.level)]
    return _wanted(pyramid, levels_asked or range(len(levels)), options, own, wanted)


def _settled(
    slide: Slide, by_sizes: ImageGrid | SlideError, by_metadata: ImageGrid | SlideError
) -> ImageGrid:
    """The grid, where it does not matter which of sizes and metadata of levels are right.

    Raises
    ------
    QuestionError
        Where it does: with both numbers of the finest level that is in doubt.
    """
    doubtful = [number for number, at in enumerate(slide.levels) if at.stated is not None]
    if isinstance(by_sizes, SlideError) and isinstance(by_metadata, SlideError):
        raise by_sizes
    if isinstance(by_sizes, ImageGrid) and by_sizes == by_metadata:
        log.warning(
            "%s: level %d is read alone; the scales of level %s, which contradict their sizes, are "
            "ignored",
            slide.name, by_sizes.level, ", ".join(map(str, doubtful)),
        )  # fmt: skip
        return by_sizes
    read = by_sizes.level if isinstance(by_sizes, ImageGrid) else 0
    level = read if read in doubtful else doubtful[0]
    at, base = slide.levels[level], slide.levels[0].shape
    assert at.stated is not None
    size, said = _factors(at.downsample), _factors(at.stated)
    raise QuestionError(
        f"level {level} of {slide.name} has {at.shape[0]} x {at.shape[1]} of the "
        f"{base[0]} x {base[1]} px (y, x) of level 0, so its px are {size} times as large, but "
        f"its metadata say {said} times",
        [
            Answer("levels_from", "sizes", f"{size} times: {_told(by_sizes)}"),
            Answer("levels_from", "metadata", f"{said} times: {_told(by_metadata)}"),
        ],
    )


def _told(grid: ImageGrid | SlideError) -> str:
    return grid.described if isinstance(grid, ImageGrid) else "refused"


def _factors(pair: tuple[float, float]) -> str:
    y, x = pair
    return f"{y:.6g}" if y == x else f"{y:.6g} x {x:.6g}"


@dataclass(frozen=True, slots=True)
class _Pyramid:
    """Levels of a slide, and what they count as."""

    name: str
    levels: Sequence[Level]


def _wanted(
    slide: _Pyramid, levels: Sequence[int], options: Options, own: Mpp, wanted: Mpp
) -> ImageGrid:
    """The grid of a slide of ``own`` micrometres per level-0 px for the ``wanted`` ones."""
    sizes = {level: _level_mpp(slide, level, own) for level in levels}
    tolerance = Fraction(str(options.mpp_tolerance))
    target = Fraction(str(wanted[0])), Fraction(str(wanted[1]))

    def off(level: int) -> Fraction:
        return max(abs(s / t - 1) for s, t in zip(sizes[level], target, strict=True))

    nearest = min(levels, key=off)
    if off(nearest) <= tolerance:
        reason = f"within {options.mpp_tolerance:.2%} of the {micrometres(wanted)} wanted"
        return _as_stored(slide, nearest, own, reason)
    limits = tuple(t * _SAME for t in target)
    finer = [n for n in levels if sizes[n][0] <= limits[0] and sizes[n][1] <= limits[1]]
    level = max(finer, default=levels[0])
    return _resampled(slide, level, (sizes[level], target), own, micrometres(wanted))


def _resampled(
    slide: _Pyramid,
    level: int,
    sizes: tuple[tuple[Fraction, Fraction], tuple[Fraction, Fraction]],
    own: Mpp,
    wanted: str,
) -> ImageGrid:
    """The grid of a level resampled from its px size to another; both in micrometres."""
    stored, found = slide.levels[level].shape, []
    for axis, (have, want) in enumerate(zip(*sizes, strict=True)):
        if have > want * MOST_ENLARGED or want > have * MOST_REDUCED:
            raise SlideError(
                f"{slide.name} has {float(have):.4g} µm/px along {'yx'[axis]} and {wanted} are "
                f"wanted: it can be enlarged {MOST_ENLARGED} times and reduced {MOST_REDUCED} "
                f"times at most; check --mpp and --slide-mpp, in µm/px, or give --level N to map "
                f"its pixels as they are"
            )
        found.append(max(1, round(stored[axis] * have / want)))
    shape = found[0], found[1]
    reason = f"{wanted} are wanted"
    if shape == stored:
        return _as_stored(slide, level, own, f"{reason}, less than half a px from it in all")
    return ImageGrid(
        level, stored, shape, _pixel(slide, level, shape), _grid_mpp(slide, level, shape, own),
        reason,
    )  # fmt: skip


def _as_stored(slide: _Pyramid, level: int, own: Mpp | None, reason: str) -> ImageGrid:
    shape = slide.levels[level].shape
    mpp = None if own is None else _grid_mpp(slide, level, shape, own)
    return ImageGrid(level, shape, shape, _pixel(slide, level, shape), mpp, reason)


def _pixel(slide: _Pyramid, level: int, shape: tuple[int, int]) -> tuple[Fraction, Fraction]:
    """Level-0 px per px of a level resampled to a shape."""
    at = slide.levels[level]
    y, x = (
        Fraction(str(down)) * stored / n
        for down, stored, n in zip(at.downsample, at.shape, shape, strict=True)
    )
    return y, x


def _grid_mpp(slide: _Pyramid, level: int, shape: tuple[int, int], own: Mpp) -> Mpp:
    """Micrometres per px of a level resampled to a shape."""
    y, x = (
        float(Fraction(str(m)) * p) for m, p in zip(own, _pixel(slide, level, shape), strict=True)
    )
    return y, x


def _level_mpp(slide: _Pyramid, level: int, own: Mpp) -> tuple[Fraction, Fraction]:
    y, x = (
        Fraction(str(m)) * Fraction(str(down))
        for m, down in zip(own, slide.levels[level].downsample, strict=True)
    )
    return y, x


def placed(slide: Slide, grid: ImageGrid, mpp: Mpp | None) -> Place:
    """Where the image lies in the slide's own coordinates.

    A slide that states a position keeps it: in micrometres where px have a size, of which a size
    given by the user stretches it; else in whatever the slide counts in.
    """
    said = slide.traits.position or Position((1.0, 1.0), (0.0, 0.0), (None, None))
    if mpp is None:
        return Place(said.px, said.first, said.units, grid.pixel)
    first = [
        float(Fraction(str(at)) / Fraction(str(px)) * Fraction(str(m)))
        for at, px, m in zip(said.first, said.px, mpp, strict=True)
    ]
    return Place(mpp, (first[0], first[1]), (MICROMETER, MICROMETER), grid.pixel)


def _tell(slide: Slide, grid: ImageGrid) -> None:
    (log.info if grid.resampled else log.debug)("resolution: %s", grid.described)
    if any(n > m for n, m in zip(grid.shape, grid.stored, strict=True)):
        log.warning(
            "%s is coarser than the model wants, so it is enlarged, which adds no detail: the "
            "model may do worse than on slides of its own resolution",
            slide.name,
        )


def _refusal(slide: Slide, model: LoadedModel, options: Options, wanted: Mpp) -> str:
    if options.mpp is None:
        who = f"model {model.name} was trained at {micrometres(wanted)}"
    else:
        who = f"{micrometres(wanted)} are wanted"
    return (
        f"{who}, and {slide.name} does not say how large its pixels are, or says what is not "
        f"between {LEAST_UM:g} and {MOST_UM:g} µm/px; give it with --slide-mpp UM, or --level 0 "
        f"to map its pixels as they are"
    )


def _pair(mpp: float | Mpp | None) -> Mpp | None:
    """Micrometres per px (y, x).

    Raises
    ------
    UsageError
        If they are not positive.
    """
    if mpp is None:
        return None
    pair = (mpp, mpp) if isinstance(mpp, int | float) else (mpp[0], mpp[1])
    if min(pair) <= 0:
        raise UsageError(f"mpp must be positive, got {mpp} µm/px")
    return float(pair[0]), float(pair[1])
