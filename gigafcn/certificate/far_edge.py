"""By how much do the image padded to the period and the image itself differ, where the image ends?

The module runs on a window at the image's lower right corner both ways, as an image of its own.
Which of the two is the whole run is a definition; how much hangs on it is measured.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import lcm
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from gigafcn.engine.forward import Forward, placed_module
from gigafcn.engine.pixels import activated
from gigafcn.engine.precision import as_asked
from gigafcn.errors import ModelError, RunError

if TYPE_CHECKING:
    from torch import Tensor

Pair = tuple[int, int]

SIDE_PX = 256
"""Side of a window, about."""

LIKELY = 32
"""Px of which what a model pads to by itself is a divisor; windows begin on multiples."""


@dataclass(frozen=True, slots=True)
class FarEdge:
    """Scores of a window at the far edge, of the padded image against the image itself."""

    source: str
    """"of the image" or "of noise"."""

    window: Pair
    """Px (y, x)."""

    padded: Pair
    """The same, padded to the period."""

    difference: float | None
    """Largest of all scores; None if the module does not take the window as it is."""

    largest: float
    """Largest absolute score."""

    from_edge: Pair
    """Map px (y, x) from the lower and the right edge to where it is; 0 is the last row."""

    share: float
    """Part of the window's map px of which some score differs by more than a thousandth of the
    largest."""

    def __str__(self) -> str:
        """One line."""
        y, x = self.window
        if self.difference is None:
            return f"the model takes the last {y} x {x} px only padded"
        rows, columns = self.from_edge
        return (
            f"padded to the period or not, scores of the last {y} x {x} px {self.source} differ "
            f"by at most {self.difference:.2g} (largest {self.largest:.2g}), {rows} map px above "
            f"the last row and {columns} before the last column"
        )


def far_corner(image: Pair, period: Pair) -> Pair | None:
    """Where a window at the far edge begins, px (y, x); None if there is nothing to pad."""
    if all(n % p == 0 for n, p in zip(image, period, strict=True)):
        return None
    units = [lcm(p, LIKELY) for p in period]
    y, x = (max(0, (n - SIDE_PX) // unit * unit) for n, unit in zip(image, units, strict=True))
    return y, x


def far_edge(
    run: Forward,
    pixels: Tensor,
    period: Pair,
    *,
    activation: str = "none",
    source: str = "of noise",
) -> FarEdge | None:
    """Run a module on a window at the far edge, padded and as it is.

    Parameters
    ----------
    run
        The module, which is left as it is, and which output counts.
    pixels
        The model's input (1, c, y, x) for the window.
    period
        Px (y, x).
    activation
        What makes scores of the output.

    Returns
    -------
    FarEdge or None
        None if the module fails on the padded window.
    """
    height, width = pixels.shape[2:]
    rows, columns = -height % period[0], -width % period[1]
    padded = functional.pad(pixels, (0, columns, 0, rows), mode="replicate")
    sizes = {"window": (height, width), "padded": (height + rows, width + columns)}
    try:
        with_padding = _scores(run, padded, activation)
    except (RunError, ModelError):
        return None
    try:
        itself = _scores(run, pixels, activation)
    except (RunError, ModelError):
        largest = float(with_padding.abs().max())
        return FarEdge(source, **sizes, difference=None, largest=largest, from_edge=(0, 0), share=0)
    y, x = (min(a, b) for a, b in zip(with_padding.shape[2:], itself.shape[2:], strict=True))
    both = [scores[:, :, :y, :x].double() for scores in (with_padding, itself)]
    apart = (both[0] - both[1]).abs().nan_to_num(0.0).amax(dim=1)[0]
    largest = float(both[1].abs().nan_to_num(0.0).max())
    at = divmod(int(apart.argmax()), x)
    return FarEdge(
        source,
        **sizes,
        difference=float(apart.max()),
        largest=largest,
        from_edge=(y - 1 - at[0], x - 1 - at[1]),
        share=float((apart > largest / 1000).double().mean()),
    )


def _scores(run: Forward, pixels: Tensor, activation: str) -> Tensor:
    with as_asked(), torch.inference_mode():
        own = Forward(placed_module(run.module, pixels.device, pixels.dtype), run.output)
        return activated(own(pixels), activation)
