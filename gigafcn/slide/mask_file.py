"""Which px of a file with a mask are tissue?

What is transparent, or holds no data, never is.  Of the rest:

- indices of a palette: all but index 0, whatever its colour;
- numbers, as of classes or objects: all above 0.  Whole numbers count as such below 32, in 16 bit
  below 32768, in 32 bit and more always;
- grey values and brightness: from half of the largest that occurs, probabilities up to 1
  from 0.5; JPEG and lossy WebP are always taken so, since they blur what was black;
- colours of few kinds: all but black;
- black alone on a transparent ground is ink, so it is tissue.

Pages that say min-is-white are taken as they are shown: white is tissue.
"""

from __future__ import annotations

import logging
import warnings
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import tifffile
from PIL import Image

from gigafcn.errors import SlideError
from gigafcn.geometry import Box
from gigafcn.slide.marks import Mark
from gigafcn.slide.opening import TIFF_HEADS, open_mask
from gigafcn.slide.openslide import OpenSlideSlide
from gigafcn.slide.orientation import AS_STORED, TAG, orientation_of, tell_turn, turned
from gigafcn.slide.picture import FORMATS, check_picture_size, is_picture
from gigafcn.slide.protocol import cause
from gigafcn.slide.tiff_codecs import JPEG
from gigafcn.slide.tiff_directory import check_tiff
from gigafcn.slide.tiff_images import choose_series
from gigafcn.slide.wanted import Wanted

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from gigafcn.slide.protocol import Pixels, Slide

log = logging.getLogger(__name__)

MOST_MASK_PX = 1 << 28
"""Largest level of a mask that is read."""

MOST_NUMBERS = 32
"""Whole numbers below this are classes, not grey values; so many levels are few kinds."""

_WIDE_NUMBERS = 1 << 15
_LITTLE = 0.05
"""Part of what is not 0 that lies below half, as edges that were smoothed do."""

_LOSSY_COLOURS = {33003, 33004, 33005, 34712, 50001, 50002, 52546}
"""JPEG 2000, WebP and JPEG XL, which may blur colours; of single values that cannot be told."""

_MIN_IS_WHITE, _PALETTE = 0, 3
_SIXTEEN_BIT = {"I;16", "I;16B", "I;16L"}


@dataclass(frozen=True, slots=True)
class Painted:
    """What a file shows."""

    values: Pixels
    """(y, x, c): grey values, numbers, indices of a palette or colours."""

    opaque: NDArray[np.bool_] | None = None
    """Whether each px (y, x) is more than half opaque; None without transparency."""

    held: NDArray[np.bool_] | None = None
    """Whether each px (y, x) holds data; None if all do."""

    lossy: bool = False
    """Whether black need not be 0 any more."""

    palette: Any = None
    """Colours (index, 3) that the values are indices of."""

    orientation: int = AS_STORED
    """Which way up it is meant."""


def read_mask(path: Path, *, orient: bool = False) -> NDArray[np.bool_]:
    """Px (y, x) of a mask that are tissue; ``orient`` turns it as it says itself.

    Raises
    ------
    SlideError
        If it cannot be read, or a part of it.
    """
    painted = read_painted(path)
    tell_turn(path.name, painted.orientation, turned=orient)
    tissue = tissue_px(painted)
    return turned(tissue, painted.orientation) if orient else tissue


def read_painted(path: Path) -> Painted:
    """What a mask file shows, of a pyramid its finest level that is not too large."""
    head = b""
    if path.is_file():
        with path.open("rb") as file:
            head = file.read(16)
    if is_picture(head):
        return _of_picture(path)
    page = _tiff_page(path) if head.startswith(TIFF_HEADS) else None
    if page is not None and page.painted is not None:
        return page.painted
    slide = open_mask(path)
    try:
        painted = _of_slide(slide, path, page)
        return replace(painted, orientation=slide.traits.orientation)
    finally:
        slide.close()


@dataclass(frozen=True, slots=True)
class _Page:
    """What a TIFF says of a mask that its pixels do not."""

    lossy: bool
    white: float | None
    """Value that is shown black, of pages that say min-is-white."""

    painted: Painted | None
    """Of pages that are no slides: bilevel and palette."""


def _tiff_page(path: Path) -> _Page:
    check_tiff(path)
    try:
        with path.open("rb") as file, tifffile.TiffFile(file, _multifile=False) as tif:
            series = choose_series(tif, None, str(path), Wanted(mask=True)).series
            page = series.keyframe
            lossy = page.compression in JPEG or (
                page.compression in _LOSSY_COLOURS and page.samplesperpixel > 1
            )
            is_bool = page.dtype is not None and page.dtype.kind == "b"
            inverted = page.photometric == _MIN_IS_WHITE
            white = float((1 << int(page.bitspersample)) - 1) if inverted else None
            if not (is_bool or page.photometric == _PALETTE):
                return _Page(lossy, white, None)
            _check_px(path, page.imagelength, page.imagewidth)
            values = np.atleast_3d(series.asarray(level=0))
            orientation = orientation_of(page.tags.valueof(TAG))
            if is_bool:
                painted = Painted(values ^ inverted, orientation=orientation)
                return _Page(lossy, white, painted)
            colours = page.colormap
            palette = None if colours is None else np.moveaxis(colours >> 8, 0, -1)
            painted = Painted(values[:, :, :1], palette=palette, orientation=orientation)
            return _Page(lossy, white, painted)
    except SlideError:
        raise
    # tifffile raises errors of many kinds on damaged files
    except Exception as error:
        raise SlideError(f"{path} cannot be read: {cause(error)}; export it again") from error


def _check_px(path: Path, height: int, width: int) -> None:
    if height * width > MOST_MASK_PX:
        raise SlideError(
            f"{path} has {height} x {width} px (y, x), more than {MOST_MASK_PX}; make it smaller"
        )


def _of_slide(slide: Slide, path: Path, page: _Page | None) -> Painted:
    shapes = [level.shape for level in slide.levels]
    level = next((n for n, (h, w) in enumerate(shapes) if h * w <= MOST_MASK_PX), None)
    if level is None:
        _check_px(path, *shapes[0])
    assert level is not None
    found = slide.look(Box.whole(shapes[level]), level)
    if found.failed:
        raise SlideError(f"{path} is damaged and cannot be read as a whole; export it again")
    values, alpha = found.pixels, slide.traits.alpha
    opaque = None
    if alpha is not None:
        share = values[:, :, alpha]
        opaque = share >= (np.iinfo(share.dtype).max / 2 if share.dtype.kind in "ui" else 0.5)
        values = np.delete(values, alpha, axis=2)
    if page is not None and page.white is not None:
        white = page.white if values.dtype.kind == "u" else values.max()
        values = values.dtype.type(white) - values
    held = None if found.marks is None else found.marks == Mark.HELD
    lossy = isinstance(slide, OpenSlideSlide) or (page is not None and page.lossy)
    return Painted(values, opaque, held, lossy)


def _of_picture(path: Path) -> Painted:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path, formats=FORMATS) as image:
                check_picture_size(path, image)
                lossy = image.format == "JPEG" or (image.format == "WEBP" and _is_vp8(path))
                orientation = orientation_of(image.getexif().get(TAG))
                return replace(_painted(image, lossy=lossy), orientation=orientation)
    except SlideError:
        raise
    # Pillow raises OSError, SyntaxError, ValueError and others on damaged files
    except Exception as error:
        raise SlideError(
            f"{path} cannot be read as a picture: {cause(error)}; copy or export it again"
        ) from error


def _is_vp8(path: Path) -> bool:
    """Whether a WebP picture is compressed with losses: by a chunk "VP8 ", else "VP8L"."""
    with path.open("rb") as file:
        file.seek(12)
        while len(head := file.read(8)) == 8:
            if head[:4] in (b"VP8 ", b"VP8L"):
                return head[:4] == b"VP8 "
            size = int.from_bytes(head[4:], "little")
            file.seek(size + size % 2, 1)
    return False


def _painted(image: Image.Image, *, lossy: bool) -> Painted:
    """What a picture of Pillow shows."""
    if image.mode in ("P", "PA"):
        indices = np.asarray(image)[..., np.newaxis][:, :, :1] if image.mode == "P" else (
            np.asarray(image)[:, :, :1])  # fmt: skip
        colours = np.array(image.getpalette("RGB") or [0, 0, 0]).reshape(-1, 3)
        return Painted(indices, _opacity(image), palette=colours)
    if image.mode in _SIXTEEN_BIT:
        values = np.asarray(image)
        clear = image.info.get("transparency")
        return Painted(values[..., np.newaxis], None if clear is None else values != clear)
    if image.mode in ("1", "L", "I", "F") and not image.has_transparency_data:
        return Painted(np.asarray(image)[..., np.newaxis], lossy=lossy)
    opaque = _opacity(image)
    return Painted(np.asarray(image.convert("RGB")), opaque, lossy=lossy)


def _opacity(image: Image.Image) -> NDArray[np.bool_] | None:
    if not image.has_transparency_data:
        return None
    return np.asarray(np.asarray(image.convert("RGBA"))[:, :, 3] >= 128)


def tissue_px(painted: Painted) -> NDArray[np.bool_]:
    """Px (y, x) that are tissue.

    Examples
    --------
    >>> grey = np.array([[0, 3, 120, 200, 255]], np.uint8)[..., None]
    >>> tissue_px(Painted(grey)).tolist(), tissue_px(Painted(grey // 60)).tolist()
    ([[False, False, False, True, True]], [[False, False, True, True, True]])
    """
    shown = np.ones(painted.values.shape[:2], bool)
    for part in (painted.opaque, painted.held):
        shown = shown if part is None else shown & part
    clear = painted.opaque is not None and not painted.opaque.all()
    if painted.palette is not None:
        return shown & _indexed(painted, clear=clear)
    strength = _strength(painted.values)
    if clear and not strength[shown].any():
        return shown  # black ink
    return shown & _strong(painted, strength, shown)


def _strength(values: Pixels) -> Pixels:
    """The strongest channel of each px."""
    strength: Pixels = values.max(axis=2) if values.shape[2] > 1 else values[:, :, 0]
    return strength


def _indexed(painted: Painted, *, clear: bool) -> NDArray[np.bool_]:
    """Px whose index is not the background's."""
    index, palette = painted.values[:, :, 0], painted.palette
    if clear:
        # Transparency is the ground, but for a black index 0.
        black = not np.any(palette[0])
        return np.asarray((index != 0) if black else np.ones(index.shape, bool))
    used = np.flatnonzero(np.bincount(index.ravel(), minlength=len(palette))[: len(palette)])
    dark = [int(n) for n in used if n and not np.any(palette[n])]
    if np.any(palette[0]) and dark:
        log.warning(
            "tissue mask: index 0 of its palette is no tissue, though its colour is %s and index "
            "%d is black; write it in grey, 0 and 255, if it is meant the other way",
            tuple(int(c) for c in palette[0]), dark[0],
        )  # fmt: skip
    return np.asarray(index != 0)


def _strong(painted: Painted, strength: Pixels, shown: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Px whose values say tissue."""
    if strength.dtype.kind == "b":
        return strength.astype(bool)
    own = strength[shown]
    own = own[np.isfinite(own)] if own.dtype.kind == "f" else own
    top = float(own.max()) if own.size else 0.0
    if not painted.lossy and (_are_numbers(own, top) or _few_colours(painted, own)):
        return np.asarray(strength > 0)
    half = 0.5 if strength.dtype.kind == "f" and top <= 1 else top / 2
    if top <= 0:
        return np.zeros(strength.shape, bool)
    if not painted.lossy:
        _tell_dim(own, half, top)
    return np.asarray(strength >= half)


def _are_numbers(values: Pixels, top: float) -> bool:
    """Whether values are numbers of classes or objects rather than grey values."""
    if values.dtype.kind == "f":
        whole = bool((values == np.rint(values)).all())
        return bool(whole and top < MOST_NUMBERS)
    limit = {1: MOST_NUMBERS, 2: _WIDE_NUMBERS}.get(values.dtype.itemsize)
    return bool(limit is None or top < limit)


def _few_colours(painted: Painted, strength: Pixels) -> bool:
    """Whether values are colours, of few kinds."""
    values = painted.values
    if values.shape[2] == 1 or values.dtype != np.uint8:
        return bool(values.shape[2] > 1)
    if (values == values[:, :, :1]).all():
        return False
    return int((np.bincount(strength, minlength=256) > 0).sum()) <= MOST_NUMBERS


def _tell_dim(values: Pixels, half: float, top: float) -> None:
    """Say that much of what is not black is no tissue."""
    dim, some = int(((values > 0) & (values < half)).sum()), int((values > 0).sum())
    if dim > _LITTLE * some:
        log.warning(
            "tissue mask: %.0f %% of its px above 0 are below half of the largest value, %g, and "
            "no tissue; classes are numbers below %d, or indices of a palette",
            100 * dim / some, top, MOST_NUMBERS,
        )  # fmt: skip
