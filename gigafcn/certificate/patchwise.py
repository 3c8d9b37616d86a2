"""How far is the map of a converted classifier from the classifier's answers patch by patch?

For networks that do not pad they must be equal up to rounding; for those that do, each patch alone
has a border of its own, which a dense map has not, and the difference is a figure to judge by.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from gigafcn.certificate.compare import Window
from gigafcn.convert.conversion import ROUNDING, noise
from gigafcn.convert.patches import MEASURED_PX, measure_difference
from gigafcn.engine.precision import as_asked
from gigafcn.graph.export import precision_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gigafcn.certificate.sizes import Pair
    from gigafcn.convert import Conversion


@dataclass(frozen=True, slots=True)
class Patchwise:
    """Dense map against answers patch by patch, on one window."""

    patch: Pair
    """Px (y, x)."""

    output_stride: Pair
    """Px (y, x) from one patch to the next."""

    pads: bool
    """Whether the classifier pads, so that the two may differ by more than rounding."""

    source: str
    """"noise" or "slide"."""

    position: Pair | None
    """Px (y, x) of the window's corner in the slide."""

    window: Pair
    """Px (y, x)."""

    patches: int
    """How many were compared."""

    largest: float
    """Largest difference of a score."""

    mean: float
    scale: float
    """Largest score of a patch, in absolute value."""

    labels: float
    """Share of patches whose highest score is another class."""

    bound: float
    """Of the largest difference, for networks that do not pad: what rounding explains."""

    seconds: float = 0.0

    @property
    def within(self) -> bool:
        """Whether the difference is one of rounding, or the network pads."""
        return self.pads or self.largest <= self.bound

    def __str__(self) -> str:
        return (
            f"dense map and patches differ by at most {self.largest:.2g}, on average "
            f"{self.mean:.2g} (largest score {self.scale:.2g}), and in {100 * self.labels:.1f} % "
            f"of {self.patches} labels"
        )


def compare_patches(
    conversion: Conversion, windows: Callable[[Pair], Sequence[Window]] | None = None
) -> Patchwise:
    """Compare a converted classifier's map with its original, in its own precision.

    Parameters
    ----------
    windows
        Gives windows of the size it is asked for, of which the first is taken; None is noise.
    """
    start = time.perf_counter()
    sides = zip(conversion.patch, conversion.stride, strict=True)
    height, width = (patch + MEASURED_PX * stride for patch, stride in sides)
    size = height, width
    window = Window(noise(conversion, 1, size)) if windows is None else windows(size)[0]
    parameter = next(conversion.original.parameters(), window.pixels)
    dtype = precision_of(conversion.original)
    with as_asked():
        found = measure_difference(conversion, window.pixels.to(parameter.device, dtype))
    return Patchwise(
        patch=conversion.patch,
        output_stride=conversion.stride,
        pads=conversion.pads,
        source=window.source,
        position=window.position,
        window=size,
        patches=found.patches,
        largest=found.largest,
        mean=found.mean,
        scale=found.scale,
        labels=found.labels,
        bound=ROUNDING * torch.finfo(dtype).eps * found.scale,
        seconds=round(time.perf_counter() - start, 3),
    )
