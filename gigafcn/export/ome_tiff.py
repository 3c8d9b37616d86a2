"""A map as pyramidal OME-TIFF, for QuPath, Bio-Formats and whatever else reads TIFF.

One image per kind of content: scores with one channel per class, named and coloured, and labels.
Levels of the stored pyramid become SubIFDs; tiles are deflated; BigTIFF is used when the pixels
might not fit 4 GB.  Pixel size is PhysicalSizeX/Y, and the place of the map on the slide is the
PositionX/Y of every plane: the corner of the first pixel, from that of the slide.

The map of a raster with a place on the earth (GeoTIFF) has the same tags, for its own px, on every
full-size page: each class is a page, and GDAL opens each as an image of its own.

Tiles are read from the map as the file asks for them, one class at a time.  Pixels that were not
computed are NaN, of bytes 0, which the description says; in labels they have the codes of
:mod:`gigafcn.output.label_codes`, and what was left out is no data for GDAL.  (OME has no half
floats: float16 becomes float32.)
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import tifffile

from gigafcn.errors import UsageError
from gigafcn.export.places import generator, identity
from gigafcn.geometry import Box
from gigafcn.output.chunk_status import ChunkStatus
from gigafcn.output.label_codes import codes_of, label_dtype
from gigafcn.output.metadata import corner_of, level_transform
from gigafcn.output.opening import coded_labels, px_status
from gigafcn.output.palette import rgb
from gigafcn.output.reading import check_scores, read_level
from gigafcn.progress import Progress, ProgressCallback
from gigafcn.slide.georeference import NO_DATA, GeoReference

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import zarr
    from numpy.typing import NDArray

    from gigafcn.output.opening import StoredMap

CONTENTS = ("probabilities", "labels", "both")
TILE_PX = 512
"""Side of a tile of the file."""

_MOST_CLASSIC_BYTES = 2**32 - 2**25
_TILES_AT_ONCE = 16  # bytes that tifffile holds while it compresses, in tiles
_THREADS = 2
_UM_PER_CM = 10_000
_ASCII = 2


@dataclass(frozen=True, slots=True)
class OmeTiffOptions:
    """What goes into the file."""

    content: str | None = None
    """"probabilities", "labels" or "both"; None is the probabilities, or the labels of a map that
    stores nothing else."""

    def __post_init__(self) -> None:
        if self.content not in (None, *CONTENTS):
            raise UsageError(f"content must be one of {', '.join(CONTENTS)}, got {self.content!r}")


def write_ome_tiff(
    target: Path,
    stored: StoredMap,
    options: OmeTiffOptions,
    progress: ProgressCallback | None = None,
) -> dict[str, int]:
    """Write the file; return the number of levels."""
    images = _images(stored, options.content)
    counted = _Counter(sum(_pixels(arrays) for arrays in images.values()), progress)
    size = sum(_pixels(each) * _dtype(stored, each[0]).itemsize for each in images.values())
    with tifffile.TiffWriter(target, bigtiff=size > _MOST_CLASSIC_BYTES, ome=True) as writer:
        for name, arrays in images.items():
            for level, array in enumerate(arrays):
                extra: dict[str, Any] = {"subfiletype": 1, "metadata": None}
                if level == 0:
                    extra = {"subifds": len(arrays) - 1, "metadata": _metadata(stored, name)}
                    extra["extratags"] = _extra_tags(stored, array)
                _write_level(writer, stored, array, level, counted, extra)
    return {"levels": len(stored.levels)}


def _images(stored: StoredMap, asked: str | None) -> dict[str, tuple[zarr.Array[Any], ...]]:
    """Arrays of each image, finest first."""
    content = asked or ("probabilities" if stored.scores else "labels")
    images = {}
    if content != "labels":
        check_scores(stored)
        images["probabilities"] = stored.scores
    if content != "probabilities":
        if not stored.labels:
            raise UsageError(f"map {stored.path} stores no labels; export its probabilities")
        images["labels"] = stored.labels
    return images


def _pixels(arrays: tuple[zarr.Array[Any], ...]) -> int:
    return sum(int(np.prod(array.shape)) for array in arrays)


def _dtype(stored: StoredMap, array: zarr.Array[Any]) -> np.dtype[Any]:
    """Type in the file; labels of gigafcn 0.1 may lack numbers for px without a class."""
    if array.ndim == 2:
        return np.promote_types(array.dtype, label_dtype(len(stored.spec.classes)))
    return np.dtype(np.float32) if array.dtype == np.float16 else np.dtype(array.dtype)


def _write_level(
    writer: tifffile.TiffWriter,
    stored: StoredMap,
    array: zarr.Array[Any],
    level: int,
    counted: _Counter,
    extra: dict[str, Any],
) -> None:
    resolution: dict[str, Any] = {}
    if stored.spec.mpp is not None:
        scale, _ = level_transform(stored.spec, stored.levels[level])
        resolution["resolution"] = (_UM_PER_CM / scale[1], _UM_PER_CM / scale[0])
        resolution["resolutionunit"] = "CENTIMETER"
    dtype = _dtype(stored, array)
    writer.write(
        _tiles(stored, array, level, counted),
        shape=array.shape,
        dtype=dtype,
        tile=(TILE_PX, TILE_PX),
        photometric="minisblack",
        compression="zlib",
        predictor=dtype.kind != "f",
        maxworkers=_THREADS,
        buffersize=_TILES_AT_ONCE * TILE_PX**2 * dtype.itemsize,
        software=generator(),
        **resolution,
        **extra,
    )


def _tiles(
    stored: StoredMap, array: zarr.Array[Any], level: int, counted: _Counter
) -> Iterator[NDArray[Any]]:
    """Tiles in the order of the file: class by class, row by row; filled up at the edges."""
    dtype = _dtype(stored, array)
    planes: list[int | None] = list(range(array.shape[0])) if array.ndim == 3 else [None]
    height, width = array.shape[-2:]
    for plane in planes:
        for y in range(0, height, TILE_PX):
            for x in range(0, width, TILE_PX):
                box = Box(y, x, y + TILE_PX, x + TILE_PX).clip((height, width))
                values = read_level(stored, array, box, plane).astype(dtype, copy=False)
                if plane is None and not stored.spec.coded:
                    values = coded_labels(values, px_status(stored, level, box))
                counted.add(box.area)
                rows, columns = (TILE_PX - size for size in box.shape)
                yield np.pad(values, ((0, rows), (0, columns)), mode="edge")


class _Counter:
    """Counts pixels written and reports them."""

    def __init__(self, total: int, progress: ProgressCallback | None) -> None:
        self._total, self._progress = total, progress
        self._done = self._tiles = 0
        self._began = time.perf_counter()

    def add(self, pixels: int) -> None:
        """Count a tile."""
        self._done += pixels
        self._tiles += 1
        if self._progress is not None:
            tiles = max(self._tiles, -(-self._total // TILE_PX**2))
            seconds = time.perf_counter() - self._began
            self._progress(Progress("export", self._tiles, tiles, self._done, self._total, seconds))


def _metadata(stored: StoredMap, name: str) -> dict[str, Any]:
    """OME metadata of an image, in tifffile's terms."""
    spec = stored.spec
    scale, _ = level_transform(spec, stored.levels[0])
    corner = corner_of(spec)
    channels = len(spec.stored) if name == "probabilities" else 1
    known = spec.mpp is not None
    unit = "µm" if known else "pixel"
    metadata: dict[str, Any] = {
        "axes": "CYX" if name == "probabilities" else "YX",
        "Name": f"{spec.name} {name}",
        "Creator": generator(),
        "UUID": str(identity(stored)),
        "Plane": {
            "PositionX": [corner[1]] * channels,
            "PositionXUnit": [unit] * channels,
            "PositionY": [corner[0]] * channels,
            "PositionYUnit": [unit] * channels,
        },
    }
    if known:
        metadata |= {
            "PhysicalSizeX": scale[1],
            "PhysicalSizeXUnit": unit,
            "PhysicalSizeY": scale[0],
            "PhysicalSizeYUnit": unit,
        }
    if name == "probabilities":
        colours = [_packed(spec.colours[number]) for number in spec.stored]
        metadata["Channel"] = {"Name": list(spec.stored_classes), "Color": colours}
        if spec.dtype == "uint8" and (stored.status != ChunkStatus.COMPUTED).any():
            metadata["Description"] = (
                "0 also where nothing was computed; the map's labels, or its status, tell where"
            )
    else:
        metadata["Channel"] = {"Name": ["class"]}
        codes = codes_of(_dtype(stored, stored.labels[0]))
        numbers = (*enumerate(spec.classes), (codes.failed, "failed"), (codes.left_out, "left out"))
        metadata["Description"] = ", ".join(f"{number} {name}" for number, name in numbers)
    return metadata


def _extra_tags(stored: StoredMap, array: zarr.Array[Any]) -> list[tuple[int, int, int, Any, bool]]:
    """GDAL's no data, and GeoTIFF's tags for a map of a raster that has a place on the earth."""
    geo = stored.provenance.get("geo")
    tags = [] if geo is None else list(GeoReference.from_json(geo).tags())
    dtype = _dtype(stored, array)
    if array.ndim == 2:
        tags.append((NO_DATA, _ASCII, 0, str(codes_of(dtype).left_out), True))
    elif geo is not None and dtype.kind == "f":
        tags.append((NO_DATA, _ASCII, 0, "nan", True))
    return [(*tag[:4], False) for tag in tags]  # not on the first page of the image alone


def _packed(colour: str) -> int:
    """OME's signed 32-bit RGBA of ``RRGGBB``.

    Examples
    --------
    >>> _packed("FF0000"), _packed("00FF00")
    (-16776961, 16711935)
    """
    red, green, blue = rgb(colour)
    value = red << 24 | green << 16 | blue << 8 | 255
    return value - (1 << 32) if value >= 1 << 31 else value
