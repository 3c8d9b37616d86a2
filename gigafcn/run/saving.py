"""What of the map was asked to be stored: scores, labels or both, of which classes, how fine?

``classes`` has two readings, told apart by the names.  Names of the model's own classes choose
those whose scores are stored.  For a model without names of its own, or to rename them, one name
per class is given; own names among them must keep their places, since a list in another order
would silently swap classes.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from gigafcn.errors import UsageError
from gigafcn.plan.saving import Saving, blocks_of, map_mpp
from gigafcn.run.activation import dtype

if TYPE_CHECKING:
    from collections.abc import Sequence
    from fractions import Fraction

    from gigafcn.model.loading import LoadedModel
    from gigafcn.run.activation import Activation
    from gigafcn.run.options import Options

log = logging.getLogger(__name__)

Pair = tuple[int, int]


def named_classes(
    model: LoadedModel, asked: Sequence[str] | None, count: int
) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Names of all classes, and the numbers of those whose scores are stored.

    Parameters
    ----------
    asked
        As given by the user.
    count
        Of the model's output channels.

    Raises
    ------
    UsageError
        If the names neither choose among the model's classes nor name all of them.
    """
    own = model.classes or tuple(f"class {number}" for number in range(count))
    if len(own) != count:
        raise UsageError(
            f"{len(own)} class names for a model with {count} output channels: {', '.join(own)}"
        )
    if asked is None:
        return own, tuple(range(count))
    names = tuple(asked)
    if not names or len(set(names)) != len(names):
        raise UsageError(f"class names must be present and differ, got {', '.join(names)}")
    if set(names) <= set(own):
        return own, tuple(number for number, name in enumerate(own) if name in names)
    moved = (
        [name for place, name in enumerate(names) if name in own and own[place] != name]
        if (len(names) == count)
        else []
    )
    if len(names) == count and not moved:
        return names, tuple(range(count))
    odd = next(name for name in names if name not in own)
    raise UsageError(
        f"model {model.name} has no class {odd!r}: its classes are {', '.join(own)}; give some of "
        f"these to store only their scores, or {count} names, one per class in this order, to "
        f"name them anew"
    )


def saving(
    model: LoadedModel,
    options: Options,
    classes: int,
    found: Activation,
    *,
    mpp: tuple[float, float] | None,
    stride: tuple[Fraction, Fraction],
) -> Saving:
    """What is stored of a map.

    Parameters
    ----------
    classes
        Of the model's output.
    found
        What is applied to it, and what that gives.
    mpp
        Micrometres (y, x) per input px; None when unknown.
    stride
        Input px (y, x) per map px.

    Raises
    ------
    UsageError
        If it cannot be done.
    """
    _, numbers = named_classes(model, options.classes, classes)
    if options.save == "labels" and not found.exclusive:
        raise UsageError(
            f"the classes of model {model.name} do not exclude each other, so no pixel has one "
            f"label; take --save probabilities"
        )
    labels = found.exclusive and options.save != "probabilities"
    return Saving(
        scores=() if options.save == "labels" else numbers,
        labels=labels,
        dtype=dtype(options.dtype, found),
        rest=found.rest and labels,
        averaged=_averaged(options.save_mpp, mpp, stride),
    )


def _averaged(
    wanted: float | None, mpp: tuple[float, float] | None, stride: tuple[Fraction, Fraction]
) -> Pair:
    """Map px per stored px."""
    if wanted is None:
        return 1, 1
    if mpp is None:
        raise UsageError(
            f"save-mpp {wanted:g} µm needs the slide's pixel size, which it does not state; give "
            f"it with --slide-mpp"
        )
    size = map_mpp(mpp, stride)
    blocks = blocks_of(size, wanted)
    told = " x ".join(f"{n * px:.4g}" for n, px in zip(blocks, size, strict=True))
    log.info("stored with %s µm per px (y, x): means of %d x %d px of the map", told, *blocks)
    return blocks
