"""Which images does a Zarr group hold, and which of them is the slide?

A group is an image of OME-Zarr, or lists several of them, or is the root of what bioformats2raw
writes: images in groups that ``OME`` lists, with names in ``OME/METADATA.ome.xml``, by which label,
macro and overview are known.  An image of labels (``image-label``) is no scan.  Left out: plates.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import zarr
from zarr.core.buffer import default_buffer_prototype
from zarr.core.sync import sync

from gigafcn.errors import SlideError
from gigafcn.slide.images import ImageEntry, choose_image, kind_of, refuse_kind
from gigafcn.slide.ome_xml import image_names
from gigafcn.slide.zarr_axes import Axes, read_multiscales

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gigafcn.slide.wanted import Wanted
    from gigafcn.slide.zarr_axes import Multiscale

Array = zarr.Array[Any]

_LAYOUT = "bioformats2raw.layout"
_XML = "OME/METADATA.ome.xml"


@dataclass(frozen=True, slots=True)
class ZarrImage:
    """One image of a group."""

    arrays: list[Array]
    """Levels, finest first."""

    multiscale: Multiscale | None
    """What its metadata say; None for an array by itself."""

    index: int | None = None
    """Its number, where the group holds several."""


def chosen_image(node: Array | zarr.Group, where: str, wanted: Wanted) -> ZarrImage:
    """The image that is the slide.

    Raises
    ------
    SlideError
        If there is none.
    UsageError
        If the user must say which, or asked for one that there is not.
    """
    if isinstance(node, zarr.Array):
        return ZarrImage([node], None)
    found = list(_images(node, where))
    if not found:
        plate = "plate" in attributes_of(node) or "well" in attributes_of(node)
        what = (
            "a plate or well, not an image" if plate else "a Zarr group without an OME-Zarr image"
        )
        remedy = "one of its fields, as ROW/COLUMN/0" if plate else "an array in it"
        raise SlideError(f"{where} is {what}; give the path of {remedy}")
    entries = [entry for entry, _ in found]
    image = found[entries.index(choose_image(where, entries, wanted))]
    return image[1] if len(found) > 1 else replace(image[1], index=None)


def _images(root: zarr.Group, where: str) -> Iterator[tuple[ImageEntry, ZarrImage]]:
    """Every image of a group."""
    index = 0
    for group, name, place in _groups(root, where):
        found = () if group is None else read_multiscales(place, group.attrs)
        for multiscale in found:
            assert group is not None
            image = _image(group, multiscale, place, index)
            labels = "image-label" in attributes_of(group) and group is not root
            kind = "label" if labels else kind_of(name) or kind_of(multiscale.name)
            yield _entry(image, place, name or multiscale.name, kind), image
            index += 1
        index += not found  # a group that was not copied keeps its number


def _groups(root: zarr.Group, where: str) -> Iterator[tuple[zarr.Group | None, str, str]]:
    """Groups of images, with their names by the OME-XML beside them and where they are."""
    if _LAYOUT not in attributes_of(root) or read_multiscales(where, root.attrs):
        yield root, "", where
        return
    names = image_names(_bytes(root, _XML))
    for number, path in enumerate(_series(root, len(names))):
        group = root.get(path)
        name = names[number] if number < len(names) else ""
        yield group if isinstance(group, zarr.Group) else None, name, f"{where}/{path}"


def _series(root: zarr.Group, named: int) -> list[str]:
    """Paths of the images that bioformats2raw wrote, in the order of their names."""
    ome = root.get("OME")
    listed = attributes_of(ome).get("series") if isinstance(ome, zarr.Group) else None
    if isinstance(listed, list) and listed:
        return [str(path) for path in listed]
    count = named
    while str(count) in root:
        count += 1
    return [str(number) for number in range(count)]


def _image(group: zarr.Group, multiscale: Multiscale, where: str, index: int) -> ZarrImage:
    """The levels of an image, the finest first, whatever their order in the metadata."""
    arrays = []
    for path in multiscale.paths:
        array = group.get(path)
        if not isinstance(array, zarr.Array):
            raise SlideError(f"{where} lists a level {path!r} that is not there; copy it again")
        arrays.append(array)
    if not arrays:
        raise SlideError(f"{where} lists no levels; write it again")
    order = sorted(range(len(arrays)), key=lambda n: math.prod(arrays[n].shape), reverse=True)
    return ZarrImage([arrays[n] for n in order], multiscale.ordered(order), index)


def _entry(image: ZarrImage, where: str, name: str, kind: str | None) -> ImageEntry:
    assert image.multiscale is not None
    assert image.index is not None
    names, shape = [n.lower() for n in image.multiscale.names], image.arrays[0].shape
    if len(names) != len(shape) or names.count("y") != 1 or names.count("x") != 1:
        raise SlideError(f"{where} has axes {tuple(names)} for shape {tuple(shape)}, not y, x")
    axes = Axes(names.index("y"), names.index("x"), None)
    height, width = int(shape[axes.y]), int(shape[axes.x])
    return ImageEntry(image.index, (height, width), image.multiscale.mpp(axes), name, kind)


def refuse_part(location: str, wanted: Wanted) -> None:
    """Refuse the path of an image within a group that says it is a label or the like.

    Raises
    ------
    SlideError
        Naming what it is.
    """
    if "://" in location or wanted.mask:
        return
    path = Path(location).absolute()
    for above in path.parents[:2]:
        if not any((above / file).is_file() for file in ("zarr.json", ".zgroup")):
            return
        root = zarr.open(str(above), mode="r")
        if isinstance(root, zarr.Group) and _LAYOUT in attributes_of(root):
            names, part = image_names(_bytes(root, _XML)), path.relative_to(above).parts[0]
            paths = _series(root, len(names))
            if part in paths and paths.index(part) < len(names):
                refuse_kind(location, kind_of(names[paths.index(part)]))


def attributes_of(group: zarr.Group) -> dict[str, Any]:
    """Attributes of a group, those of OME-Zarr 0.5 among them."""
    ome = group.attrs.get("ome")
    return {**group.attrs, **(ome if isinstance(ome, dict) else {})}


def _bytes(root: zarr.Group, key: str) -> bytes:
    """An object of a store; empty when it is not there."""
    place = f"{root.path}/{key}" if root.path else key
    found = sync(root.store.get(place, prototype=default_buffer_prototype()))
    return b"" if found is None else found.to_bytes()
