"""Which dimensions of a Zarr array are y, x and channels, and which image a group holds.

Named dimensions decide.  Without names a 3-D array is (y, x, c) when its last dimension has at
most 32 entries, else (c, y, x) when its first has; a 5-D one is (t, c, z, y, x).  Any dimension
that is not y, x or c must have length one: planes of a stack are not chosen silently.
"""

from __future__ import annotations

import logging
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from gigafcn.errors import SlideError
from gigafcn.slide.array import MOST_CHANNELS
from gigafcn.slide.mpp import in_micrometres, plausible_mpp
from gigafcn.slide.protocol import check_plane
from gigafcn.slide.traits import Position

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Axes:
    """Positions of y, x and c among an array's dimensions."""

    y: int
    x: int
    c: int | None
    """None for an array without channels."""

    fixed: tuple[tuple[int, int], ...] = ()
    """Position and index of every other dimension."""

    plane: tuple[tuple[str, int], ...] = ()
    """The same by name."""

    @staticmethod
    def named(
        where: str, names: Sequence[str], shape: Sequence[int], plane: Mapping[str, int]
    ) -> Axes:
        """Find y, x and c by name.

        Raises
        ------
        SlideError
            If y or x is missing, or no plane was chosen of another dimension longer than one.
        UsageError
            If there is no such plane.

        Examples
        --------
        >>> Axes.named("an array", ("c", "z", "y", "x"), (3, 5, 50, 40), {"z": 2})
        Axes(y=2, x=3, c=0, fixed=((1, 2),), plane=(('z', 2),))
        """
        lower = [name.lower() for name in names]
        if len(lower) != len(shape) or lower.count("y") != 1 or lower.count("x") != 1:
            raise SlideError(f"{where} has axes {tuple(names)} for shape {tuple(shape)}, not y, x")
        channel = next((lower.index(n) for n in ("c", "channel", "s", "band") if n in lower), None)
        axes = Axes(lower.index("y"), lower.index("x"), channel)
        others = [p for p in range(len(shape)) if p not in (axes.y, axes.x, axes.c)]
        check_plane(where, plane, {lower[p]: int(shape[p]) for p in others})
        for position in others:
            if shape[position] != 1 and lower[position] not in plane:
                raise SlideError(
                    f"{where} has {shape[position]} planes along {names[position]}; gigafcn reads "
                    f"one 2-D image with channels: choose one, with --plane "
                    f"{lower[position]}=0 to {lower[position]}={shape[position] - 1}"
                )
        chosen = [(p, plane.get(lower[p], 0)) for p in others]
        by_name = tuple((lower[p], index) for p, index in chosen)
        return Axes(axes.y, axes.x, axes.c, tuple(chosen), by_name)

    @staticmethod
    def guessed(where: str, shape: Sequence[int], plane: Mapping[str, int]) -> Axes:
        """Tell y, x and c by size.

        Raises
        ------
        SlideError
            If the shape does not tell.

        Examples
        --------
        >>> Axes.guessed("an array", (3, 500, 400), {}).c
        0
        """
        names = {2: "yx", 5: "tczyx"}.get(len(shape))  # the latter is the order of OME
        if len(shape) == 3 and shape[2] <= MOST_CHANNELS:
            names = "yxc"
        elif len(shape) == 3 and shape[0] <= MOST_CHANNELS:
            names = "cyx"
        if names is not None:
            return Axes.named(where, names, shape, plane)
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

    translations: tuple[tuple[float, ...], ...]
    """Position of the first px's centre per axis and level, 0 where not stated."""

    units: tuple[str | None, ...]
    """Unit of each axis."""

    channel_names: tuple[str, ...]
    """Labels of the channels, empty when not stated."""

    version: str
    """Of the OME-Zarr format, "?" when not stated."""

    name: str = ""
    """Free text; "" when not stated."""

    def ordered(self, order: Sequence[int]) -> Multiscale:
        """The same with its levels in another order."""
        return replace(
            self,
            paths=tuple(self.paths[level] for level in order),
            scales=tuple(self.scales[level] for level in order),
            translations=tuple(self.translations[level] for level in order),
        )

    def mpp(self, axes: Axes) -> tuple[float, float] | None:
        """Micrometres per px (y, x) at level 0, None when unknown or implausible."""
        scale = self.scales[0]
        if scale is None:
            return None
        return plausible_mpp(
            *(in_micrometres(scale[axis], self.units[axis]) for axis in (axes.y, axes.x))
        )

    def position(self, axes: Axes) -> Position | None:
        """Where level 0 lies; None when nothing is stated, or a scale that mirrors the image."""
        y, x = axes.y, axes.x
        scale, at = self.scales[0], self.translations[0]
        if scale is None and not at[y] and not at[x]:
            return None
        px = (1.0, 1.0) if scale is None else (scale[y], scale[x])
        if min(px) <= 0:
            return None
        return Position(px, (at[y], at[x]), (self.units[y], self.units[x]))

    def together(self, axes: Axes) -> tuple[int, str]:
        """How many levels, from the finest on, show the same part; and why not one more.

        Writers differ in whether a level begins at the same corner or centre as level 0, so what
        is less than one of its px is no other place.
        """
        for level, (scale, at) in enumerate(zip(self.scales, self.translations, strict=True)):
            for axis in (axes.y, axes.x):
                moved = at[axis] - self.translations[0][axis]
                px = 1.0 if scale is None else abs(scale[axis])
                if abs(moved) >= px:
                    unit = self.units[axis] or "units"
                    return level, (
                        f"level {level} lies {moved:g} {unit} from level 0 along "
                        f"{self.names[axis]}, {moved / px:g} of its px"
                    )
        return len(self.paths), ""


def read_multiscales(where: str, attributes: Mapping[str, Any]) -> tuple[Multiscale, ...]:
    """Read OME-Zarr metadata of version 0.4 or 0.5: the images of a group, mostly one.

    Raises
    ------
    SlideError
        If the metadata is there but incomplete.
    """
    ome = attributes.get("ome", attributes)
    if not isinstance(ome, Mapping) or not ome.get("multiscales"):
        return ()
    try:
        return tuple(_multiscale(image, ome) for image in ome["multiscales"])
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise SlideError(
            f"{where} has damaged OME-Zarr metadata: {error!r} in 'multiscales'; write it again"
        ) from error


def _multiscale(image: Mapping[str, Any], ome: Mapping[str, Any]) -> Multiscale:
    axes = [axis if isinstance(axis, Mapping) else {"name": axis} for axis in image["axes"]]
    outer, shift = _placed(image, len(axes))
    own = [_placed(dataset, len(axes)) for dataset in image["datasets"]]
    stretch = outer or (1.0,) * len(axes)
    scales = [None if scale is None else _each(operator.mul, scale, stretch) for scale, _ in own]
    channels = ome.get("omero", {}).get("channels", [])
    return Multiscale(
        names=tuple(str(axis["name"]) for axis in axes),
        paths=tuple(str(dataset["path"]) for dataset in image["datasets"]),
        scales=(scales[0] or outer, *scales[1:]) if scales else (),
        translations=tuple(
            _each(operator.add, _each(operator.mul, at, stretch), shift) for _, at in own
        ),
        units=tuple(axis.get("unit") for axis in axes),
        channel_names=tuple(str(c.get("label", "")) for c in channels),
        version=str(ome.get("version", image.get("version", "?"))),
        name=str(image.get("name") or ""),
    )


def _placed(
    holder: Mapping[str, Any], axes: int
) -> tuple[tuple[float, ...] | None, tuple[float, ...]]:
    """Scale and translation that the transformations of a dataset or image come to, in turn."""
    scale: tuple[float, ...] | None = None
    moved = (0.0,) * axes
    for kind, values in _steps(holder.get("coordinateTransformations", ())):
        if len(values) != axes:
            raise ValueError(f"{kind} {values} for {axes} axes")
        if kind == "scale":
            scale = values if scale is None else _each(operator.mul, scale, values)
            moved = _each(operator.mul, moved, values)
        else:
            moved = _each(operator.add, moved, values)
    return scale, moved


def _steps(transformations: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, tuple[float, ...]]]:
    """Kind and numbers of each scale and translation, in turn."""
    for one in _to_one_system(transformations):
        kind = one.get("type")
        if kind == "sequence":
            yield from _steps(one["transformations"])
        elif kind in ("scale", "translation") and kind in one:
            yield kind, tuple(float(value) for value in one[kind])
        elif kind == "affine" and _is_upright(one.get("affine", ())):
            yield "scale", tuple(float(row[at]) for at, row in enumerate(one["affine"]))
            yield "translation", tuple(float(row[-1]) for row in one["affine"])
        elif kind != "identity":
            log.warning(
                "the OME-Zarr image states a transformation %r that gigafcn does not follow: the "
                "map lies as if it were not stated", kind,
            )  # fmt: skip


def _to_one_system(transformations: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Those that lead where the first does: SpatialData lists one for each coordinate system."""
    names = [str(one.get("output")) for one in transformations]
    if len(set(names) - {"None"}) > 1:
        output = transformations[0].get("output")
        name = output.get("name") if isinstance(output, Mapping) else output
        log.warning("the OME-Zarr image lies in several coordinate systems; %r counts", name)
        return [one for one in transformations if one.get("output") == output]
    return list(transformations)


def _is_upright(rows: Sequence[Sequence[float]]) -> bool:
    """Whether an affine transformation moves and stretches axes and nothing else."""
    return len(rows) > 0 and all(
        len(row) == len(rows) + 1 and not any(row[:at]) and not any(row[at + 1 : -1])
        for at, row in enumerate(rows)
    )


def _each(
    do: Callable[[float, float], float], first: tuple[float, ...], second: tuple[float, ...]
) -> tuple[float, ...]:
    return tuple(do(a, b) for a, b in zip(first, second, strict=True))
