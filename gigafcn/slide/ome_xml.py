"""Which Image of OME-XML owns which pages of this very TIFF?

An OME-TIFF may describe more images than it holds: Images without planes (``MetadataOnly``), planes
in other files of a set (``TiffData`` with the ``UUID`` of another file), or nothing at all but the
name of a companion file that describes the whole set (``BinaryOnly``).  Here the XML is reduced to
what this file holds: planes of other files are dropped, and sizes count the planes that are left.
What an Image says of its pixel size and channels is then only asked for pages that it owns.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import numpy as np
import tifffile

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import BinaryIO
    from xml.etree.ElementTree import Element

log = logging.getLogger(__name__)

MOST_COMPANION_BYTES = 64 << 20
"""Of a companion file, which holds nothing but text."""

_MOST_PLANES = 1_000_000


@dataclass(frozen=True, slots=True)
class OmeImage:
    """One Image of which this file holds planes."""

    index: int
    """Its place among all Images of the XML."""

    name: str
    """Free text; "" when not stated."""

    pixels: Element
    """Its Pixels, reduced to what this file holds."""

    pages: frozenset[int]
    """Numbers of its pages in this file."""

    @property
    def channel_names(self) -> tuple[str, ...]:
        """One per Channel, "" where not stated."""
        return tuple(child.get("Name", "") for child in _children(self.pixels, "Channel"))


@dataclass(frozen=True, slots=True)
class OmeView:
    """OME-XML as far as it is about one file."""

    text: str
    """The reduced XML."""

    images: tuple[OmeImage, ...]
    """Those of which the file holds planes, in the order of the XML."""

    def owner(self, page: int | None) -> OmeImage | None:
        """The Image that owns a page; None for a page that none owns."""
        return next((image for image in self.images if page in image.pages), None)


def read_ome(file: BinaryIO, path: Path) -> OmeView | None:
    """What the OME-XML of an open TIFF says of this very file; None without any."""
    with tifffile.TiffFile(file, _multifile=False) as tif:
        text = tif.ome_metadata
        return None if text is None else ome_view(text, path, len(tif.pages))


def ome_view(text: str, path: Path, pages: int) -> OmeView | None:
    """Reduce OME-XML to what a file holds; None when it says nothing of the file.

    Parameters
    ----------
    text
        Of the file's first page.
    path
        The file, beside which a companion is looked for.
    pages
        How many the file has.
    """
    root = _parsed(text)
    if root is None:
        return None
    uuid, companion = root.get("UUID"), _companion(root, path)
    if companion is not None:
        root = companion
    own = _Own(uuid, path.name, pages, unnamed=companion is None)
    own, images = own.settled(root), []
    alone = all(own.holds(data) for data in _tiff_data(root))
    for index, image in enumerate(_children(root, "Image")):
        for pixels in _children(image, "Pixels")[:1]:
            planes = _reduce(pixels, own)
            if planes:
                name = image.get("Name", "").strip()
                images.append(OmeImage(index, name, pixels, frozenset(planes)))
    if not images:
        return None
    if not alone:
        log.info("%s is one file of a set: planes that lie in others are left out", path)
    return OmeView(ElementTree.tostring(root, encoding="unicode"), tuple(images))


@dataclass(frozen=True, slots=True)
class _Own:
    """How XML refers to this file."""

    uuid: str | None
    name: str
    pages: int
    unnamed: bool
    """Whether TiffData that name no file mean this one, as they do unless in a companion."""

    def holds(self, data: Element) -> bool:
        """Whether a TiffData is about planes of this file."""
        for uuid in _children(data, "UUID"):
            if self.uuid is not None:
                return (uuid.text or "").strip() == self.uuid
            return uuid.get("FileName", "").lower() == self.name.lower()
        return self.unnamed

    def settled(self, root: Element) -> _Own:
        """The same, known by its name where no UUID of the XML is its own.

        A file that lost the only name that the XML knows, and has no UUID, is that one.
        """
        known = [uuid for data in _tiff_data(root) for uuid in _children(data, "UUID")]
        by_name = self.uuid is None or all((one.text or "").strip() != self.uuid for one in known)
        names = {one.get("FileName", "") for one in known}
        renamed = len(names) == 1 and self.uuid is None and self.unnamed
        return replace(
            self,
            uuid=None if by_name else self.uuid,
            name=names.pop() if renamed else self.name,
        )


def image_names(text: bytes) -> list[str]:
    """Names of all Images of an OME-XML document, "" where not stated; none without one."""
    root = _parsed(text)
    return [] if root is None else [i.get("Name", "").strip() for i in _children(root, "Image")]


def _reduce(pixels: Element, own: _Own) -> dict[int, tuple[int, ...]]:
    """Leave of Pixels what a file holds; its pages, with their places along the axes of planes."""
    axes = [axis for axis in pixels.get("DimensionOrder", "XYZCT") if axis not in "XY"]
    channels = _children(pixels, "Channel")
    samples = int(channels[0].get("SamplesPerPixel", 1)) if channels else 1
    sizes = [int(pixels.get(f"Size{axis}", 1)) for axis in axes]
    sizes = [
        max(1, n // samples) if axis == "C" else n for n, axis in zip(sizes, axes, strict=True)
    ]
    data = _children(pixels, "TiffData")
    planes = {page: place for one in data if own.holds(one)
              for page, place in _planes(one, axes, sizes, own.pages)}  # fmt: skip
    if all(own.holds(one) for one in data):
        _unnamed(data)
        return planes
    for one in data:
        pixels.remove(one)
    if planes:
        _renumber(pixels, axes, planes, samples)
    return planes


def _planes(
    data: Element, axes: list[str], sizes: list[int], pages: int
) -> Iterator[tuple[int, tuple[int, ...]]]:
    """Pages of a TiffData that the file has, each with its place along the axes of planes."""
    first = int(data.get("IFD", 0))
    count = int(data.get("PlaneCount", data.get("NumPlanes", 1 if "IFD" in data.attrib else pages)))
    start = [int(data.get(f"First{axis}", 0)) for axis in axes]
    shape = tuple(reversed(sizes))  # the first axis of a DimensionOrder runs fastest
    total = math.prod(shape)
    if any(not 0 <= n < size for n, size in zip(start, sizes, strict=True)):
        return
    begin = int(np.ravel_multi_index(tuple(reversed(start)), shape))
    for step in range(min(count, total - begin, max(0, pages - first), _MOST_PLANES)):
        place = np.unravel_index(begin + step, shape)
        yield first + step, tuple(int(n) for n in reversed(place))


def _renumber(
    pixels: Element, axes: list[str], planes: dict[int, tuple[int, ...]], samples: int
) -> None:
    """Count the planes that are left, where they fill a part of each axis."""
    kept = [sorted({place[number] for place in planes.values()}) for number in range(len(axes))]
    whole = math.prod(len(values) for values in kept) == len(planes)
    for number, axis in enumerate(axes):
        if whole:
            size = len(kept[number]) * (samples if axis == "C" else 1)
            pixels.set(f"Size{axis}", str(size))
        if whole and axis == "C":
            for index, channel in enumerate(_children(pixels, "Channel")):
                if index not in kept[number]:
                    pixels.remove(channel)
    namespace = pixels.tag.removesuffix("Pixels")
    for page, place in planes.items():
        of_axes = zip(axes, place, kept, strict=True)
        first = {f"First{a}": str(k.index(n) if whole else n) for a, n, k in of_axes}
        attributes = {"IFD": str(page), "PlaneCount": "1", **first}
        pixels.append(ElementTree.Element(f"{namespace}TiffData", attributes))


def _unnamed(data: list[Element]) -> None:
    """Drop this file's own name, by which it may no longer be known."""
    for one in data:
        for uuid in _children(one, "UUID"):
            one.remove(uuid)


def _tiff_data(root: Element) -> Iterator[Element]:
    """Every TiffData of every Image."""
    for image in _children(root, "Image"):
        for pixels in _children(image, "Pixels"):
            yield from _children(pixels, "TiffData")


def _companion(root: Element, path: Path) -> Element | None:
    """XML of the companion file that lies beside a file which says nothing itself."""
    for binary in _children(root, "BinaryOnly"):
        name = binary.get("MetadataFile", "")
        beside = path.with_name(name) if name and "/" not in name and "\\" not in name else None
        if beside is not None and beside.is_file():
            with beside.open("rb") as file:
                return _parsed(file.read(MOST_COMPANION_BYTES))
    return None


def _parsed(text: str | bytes) -> Element | None:
    try:
        return ElementTree.fromstring(text)
    except ElementTree.ParseError:
        return None


def _children(parent: Element, name: str) -> list[Element]:
    """Children of a name, in whatever version of the namespace."""
    return [child for child in parent if child.tag.rpartition("}")[2] == name]
