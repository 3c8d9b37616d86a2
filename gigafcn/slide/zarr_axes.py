"""Which dimensions of a Zarr array are y, x and channels, and which image a group holds.

Named dimensions decide.  Without names a 3-D array is (y, x, c) when its last dimension has at
most 32 entries, else (c, y, x) when its first has; a 5-D one is (t, c, z, y, x).  Any dimension
that is not y, x or c must have length one: planes of a stack are not chosen silently.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gigafcn.errors import SlideError
from gigafcn.slide.array import MOST_CHANNELS
from gigafcn.slide.mpp import in_micrometres, plausible_mpp


@dataclass(frozen=True, slots=True)
class Axes:
    """Positions of y, x and c among an array's dimensions."""

    y: int
    x: int
    c: int | None
    """None for an array without channels."""

    @staticmethod
    def named(where: str, names: Sequence[str], shape: Sequence[int]) -> Axes:
        """Find y, x and c by name.

        Raises
        ------
        SlideError
            If y or x is missing, or another dimension is longer than one.

        Examples
        --------
        >>> Axes.named("an array", ("t", "c", "z", "y", "x"), (1, 3, 1, 50, 40))
        Axes(y=3, x=4, c=1)
        """
        lower = [name.lower() for name in names]
        if len(lower) != len(shape) or lower.count("y") != 1 or lower.count("x") != 1:
            raise SlideError(f"{where} has axes {tuple(names)} for shape {tuple(shape)}, not y, x")
        channel = next((lower.index(n) for n in ("c", "channel", "s", "band") if n in lower), None)
        axes = Axes(lower.index("y"), lower.index("x"), channel)
        for position, size in enumerate(shape):
            if size != 1 and position not in (axes.y, axes.x, axes.c):
                raise SlideError(
                    f"{where} has {size} planes along {names[position]}; gigafcn reads one 2-D "
                    f"image with channels: extract one plane"
                )
        return axes

    @staticmethod
    def guessed(where: str, shape: Sequence[int]) -> Axes:
        """Tell y, x and c by size.

        Raises
        ------
        SlideError
            If the shape does not tell.

        Examples
        --------
        >>> Axes.guessed("an array", (3, 500, 400))
        Axes(y=1, x=2, c=0)
        """
        if len(shape) == 2:
            return Axes(0, 1, None)
        if len(shape) == 3 and shape[2] <= MOST_CHANNELS:
            return Axes(0, 1, 2)
        if len(shape) == 3 and shape[0] <= MOST_CHANNELS:
            return Axes(1, 2, 0)
        if len(shape) == 5 and shape[0] == shape[2] == 1:  # t, c, z, y, x: the order of OME
            return Axes(3, 4, 1)
        raise SlideError(
            f"{where} has shape {tuple(shape)} and no dimension names: it is neither (y, x) nor "
            f"(y, x, c) nor (c, y, x) with at most {MOST_CHANNELS} channels; name its dimensions"
        )


@dataclass(frozen=True, slots=True)
class Multiscale:
    """One image of an OME-Zarr group."""

    names: tuple[str, ...]
    """Names of the axes."""

    paths: tuple[str, ...]
    """Arrays of the levels within the group, finest first."""

    scales: tuple[tuple[float, ...] | None, ...]
    """Physical size of a px per axis and level, None where not stated."""

    units: tuple[str | None, ...]
    """Unit of each axis."""

    channel_names: tuple[str, ...]
    """Labels of the channels, empty when not stated."""

    def mpp(self, axes: Axes) -> tuple[float, float] | None:
        """Micrometres per px (y, x) at level 0, None when unknown or implausible."""
        scale = self.scales[0]
        if scale is None:
            return None
        return plausible_mpp(
            *(in_micrometres(scale[axis], self.units[axis]) for axis in (axes.y, axes.x))
        )


def read_multiscale(where: str, attributes: Mapping[str, Any]) -> Multiscale | None:
    """Read OME-Zarr metadata of version 0.4 or 0.5; None for a group that is no image.

    Raises
    ------
    SlideError
        If the metadata is there but incomplete.
    """
    ome = attributes.get("ome", attributes)
    if not isinstance(ome, Mapping) or not ome.get("multiscales"):
        return None
    try:
        image = ome["multiscales"][0]
        axes = [axis if isinstance(axis, Mapping) else {"name": axis} for axis in image["axes"]]
        outer = _scale(image, len(axes))
        channels = ome.get("omero", {}).get("channels", [])
        return Multiscale(
            names=tuple(str(axis["name"]) for axis in axes),
            paths=tuple(str(dataset["path"]) for dataset in image["datasets"]),
            scales=tuple(
                _product(_scale(dataset, len(axes)), outer) for dataset in image["datasets"]
            ),
            units=tuple(axis.get("unit") for axis in axes),
            channel_names=tuple(str(c.get("label", "")) for c in channels),
        )
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise SlideError(
            f"{where} has damaged OME-Zarr metadata: {error!r} in 'multiscales'; write it again"
        ) from error


def _scale(holder: Mapping[str, Any], axes: int) -> tuple[float, ...] | None:
    """Scale among the coordinate transformations of a dataset or of the whole image."""
    for transformation in holder.get("coordinateTransformations", ()):
        if transformation.get("type") == "scale" and "scale" in transformation:
            values = tuple(float(value) for value in transformation["scale"])
            if len(values) != axes:
                raise ValueError(f"scale {values} for {axes} axes")
            return values
    return None


def _product(
    inner: tuple[float, ...] | None, outer: tuple[float, ...] | None
) -> tuple[float, ...] | None:
    if inner is None or outer is None:
        return inner
    return tuple(a * b for a, b in zip(inner, outer, strict=True))
