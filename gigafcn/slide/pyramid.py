"""How large are the px of a pyramid's levels: by their sizes, or by what the file says of them?

Sizes of levels are rounded: a level of factor 4 has a quarter of the px, less a part of one.  So a
factor that the file states holds where size times factor differs from level 0 by less than the
factor.  Beyond that one of the two is wrong, and nothing tells which: the level keeps both until
the user says what decides (``--levels-from``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gigafcn.slide.protocol import Level, downsample_of

if TYPE_CHECKING:
    from gigafcn.slide.protocol import Factors


def level_of(
    base: tuple[int, int],
    shape: tuple[int, int],
    rows: int,
    stated: Factors | None,
    levels_from: str | None,
) -> Level:
    """A level with the factors that hold, or with both where they contradict each other.

    Parameters
    ----------
    base, shape
        Px (y, x) of level 0 and of the level.
    rows
        Rows that are decoded at once.
    stated
        Level-0 px per px by the file's metadata; None when they say nothing.
    levels_from
        What decides; None leaves it open.

    Examples
    --------
    >>> level_of((1001, 800), (250, 200), 0, (4.0, 4.0), None).downsample
    (4.0, 4.0)
    >>> level_of((1000, 800), (250, 200), 0, (2.0, 2.0), None).stated
    (2.0, 2.0)
    """
    by_size = downsample_of(base, shape)
    if stated is None:
        return Level(shape, by_size, rows)
    if fits(base, shape, stated) or levels_from == "metadata":
        return Level(shape, stated, rows)
    return Level(shape, by_size, rows, None if levels_from == "sizes" else stated)


def fits(
    base: tuple[int, int], shape: tuple[int, int], factors: Factors, slack: float = 0.0
) -> bool:
    """Whether rounding explains what a level's size differs from level 0 divided by a factor.

    Parameters
    ----------
    slack
        Part of level 0 that the factor may be off by beside, for numbers that were rounded.

    Examples
    --------
    >>> fits((1001, 1003), (250, 250), (4.0, 4.0)), fits((1004, 1004), (250, 250), (4.0, 4.0))
    (True, False)
    """
    return all(
        abs(size * factor - full) < factor + slack * full
        for full, size, factor in zip(base, shape, factors, strict=True)
    )


def is_reduced(base: tuple[int, int], shape: tuple[int, int]) -> bool:
    """Whether one factor explains both sides of a level, up to rounding: it shows the same.

    Examples
    --------
    >>> is_reduced((2967, 2221), (741, 555)), is_reduced((2967, 2221), (741, 700))
    (True, False)
    """
    # Size n stands for a factor above full / (n + 1), and below full / (n - 1).
    low = max(full / (size + 1) for full, size in zip(base, shape, strict=True))
    high = min(
        full / (size - 1) if size > 1 else float("inf")
        for full, size in zip(base, shape, strict=True)
    )
    return low < high
