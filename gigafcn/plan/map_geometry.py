"""Where the map lies on the image: padding, mirrored borders, strides and offsets.

The whole run is ``activation(model(normalise(pad(image))))`` cropped back.  This module says what
``pad`` and "cropped back" are for one image and one model, as numbers.  With padding "period" the
image is extended at right and below to a multiple of the model's period; with "none" the model sees
the image as it is, and the map has the size that it gives.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import ceil, floor

from gigafcn.errors import ModelError, SlideError, UsageError
from gigafcn.geometry import Box, Span

Pair = tuple[int, int]
BORDERS = ("cover", "valid")
PADS = ("none", "period")


@dataclass(frozen=True, slots=True)
class MapGeometry:
    """How image, padded image and map relate, per axis (y, x)."""

    image: Pair
    """Image size in px at the level that is read."""

    padded: Pair
    """Size of the model's input on the whole image."""

    origin: Pair
    """Position of the image's first pixel in the padded image."""

    mirrored: Pair
    """Px by which the image is mirrored outward, before (``origin``) and after it together; what
    lies beyond repeats the last of them."""

    shape: Pair
    """Map size in map px."""

    stride: tuple[Fraction, Fraction]
    """Input px per map px."""

    offset: tuple[int | Fraction, int | Fraction]
    """Map pixel j covers image px [offset + j * stride, offset + (j + 1) * stride)."""

    pad: str = "period"
    """"period", or "none": nothing is added to the image, but for mirrored margins."""

    @property
    def described(self) -> str:
        """What was added to the image, in words."""
        if self.pad == "none":
            grown = max(self.mirrored) > 0
            return "image mirrored, not padded" if grown else "image itself, not padded"
        y, x = self.padded
        return "image of whole periods" if self.padded == self.image else f"padded to {y} x {x} px"

    def cells(self, box: Box) -> Box:
        """Map box that covers an image box (y0, x0, y1, x1)."""
        spans = []
        for axis in (0, 1):
            stride, offset, span = self.stride[axis], self.offset[axis], box.spans[axis]
            start = floor((span.start - offset) / stride)
            stop = ceil((span.stop - offset) / stride)
            spans.append(Span(max(0, start), min(self.shape[axis], stop)))
        return Box.of(*spans)


def map_geometry(
    image: Pair,
    *,
    period: Pair,
    stride: tuple[Fraction, Fraction],
    lost: Pair,
    used: Pair,
    border: str = "cover",
) -> MapGeometry:
    """Geometry of a run.

    Parameters
    ----------
    image
        Image size (y, x) in px.
    period, stride, lost
        Of the model; see :class:`gigafcn.analysis.Footprint`.
    used
        For valid nets: one admissible input size (y, x) in px; others differ by whole periods.
    border
        For valid nets: "cover" mirrors the image outward so that the map covers it, "valid" writes
        the smaller map.

    Raises
    ------
    ModelError
        If the map is larger than the image.
    SlideError
        If the image has no pixel, or is too small for any valid output.
    UsageError
        If ``border`` is unknown.
    """
    if border not in BORDERS:
        raise UsageError(f"border {border!r} is not one of {', '.join(BORDERS)}")
    if min(image) < 1:
        raise SlideError(f"the image has no pixel: {image[0]} x {image[1]} px (y, x)")
    axes = [
        _axis(image[a], period[a], stride[a], lost[a], used[a], border, "yx"[a]) for a in (0, 1)
    ]
    padded, origin, shape, offset = zip(*axes, strict=True)
    mirrored = lost if border == "cover" else (0, 0)
    return MapGeometry(image, padded, origin, mirrored, shape, stride, offset)


def _axis(
    image: int, period: int, stride: Fraction, lost: int, used: int, border: str, name: str
) -> tuple[int, int, int, int]:
    """Padded size, origin, map size and offset along one axis."""
    if lost < 0:
        _refuse_larger(-lost, name)
    if lost == 0:
        return _multiple(image, period), 0, ceil(image / stride), 0
    before = lost // 2
    if border == "cover":
        return used + _multiple(image + lost - used, period), before, ceil(image / stride), 0
    shape = floor((image - lost) / stride)
    if shape < 1:
        raise SlideError(
            f"the image is {image} px along {name}, the model loses {lost} px there: nothing is "
            f"left; use border='cover', which mirrors the image outward"
        )
    return used + _multiple(image - used, period), 0, shape, before


def unpadded_size(image: Pair, lost: Pair, border: str = "cover") -> Pair:
    """Size (y, x) of the model's input if nothing but mirrored margins is added to the image."""
    y, x = (n + (lost[a] if border == "cover" else 0) for a, n in enumerate(image))
    return y, x


def unpadded_geometry(
    image: Pair,
    *,
    period: Pair,
    stride: tuple[Fraction, Fraction],
    lost: Pair,
    gives: Pair,
    border: str = "cover",
) -> MapGeometry:
    """Geometry of a run of the model on the image itself.

    Parameters
    ----------
    image, period, stride, lost, border
        See :func:`map_geometry`.
    gives
        Size (y, x) of what the model gives for :func:`unpadded_size`.

    Raises
    ------
    ModelError
        If that differs from the image by more than what sizes are rounded by.
    SlideError
        If the image has no pixel.
    """
    if min(image) < 1:
        raise SlideError(f"the image has no pixel: {image[0]} x {image[1]} px (y, x)")
    mirrored = unpadded_size((0, 0), lost, border)
    axes = []
    for a in (0, 1):
        if lost[a] < 0:
            _refuse_larger(-lost[a], "yx"[a])
        apart = image[a] + mirrored[a] - lost[a] - gives[a] * stride[a]
        rounded = max(stride[a], Fraction(period[a]))
        if not -rounded - max(stride[a], Fraction(1)) < apart <= rounded:
            raise ModelError(
                f"the model gives {gives[a]} px for an image of {image[a] + mirrored[a]} px along "
                f"{'yx'[a]}, {(image[a] + mirrored[a] - lost[a]) / stride[a]} were expected: its "
                f"size does not follow the image's"
            )
        before = lost[a] // 2
        if mirrored[a]:
            axes.append((before, min(gives[a], ceil(image[a] / stride[a])), 0))
        else:
            axes.append((0, gives[a], before))
    origin, shape, offset = zip(*axes, strict=True)
    size = unpadded_size(image, lost, border)
    return MapGeometry(image, size, origin, mirrored, shape, stride, offset, "none")


def _refuse_larger(by: int, name: str) -> None:
    raise ModelError(
        f"the model's map is {by} px larger than its image along {name}, and nothing says "
        f"which part covers the image; crop it inside the model"
    )


def _multiple(size: int, period: int) -> int:
    """Smallest multiple of ``period`` that is at least ``size`` (0 or negative sizes allowed)."""
    return -(-size // period) * period
