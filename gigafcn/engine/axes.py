"""Which dimension of what a module returns is the batch, the classes, y and x?

Modules return (b, classes, y, x), but also (b, y, x, classes), or squeeze classes or batch away.
Sizes alone may not tell: (1, 64, 64, 2) for a window of 64 px is a map of two classes, or one of 64
classes whose px are stretched.  So the module is called on a taller and on a wider window: what
grows with the one is y, with the other x, one that stays is the classes.  Of a module that takes
windows of one size, or gives maps of one, the dimensions must keep the window's proportions, and
that in one way.
"""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

from gigafcn.errors import ModelError, RunError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

Pair = tuple[int, int]
Shape = tuple[int, ...]

USUAL = "bcyx"
"""One letter per dimension: batch, classes, y, x; "1" for one of size 1 that means nothing."""

SCORES = "bc"
"""The same for a classifier."""


def axes_of(
    shape: Shape, batch: int, window: Pair, taller: Shape | None, wider: Shape | None
) -> str:
    """What each dimension of an output is.

    Parameters
    ----------
    shape
        Of the output for ``batch`` windows.
    window
        Size (y, x) of a window in px.
    taller, wider
        Of the output for as many windows that are higher, or wider; None if the module takes none
        such.

    Returns
    -------
    str
        A letter per dimension, see :data:`USUAL`.

    Raises
    ------
    ModelError
        If no dimensions, or several, may be y and x, or several the classes.

    Examples
    --------
    >>> axes_of((2, 64, 64, 3), 2, (64, 64), (2, 128, 64, 3), (2, 64, 128, 3))
    'byxc'
    >>> axes_of((2, 1000), 2, (64, 64), (2, 1000), (2, 1000))
    'bc'
    """
    if taller is None or wider is None:
        place = _by_proportion(shape, batch, window)
    elif len(shape) == len(taller) == len(wider):
        place = _by_growth(shape, taller, wider) or _by_proportion(shape, batch, window)
    else:
        raise ModelError(f"{_returned(shape)} for one window and {taller} for a taller one")
    letters = ["?"] * len(shape)
    if place is not None:
        letters[place[0]], letters[place[1]] = "y", "x"
    if letters and letters[0] == "?" and shape[0] == batch:
        letters[0] = "b"
    rest = [d for d, letter in enumerate(letters) if letter == "?"]
    classes = [d for d in rest if shape[d] > 1] or rest[:1]
    if len(classes) > 1:
        what = "of its dimensions" if place else "of its dimensions, none of which is y or x,"
        raise ModelError(
            f"{_returned(shape)}, and {len(classes)} {what} may be the classes; {_REMEDY}"
        )
    for d in rest:
        letters[d] = "c" if d in classes else "1"
    return "".join(letters)


_REMEDY = "wrap the module in one that returns (b, classes, y, x), or (b, classes) for a classifier"


def _returned(shape: Shape) -> str:
    return f"the model returns a tensor of shape {shape}"


def _by_growth(shape: Shape, taller: Shape, wider: Shape) -> Pair | None:
    """The dimensions that grow with height and with width; None if none does."""
    y = [d for d, n in enumerate(shape) if taller[d] != n]
    x = [d for d, n in enumerate(shape) if wider[d] != n]
    if not y and not x:
        return None
    if len(y) == 1 and y == x:
        raise ModelError(
            f"{_returned(shape)} whose dimension {y[0]} grows with the height and with the width "
            f"of its window: all px in a row, as tokens; {_REMEDY}"
        )
    if len(y) != 1 or len(x) != 1:
        raise ModelError(
            f"{_returned(shape)}, {taller} for a taller and {wider} for a wider window: not one "
            f"dimension grows with each; {_REMEDY}"
        )
    return y[0], x[0]


def _by_proportion(shape: Shape, batch: int, window: Pair) -> Pair | None:
    """The two dimensions, y before x, with the window's proportions; None for scores."""
    first = 1 if len(shape) > 1 and shape[0] == batch else 0
    several = [d for d in range(first, len(shape)) if shape[d] > 1]
    if len(several) <= 1:
        return None
    fitting = [
        (y, x)
        for y, x in combinations(several, 2)
        if abs(shape[y] * window[1] - shape[x] * window[0]) < max(window)
        and (len(several) > 2 or shape[y] <= window[0])
    ]
    if len(fitting) != 1:
        found = "no two" if not fitting else "several pairs"
        raise ModelError(
            f"{_returned(shape)} for a window of {window[0]} x {window[1]} px (y, x), and "
            f"{found} of its dimensions may be y and x; {_REMEDY}"
        )
    return fitting[0]


def arranged(output: Tensor, axes: str, count: int) -> Tensor:
    """An output laid out (b, classes, y, x); y and x are 1 for a classifier's.

    Parameters
    ----------
    axes
        See :func:`axes_of`.
    count
        Windows that it is for: of one window the batch may be squeezed away.

    Raises
    ------
    RunError
        If it has not these dimensions.
    """
    if axes == USUAL and output.dim() == len(USUAL):
        return output
    if output.dim() == len(axes) - 1 and count == 1 and axes.startswith("b"):
        output = output[None]
    if output.dim() != len(axes):
        raise RunError(
            f"the model's output changes between windows: {tuple(output.shape)} where "
            f"{named(axes)} was expected"
        )
    output = output.squeeze([d for d, letter in enumerate(axes) if letter == "1"])
    letters = axes.replace("1", "")
    output = output.permute([letters.index(letter) for letter in USUAL if letter in letters])
    for d, letter in enumerate(USUAL):
        if letter not in letters:
            output = output.unsqueeze(d)
    return output


def named(axes: Sequence[str]) -> str:
    """Dimensions for a message, such as "(b, y, x, classes)"."""
    return "(" + ", ".join("classes" if letter == "c" else letter for letter in axes) + ")"
