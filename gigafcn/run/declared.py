"""Does what is declared of a model's input contradict itself?

The type of the stored pixels says between which values they lie, and scale, mean and standard
deviation say what the model takes.  A mean that no image of the type can have, or a deviation many
times as large as all that the type can hold, is a mistake whatever the image shows: mean and
deviation of 0..255 with pixels that are scaled to 0..1, for instance.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gigafcn.errors import UsageError

if TYPE_CHECKING:
    from gigafcn.plan.run_plan import Scaling
    from gigafcn.slide.protocol import Slide

MOST_STD = 10
"""A deviation may be this many times the whole range; that of values in a range is at most half."""

_SLACK = 1e-6  # of the range: 1/255 times 255 is not quite 1


def refuse_contradictions(slide: Slide, scaling: Scaling) -> None:
    """Refuse a normalisation that no image of the slide's type can be meant for.

    Raises
    ------
    UsageError
        Naming the number, the range of the scaled pixels and the likely mistake.
    """
    if slide.dtype.kind not in "ui":
        return  # floats may hold anything
    limits = np.iinfo(slide.dtype)
    scales = scaling.scale if isinstance(scaling.scale, tuple) else (scaling.scale,)
    count = max(len(scales), len(scaling.mean), len(scaling.std))
    for scale, mean, std in zip(
        *(_each(n, count) for n in (scales, scaling.mean, scaling.std)), strict=True
    ):
        low, high = sorted((limits.min * scale, limits.max * scale))
        where = (
            f"pixels of {slide.name} are {slide.dtype}, times scale {scale:.4g} they lie between "
            f"{low:.4g} and {high:.4g}"
        )
        slack = _SLACK * (high - low)
        if not low - slack <= mean <= high + slack:
            raise UsageError(
                f"mean {mean:g} cannot be the mean of what the model is fed: {where}; "
                f"{_likely(mean, limits.max)}"
            )
        if std != 1 and std > MOST_STD * (high - low):  # 1 divides by nothing
            raise UsageError(
                f"std {std:g} would leave nothing of what the model is fed: {where}; "
                f"{_likely(std, limits.max)}"
            )


def _each(numbers: tuple[float, ...], count: int) -> tuple[float, ...]:
    return numbers * count if len(numbers) == 1 else numbers


def _likely(number: float, largest: int) -> str:
    """What to try."""
    if 1 < number <= largest:
        return "mean and std of stored values go with --scale 1, or divide both by the largest"
    return "check --scale, --mean and --std: the model is fed (stored * scale - mean) / std"
