"""How does someone without a slide get one?  A drawn slide as a scanner would write it.

Writes a tiled, JPEG-compressed TIFF with a pyramid and its resolution, readable by OpenSlide
(generic-tiff) and tifffile, and beside it the exact mask the picture was drawn from, lossless.
The slide is drawn and written one band of blocks at a time.  A TIFF writer takes one image after
the other, so the mask and the next smaller level wait in scratch files beside the output; memory
does not grow with the slide's height.
"""

from __future__ import annotations

import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import tifffile

from gigafcn.errors import RunError, UsageError
from gigafcn.geometry import Box
from gigafcn.progress import Progress, ProgressCallback
from gigafcn.train.drawing import BLOCK_PX, MPP, Drawing, World, draw_region

if TYPE_CHECKING:
    from collections.abc import Iterator

TILE_PX = 256
LEAST_PX = 512
"""Smallest slide; also the smallest level that gets a smaller one below it."""

JPEG_QUALITY = 85
_PX_PER_CM = 10_000 / MPP
_THREADS = 2

_SCRATCH_BYTES_PER_PX = 2.5
"""Mask, smaller levels and the two TIFFs, which lie side by side before the files are moved."""

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class _Scratch:
    """Arrays on disk that wait for their turn to be written."""

    folder: Path

    def array(self, name: str, shape: tuple[int, ...]) -> Pixels:
        return np.memmap(self.folder / name, np.uint8, "w+", shape=shape)


def halve(pixels: Pixels) -> Pixels:
    """Mean of 2 x 2 px of (y, x, c), rounded; an odd last row or column is dropped."""
    height, width = pixels.shape[0] // 2 * 2, pixels.shape[1] // 2 * 2
    even = pixels[:height, :width].astype(np.uint16)
    rows = even[::2] + even[1::2]
    return ((rows[:, ::2] + rows[:, 1::2] + 2) >> 2).astype(np.uint8)


def _drawn_bands(world: World, shape: tuple[int, int]) -> Iterator[Drawing]:
    """Draw the slide from top to bottom, one row of blocks at a time."""
    height, width = shape
    with ThreadPoolExecutor(_THREADS) as pool:
        for y in range(0, height, BLOCK_PX):
            boxes = [
                Box(y, x, min(y + BLOCK_PX, height), min(x + BLOCK_PX, width))
                for x in range(0, width, BLOCK_PX)
            ]
            blocks = list(pool.map(lambda box: draw_region(world, box), boxes))
            yield Drawing(
                np.concatenate([block.picture for block in blocks], axis=1),
                np.concatenate([block.mask for block in blocks], axis=1),
            )


def _stored_bands(pixels: Pixels) -> Iterator[Pixels]:
    for y in range(0, pixels.shape[0], BLOCK_PX):
        yield np.asarray(pixels[y : y + BLOCK_PX])


def _tiles(bands: Iterator[Pixels]) -> Iterator[Pixels]:
    """Tiles in the order of a TIFF; those at the right and bottom are filled up by repetition."""
    for band in bands:
        height, width = band.shape[:2]
        fill = ((0, -height % TILE_PX), (0, -width % TILE_PX), (0, 0))[: band.ndim]
        full = np.pad(band, fill, mode="edge")
        for y in range(0, height, TILE_PX):
            for x in range(0, width, TILE_PX):
                yield np.ascontiguousarray(full[y : y + TILE_PX, x : x + TILE_PX])


def _keep_half(bands: Iterator[Pixels], half: Pixels | None) -> Iterator[Pixels]:
    """Pass the bands on, and leave them halved in ``half``."""
    row = 0
    for band in bands:
        if half is not None:
            smaller = halve(band)
            half[row : row + smaller.shape[0]] = smaller
            row += smaller.shape[0]
        yield band


def _write_level(
    writer: tifffile.TiffWriter, bands: Iterator[Pixels], shape: tuple[int, int], level: int
) -> None:
    scale = _PX_PER_CM / 2**level
    writer.write(
        _tiles(bands),
        shape=(*shape, 3),
        dtype=np.uint8,
        tile=(TILE_PX, TILE_PX),
        photometric="rgb",
        subsampling=(2, 2),
        compression="jpeg",
        compressionargs={"level": JPEG_QUALITY, "outcolorspace": "YCBCR"},
        resolution=(scale, scale),
        resolutionunit="CENTIMETER",
        subfiletype=1 if level else 0,
        metadata=None,
        description=f"drawn by gigafcn, {MPP} um/px" if level == 0 else None,
        maxworkers=_THREADS,
    )


def _write_mask(path: Path, mask: Pixels) -> None:
    options: dict[str, Any] = {"resolution": (_PX_PER_CM, _PX_PER_CM), "resolutionunit": 3}
    with tifffile.TiffWriter(path, bigtiff=mask.size > 2**31) as writer:
        writer.write(
            _tiles(_stored_bands(mask)),
            shape=mask.shape,
            dtype=np.uint8,
            tile=(TILE_PX, TILE_PX),
            photometric="minisblack",
            compression="zlib",
            metadata=None,
            **options,
        )


def _write_picture(
    path: Path, drawn: Iterator[Pixels], shape: tuple[int, int], scratch: _Scratch
) -> None:
    bands, level = drawn, 0
    with tifffile.TiffWriter(path, bigtiff=shape[0] * shape[1] > 2**30) as writer:
        while True:
            smaller = (shape[0] // 2, shape[1] // 2)
            last = min(shape) < LEAST_PX
            half = None if last else scratch.array(f"level{level + 1}", (*smaller, 3))
            _write_level(writer, _keep_half(bands, half), shape, level)
            if half is None:
                return
            bands, shape, level = _stored_bands(half), smaller, level + 1


def _write(path: Path, truth: Path, world: World, progress: ProgressCallback | None) -> None:
    assert world.frame is not None
    shape = world.frame
    began = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix=".drawing-", dir=path.parent) as folder:
        scratch = _Scratch(Path(folder))
        mask = scratch.array("mask", shape)

        def pictures() -> Iterator[Pixels]:
            row = 0
            for number, band in enumerate(_drawn_bands(world, shape), start=1):
                mask[row : row + band.mask.shape[0]] = band.mask
                row += band.mask.shape[0]
                if progress is not None:
                    bands = -(-shape[0] // BLOCK_PX)
                    seconds = time.perf_counter() - began
                    done, pixels = row * shape[1], shape[0] * shape[1]
                    progress(Progress("draw", number, bands, done, pixels, seconds))
                yield band.picture

        _write_picture(scratch.folder / path.name, pictures(), shape, scratch)
        _write_mask(scratch.folder / truth.name, mask)
        (scratch.folder / truth.name).replace(truth)
        (scratch.folder / path.name).replace(path)


def write_demonstration_slide(
    path: Path | str,
    size: int | tuple[int, int] = 8192,
    *,
    seed: int = 0,
    progress: ProgressCallback | None = None,
) -> Path:
    """Draw a slide into ``path`` and its mask beside it; return the mask's path.

    Parameters
    ----------
    path
        TIFF to write.  The mask, classes 0 background, 1 tissue, 2 nuclei, is named with
        ``_truth.tiff`` after the stem.
    size
        Height and width in px, or (y, x); at least 512.
    seed
        Which slide.
    progress
        Called after every band of 512 rows, stage ``"draw"``.

    Raises
    ------
    UsageError
        If the slide would be too small.
    RunError
        If it cannot be written.
    """
    path = Path(path)
    shape = (size, size) if isinstance(size, int) else size
    if min(shape) < LEAST_PX:
        raise UsageError(f"a drawn slide of {shape} px is too small; the least is {LEAST_PX} px")
    truth = path.with_name(f"{path.stem}_truth.tiff")
    try:
        _write(path, truth, World(seed=seed, frame=shape), progress)
    except OSError as problem:
        raise RunError(
            f"slide {path} cannot be written: {problem}; choose another place with room for about "
            f"{shape[0] * shape[1] * _SCRATCH_BYTES_PER_PX / 1e6:.0f} MB"
        ) from problem
    return truth
