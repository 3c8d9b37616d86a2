"""``gigafcn export``: a finished map as a file that other programs open."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Group, Parameter
from pydantic import BaseModel, ConfigDict, Field

from gigafcn.cli.reporting import bar_progress, say, say_json
from gigafcn.cli.requests import Debug, Json
from gigafcn.config.options import flag, switch

if TYPE_CHECKING:
    from gigafcn.export import Export

Format = Literal["ome-tiff", "geojson", "png", "jpeg", "csv", "json"]

SEVERAL = Group("Several formats", sort_key=1)
TIFF = Group("OME-TIFF", sort_key=2)
OBJECTS = Group("GeoJSON", sort_key=3)
PICTURE = Group("PNG and JPEG", sort_key=4)


class ExportFlags(BaseModel):
    """Options of the formats; those that were not given keep the library's default."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    classes: Annotated[
        tuple[str, ...] | None,
        Parameter(
            name="--class", group=SEVERAL, metavar="NAME", negative="", n_tokens=1, json_list=False
        ),
    ] = None
    """Class to export, for geojson more than once; for png and jpeg the one to show. If unset: all
    but the background."""

    threshold: Annotated[float | None, Field(gt=0, le=1), flag(SEVERAL, "P")] = None
    """For geojson, csv, json: a pixel is of a class when its probability is at least this. If
    unset: the likeliest class, or 0.5 where classes do not exclude each other."""

    slide: Annotated[str | None, flag(SEVERAL, "FILE")] = None
    """The slide that was mapped. For geojson it tells the area that QuPath crops it to, for png
    and jpeg it lies below the heat map."""

    content: Annotated[Literal["probabilities", "labels", "both"] | None, flag(TIFF)] = None
    """What the file holds: one channel per class, the likeliest class, or one image of each. If
    unset: probabilities."""

    objects: Annotated[
        Literal["polygons", "cells"] | None,
        Parameter(name="--as", group=OBJECTS, negative="", n_tokens=1),
    ] = None
    """Outlines as annotations, or, for maps of stride 8 and more, one detection per map px with
    the probabilities as measurements. If unset: polygons."""

    background: Annotated[bool | None, switch(OBJECTS)] = None
    """Export the class "background" too."""

    min_area: Annotated[float | None, Field(ge=0), flag(OBJECTS, "AREA")] = None
    """Leave out polygons smaller than this: µm², or px² of the slide when its pixel size is
    unknown."""

    simplify: Annotated[float | None, Field(ge=0), flag(OBJECTS, "PX")] = None
    """Simplify outlines, by at most this many map px."""

    crop: Annotated[
        bool | None, Parameter(group=OBJECTS, negative="--no-crop", show_default=False)
    ] = None
    """Count coordinates from the scanned area that the slide names (openslide.bounds-x/y), as
    QuPath does unless told not to crop."""

    colormap: Annotated[str | None, flag(PICTURE, "NAME")] = None
    """One of matplotlib's colour maps. If unset: viridis."""

    max_px: Annotated[int | None, Field(gt=0), flag(PICTURE, "PX")] = None
    """Longer side of the map in the picture. If unset: 1600."""


def export(
    out: Path,
    /,
    *,
    to: Format,
    output: Annotated[Path | None, Parameter(alias="-o", metavar="FILE")] = None,
    overwrite: Annotated[bool, Parameter(negative="", show_default=False)] = False,
    options: Annotated[ExportFlags | None, Parameter(name="*")] = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Export a map to OME-TIFF, GeoJSON for QuPath, a heat map, or a table of areas.

    Parameters
    ----------
    out
        A finished map.
    to
        Format: ome-tiff (pyramidal, tiled), geojson (QuPath's objects), png or jpeg (heat map of
        one class), csv or json (area, share of the tissue and mean probability per class).
    output
        File to write; if unset, beside the map under its name.
    overwrite
        Replace an earlier export; nothing else is ever replaced.
    options
        Options of the format.
    json
        Write the result as one JSON object.
    debug
        Log more, and show the traceback of an error.
    """
    from gigafcn.export import export_map  # loads zarr, shapely, matplotlib

    chosen = {} if options is None else options.model_dump(exclude_none=True)
    with bar_progress(out.name) as progress:
        done = export_map(out, to, output, overwrite=overwrite, progress=progress, **chosen)
    if json:
        say_json("export", path=done.path, format=done.format, figures=done.figures)
    else:
        say(f"{_said(done)}: {done.path}")


def _said(done: Export) -> str:
    figures = done.figures
    match done.format:
        case "ome-tiff":
            return f"{figures['levels']} levels"
        case "png" | "jpeg":
            return f"{figures['width']} x {figures['height']} px"
        case "geojson":
            counts = ", ".join(f"{count} {name}" for name, count in figures.items())
            return f"{sum(figures.values())} objects ({counts})"
        case _:
            return f"{len(figures)} classes"
