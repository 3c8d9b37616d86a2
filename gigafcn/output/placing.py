"""How does a map's grid follow from its slide's?

A map's stride and offset are in px of the model's input; these say how many level-0 px of the
slide such a px is, from what the run stored about itself: the ratio itself, or, in maps of earlier
versions, sizes that it follows from.
"""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any

from gigafcn.geometry import Box

if TYPE_CHECKING:
    from gigafcn.output.opening import StoredMap

_WHOLE = 1e-6  # relative: mpp is stored as a decimal, so a ratio of 4 may read 4.0000000001


def slide_shape(stored: StoredMap) -> tuple[int, int] | None:
    """Level-0 px (y, x) of the slide, None when the run did not say."""
    shape = _part(stored.provenance, "slide").get("shape")
    return None if shape is None else (int(shape[0]), int(shape[1]))


def slide_image(stored: StoredMap) -> int | None:
    """Number of the image that was mapped, of a file that holds several."""
    image = _part(stored.provenance, "slide").get("image")
    return None if image is None else int(image)


def slide_bounds(stored: StoredMap) -> Box | None:
    """Level-0 px that viewers show; None when the run did not ask the slide.

    A slide that was asked and names none is shown whole.
    """
    slide, shape = _part(stored.provenance, "slide"), slide_shape(stored)
    if "bounds" not in slide or shape is None:
        return None
    return Box.whole(shape) if slide["bounds"] is None else Box(*slide["bounds"])


def slide_turned(stored: StoredMap) -> bool:
    """Whether the slide was read turned, as its orientation says."""
    return bool(_part(stored.provenance, "slide").get("turned"))


def downsample(stored: StoredMap) -> tuple[float, float]:
    """Level-0 px (y, x) of the slide per input px of the model; 1 when nothing tells."""
    pixel = _part(stored.provenance, "plan").get("pixel")
    if pixel is not None:
        return float(Fraction(pixel[0])), float(Fraction(pixel[1]))
    mpp, own = _part(stored.provenance, "slide").get("mpp"), stored.spec.mpp
    if mpp is not None and own is not None:
        return _whole_if_near(own[0] / mpp[0]), _whole_if_near(own[1] / mpp[1])
    image = _part(_part(stored.provenance, "plan"), "geometry").get("image")
    shape = slide_shape(stored)
    if image is None or shape is None:
        return 1.0, 1.0
    return _ratio(shape, (image[0], image[1]))


def _ratio(base: tuple[int, int], shape: tuple[int, int]) -> tuple[float, float]:
    """Ratio of two sizes; a whole number when that explains both axes to less than a px.

    Examples
    --------
    >>> _ratio((2967, 2221), (741, 555))
    (4.0, 4.0)
    """
    ratios = (base[0] / shape[0], base[1] / shape[1])
    whole = max(1, round((ratios[0] * ratios[1]) ** 0.5))
    if all(abs(full / whole - size) < 1 for full, size in zip(base, shape, strict=True)):
        return float(whole), float(whole)
    return ratios


def _whole_if_near(ratio: float) -> float:
    nearest = round(ratio)
    return float(nearest) if abs(ratio - nearest) <= _WHOLE * ratio else ratio


def _part(described: dict[str, Any], key: str) -> dict[str, Any]:
    found = described.get(key)
    return found if isinstance(found, dict) else {}
