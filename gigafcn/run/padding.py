"""Is an image padded to the model's period, or does the model see it as it is?

Padding to a period is the rule.  A model without a period sees the image itself, and so does one
that pads it on both sides by itself.  Where both are possible ``--pad`` chooses.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from gigafcn.errors import GigafcnError, ModelError, UsageError
from gigafcn.plan.map_geometry import map_geometry, unpadded_geometry, unpadded_size
from gigafcn.schedule.job import graph_of, local_graph

if TYPE_CHECKING:
    from gigafcn.analysis import Footprint
    from gigafcn.graph.programs import Programs
    from gigafcn.plan.map_geometry import MapGeometry

log = logging.getLogger(__name__)

Pair = tuple[int, int]
Laid = tuple["MapGeometry", "Footprint"]


def laid_out(
    image: Pair, footprint: Footprint, traced: Programs, *, border: str, pad: str | None
) -> Laid:
    """How map and image relate, and the footprint at the size of the model's input.

    Parameters
    ----------
    image
        Size (y, x) in px.
    footprint
        Of the model, at any size.
    traced
        Its traces.
    border
        "cover" or "valid", for models that lose a margin.
    pad
        "period", "none", or None for what suits the model.

    Raises
    ------
    UsageError
        If what was asked for is not possible, with the reason.
    ModelError
        If nothing is.
    """
    if pad == "period" and footprint.no_period:
        raise UsageError(
            f"pad period: the model has no period to which images could be padded "
            f"({footprint.no_period}); leave --pad out, then it sees the image itself"
        )
    suits = not footprint.no_period and not footprint.pads_itself
    if pad == "period" or (pad is None and suits):
        try:
            return _by_period(image, footprint, traced, border)
        except ModelError as error:
            if pad == "period" or any(footprint.lost):
                raise
            found = _if_possible(image, footprint, traced, border)
            if found is None:
                raise
            log.warning("the model does not take the padded image: %s; it sees the image as it is",
                        error)  # fmt: skip
            return found
    if pad is None and footprint.pads_itself:
        return _if_possible(image, footprint, traced, border) or _by_period(
            image, footprint, traced, border
        )
    try:
        return as_it_is(image, footprint, traced, border)
    except ModelError as error:
        if pad is None:
            raise
        raise UsageError(
            f"pad none: {error}" + ("" if footprint.no_period else "; leave --pad out")
        ) from error


def as_it_is(image: Pair, footprint: Footprint, traced: Programs, border: str) -> Laid:
    """The same for a model that sees the image itself.

    Raises
    ------
    ModelError
        If it does not take the image, or is not local there, or its map does not fit.
    """
    size = unpadded_size(image, footprint.lost, border)
    if any(footprint.lost) and not footprint.no_period:
        padded = _geometry(image, footprint, border).padded
        if padded != size:
            raise ModelError(
                f"the model loses {footprint.lost[0]} x {footprint.lost[1]} px and uses images of "
                f"{size[0]} x {size[1]} px not to the last px, but those of {padded[0]} x "
                f"{padded[1]} px"
            )
    graph = local_graph(traced.at(size).choose(footprint.output or None))
    geometry = unpadded_geometry(
        image,
        period=footprint.period,
        stride=footprint.stride,
        lost=footprint.lost,
        gives=graph.result.grid,
        border=border,
    )
    return geometry, footprint.at(graph)


def footprint_at(footprint: Footprint, traced: Programs, geometry: MapGeometry) -> Footprint:
    """The footprint at the size of the padded image, where the model must do what it always does.

    Raises
    ------
    NonLocalError
        If it does something else there.
    ModelError
        If it does not take images of that size.
    """
    try:
        program = traced.at(geometry.padded)
    except ModelError as error:
        if footprint.only is None:
            raise
        raise ModelError(
            f"the model takes images of {footprint.only[0]} x {footprint.only[1]} px (y, x) only, "
            f"and this one is padded to {geometry.padded[0]} x {geometry.padded[1]} px"
        ) from error
    return footprint.at(graph_of(program.choose(footprint.output or None), geometry))


def _by_period(image: Pair, footprint: Footprint, traced: Programs, border: str) -> Laid:
    geometry = _geometry(image, footprint, border)
    return geometry, footprint_at(footprint, traced, geometry)


def _if_possible(image: Pair, footprint: Footprint, traced: Programs, border: str) -> Laid | None:
    try:
        return as_it_is(image, footprint, traced, border)
    except GigafcnError:
        return None


def _geometry(image: Pair, footprint: Footprint, border: str) -> MapGeometry:
    return map_geometry(
        image,
        period=footprint.period,
        stride=footprint.stride,
        lost=footprint.lost,
        used=_used(footprint),
        border=border,
    )


def _used(footprint: Footprint) -> Pair:
    """One input size (y, x) that the model uses to the last pixel."""
    assert footprint.graph is not None
    sizes = [
        int(footprint.graph.result.grid[a] * footprint.stride[a]) + footprint.lost[a]
        for a in (0, 1)
    ]
    return sizes[0], sizes[1]
