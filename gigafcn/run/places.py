"""Where do the map and its picture go, and what is left there when a run does not finish?

The picture stands beside the map under the same name.  Neither ever takes the slide's own place,
and a picture replaces only what carries gigafcn's mark.  A run that fails or is stopped removes
what it created, so that nothing that looks finished, or waits to be cleaned up, is left behind.
"""

from __future__ import annotations

import shutil
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from gigafcn.errors import UsageError
from gigafcn.output.picture import is_own_picture
from gigafcn.output.store import create_map

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gigafcn.output.spec import MapSpec
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
        if slide.source is not None and place.resolve() == Path(slide.source).resolve():
            raise UsageError(
                f"{what} would take the place of the slide, {place}; choose another output"
            )
    if picture.exists() and not is_own_picture(picture):
        raise UsageError(
            f"{picture} exists and was not written by gigafcn, so the map's picture does not "
            f"replace it; choose another output or move that away"
        )


@contextmanager
def created_map(path: Path, spec: MapSpec, *, overwrite: bool) -> Iterator[None]:
    """Create a map, and remove it unless what is done with it comes to its end.

    Raises
    ------
    UsageError
        If the place is taken; what is there is left alone.
    RunError
        If the disk refuses.
    """
    fresh = not path.exists()
    folders = [folder for folder in path.parents if not folder.exists()]
    try:
        create_map(path, spec, overwrite=overwrite)
        picture_of(path).unlink(missing_ok=True)  # of the map that was replaced
    except UsageError:
        raise
    except BaseException:
        # An earlier map that was not replaced yet still has its root document.
        if fresh or (overwrite and not (path / "zarr.json").exists()):
            _remove(path, folders)
        raise
    try:
        yield
    except BaseException:
        _remove(path, folders)
        raise


def _remove(path: Path, folders: list[Path]) -> None:
    """Remove a map and the folders that were made for it, unless something else is in them."""
    shutil.rmtree(path, ignore_errors=True)
    for folder in folders:
        with suppress(OSError):
            folder.rmdir()
