"""Where does the map of a slide go?

``-o`` ending in ``.zarr`` names the map; any other names a directory that receives
``<slide stem>.zarr``; without ``-o`` that directory is the working directory, since archives of
slides are read-only.  A slide that is itself ``<stem>.zarr`` in that directory gets
``<stem>-map.zarr``.  Names are settled before the first slide is opened, so that two slides that
would share a map are found at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from gigafcn.errors import UsageError
from gigafcn.storage.url_path import place_of


def stem_of(slide: str) -> str:
    """Name of a slide without its folder and its suffix.

    Examples
    --------
    >>> stem_of("/archive/case 7.svs"), stem_of("s3://bucket/b.ome.tiff"), stem_of("c.zarr/")
    ('case 7', 'b', 'c')
    """
    name = PurePosixPath(slide).name
    for suffix in (PurePosixPath(name).suffix, ".ome"):
        name = name.removesuffix(suffix) or name
    return name


def map_paths(
    slides: Sequence[str], output: Path | None, names: Sequence[str | None] = ()
) -> list[Path]:
    """Path of the map of each slide, by the names given or by those of the slides.

    Raises
    ------
    UsageError
        If two slides would share a map, or a map would take its slide's place.

    Examples
    --------
    >>> [str(path) for path in map_paths(["in/a.svs", "in/b.svs"], Path("maps"))]
    ['maps/a.zarr', 'maps/b.zarr']
    """
    if output is not None and output.suffix == ".zarr":
        if len(slides) > 1:
            raise UsageError(
                f"-o {output} names one map but {len(slides)} slides were given; "
                "give a directory, that is a name without .zarr"
            )
        paths = [place_of(output)]
    else:
        named = [*names, *([None] * (len(slides) - len(names)))]
        paths = [
            _named_after(slide, place_of(output or Path()), name)
            for slide, name in zip(slides, named, strict=True)
        ]
    owner: dict[Path, str] = {}
    for slide, path in zip(slides, paths, strict=True):
        if path in owner:
            raise UsageError(
                f"{owner[path]} and {slide} would both be mapped to {path}; "
                "give each a name of its own in a list (a CSV file with the columns slide, name), "
                "or run them with different -o directories"
            )
        owner[path] = slide
        if path.resolve() == place_of(slide).resolve():
            raise UsageError(f"the map of {slide} would take the slide's own place; give -o")
    return paths


def _named_after(slide: str, folder: Path, name: str | None) -> Path:
    path = folder / f"{name or stem_of(slide)}.zarr"
    taken = path.resolve() == place_of(slide).resolve()
    return path.with_stem(f"{path.stem}-map") if taken else path
