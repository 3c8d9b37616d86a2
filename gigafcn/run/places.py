"""Where do the map and its picture go, and where did slide and model come from?

The picture stands beside the map under the same name.  Neither ever takes the slide's own place,
and a picture replaces only what carries gigafcn's mark.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from gigafcn.errors import UsageError
from gigafcn.output.picture import is_own_picture
from gigafcn.storage.url_path import is_url, place_of

if TYPE_CHECKING:
    from gigafcn.run.request import Request
    from gigafcn.slide.protocol import Slide


def picture_of(path: Path) -> Path:
    """Picture beside a map.

    Examples
    --------
    >>> picture_of(Path("maps/case.1.zarr")).name, picture_of(Path("maps/case.1")).name
    ('case.1.png', 'case.1.png')
    """
    return path.with_name(f"{path.name.removesuffix('.zarr')}.png")


def refuse_taken(slide: Slide, path: Path) -> None:
    """Refuse to put map or picture where the slide is, or the picture over a foreign file.

    Raises
    ------
    UsageError
        Naming what is there.
    """
    picture = picture_of(path)
    for place, what in ((path, "the map"), (picture, "the map's picture")):
        if slide.source is not None and place.resolve() == place_of(slide.source).resolve():
            raise UsageError(
                f"{what} would take the place of the slide, {place}; choose another output"
            )
    if picture.exists() and not is_own_picture(picture):
        raise UsageError(
            f"{picture} exists and was not written by gigafcn, so the map's picture does not "
            f"replace it; choose another output or move that away"
        )


def places(request: Request) -> dict[str, str | None]:
    """Where slide and model are, for a later repair; None for what exists only in memory.

    Nor is it told of a slide that shall not be named.
    """
    slide = None if request.options.deidentify else _absolute(request.slide.source)
    return {"slide": slide, "model": request.original.source}


def _absolute(source: str | None) -> str | None:
    return source if source is None or is_url(source) else str(Path(source).absolute())
