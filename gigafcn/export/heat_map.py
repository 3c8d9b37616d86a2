"""One class of a map as a picture: a heat map with colour bar and scale bar.

Without the slide the colours are opaque, and pixels that were not computed are pale grey; with it
they lie over the slide drawn grey, the more opaque the higher the score.  The map is read from the
coarsest level that is fine enough for the picture.

matplotlib is used through its objects only: no global state, no display.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from gigafcn.errors import UsageError
from gigafcn.export.frame import Frame, frame_of
from gigafcn.export.places import generator
from gigafcn.geometry import Box
from gigafcn.output import overlay
from gigafcn.output.legend import draw_scale_bar, printable, tick_text
from gigafcn.output.palette import is_background
from gigafcn.output.placing import slide_image, slide_turned
from gigafcn.output.reading import channels_of, check_scores
from gigafcn.slide.opening import open_slide
from gigafcn.slide.thumbnail import read_thumbnail

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from numpy.typing import NDArray

    from gigafcn.output.opening import StoredMap

LEAST_PX, MOST_PX = 64, 20_000
"""Limits of the longer side of the map in the picture."""

_DPI = 100
_MARGIN, _HEADER, _STRIP = 36, 84, 84  # px
_LEAST_WIDTH = 620  # px that title and colour bar need
_BAR = (420, 16)  # px (x, y)
_JPEG_QUALITY = 90
_INK, _SOFT_INK, _FRAME = "#1D2433", "#5B6475", "#C9CED6"
_NOT_COMPUTED = 232  # grey level


@dataclass(frozen=True, slots=True)
class HeatMapOptions:
    """What the picture shows."""

    classes: tuple[str, ...] | None = None
    """The one class to show; None when the map has but one besides the background."""

    colormap: str = "viridis"
    """Name of one of matplotlib's colour maps."""

    max_px: int = 1600
    """Longer side of the map in the picture."""

    slide: str | None = None
    """File of the slide, to lie below."""

    def __post_init__(self) -> None:
        if self.colormap not in mpl.colormaps:
            raise UsageError(
                f"matplotlib has no colour map {self.colormap!r}; try viridis, magma, inferno, "
                f"cividis, turbo or Reds"
            )
        if not LEAST_PX <= self.max_px <= MOST_PX:
            raise UsageError(f"max-px must be {LEAST_PX} to {MOST_PX}, got {self.max_px}")


def shown_class(stored: StoredMap, options: HeatMapOptions) -> str:
    """The class that a picture shows.

    Raises
    ------
    UsageError
        When that is not one class of the map.
    """
    classes = stored.spec.stored_classes
    named = options.classes or tuple(n for n in classes if not is_background(n))
    if len(named) != 1:
        raise UsageError(f"a heat map shows one class; name one of {', '.join(classes)}")
    channels_of(stored, named)
    return named[0]


def write_png(target: Path, stored: StoredMap, options: HeatMapOptions) -> dict[str, int]:
    """Write the picture as PNG; return its size in px."""
    figure = _draw(stored, options)
    figure.savefig(target, format="png", dpi=_DPI, metadata={"Software": generator()})
    return _size(figure)


def write_jpeg(target: Path, stored: StoredMap, options: HeatMapOptions) -> dict[str, int]:
    """Write the picture as JPEG; return its size in px."""
    figure = _draw(stored, options)
    kwargs = {"quality": _JPEG_QUALITY, "comment": generator(), "optimize": True}
    figure.savefig(target, format="jpeg", dpi=_DPI, pil_kwargs=kwargs)
    return _size(figure)


def _size(figure: Figure) -> dict[str, int]:
    width, height = (round(inches * _DPI) for inches in figure.get_size_inches())
    return {"width": width, "height": height}


def _draw(stored: StoredMap, options: HeatMapOptions) -> Figure:
    check_scores(stored)
    name = shown_class(stored, options)
    colours = mpl.colormaps[options.colormap]
    frame = frame_of(stored, crop=False)
    panel = _panel(stored, frame, options.max_px)
    level = overlay.sufficient_level(stored, panel)
    channel = stored.spec.classes.index(name)
    limits = overlay.heat_limits(stored, level, [channel])
    if options.slide is None:
        paint = _opaque(stored, level, channel, colours, limits)
        base = np.full((*panel, 3), _NOT_COMPUTED, np.uint8)
    else:
        paint = overlay.heat_paint(stored, level, channel, colours=colours, limits=limits)
        base = _slide_below(stored, frame, options.slide, panel)
    pixels = overlay.laid_over(base, _resized(paint, panel))
    width, height = max(panel[1], _LEAST_WIDTH) + 2 * _MARGIN, panel[0] + _HEADER + _STRIP
    figure = Figure(figsize=(width / _DPI, height / _DPI), dpi=_DPI, facecolor="white")
    FigureCanvasAgg(figure)
    axes = _axes(figure, _HEADER, _MARGIN, panel)
    _show(axes, pixels)
    if stored.spec.mpp is not None:
        draw_scale_bar(axes, _um_per_px(stored, panel), panel)
    model = stored.provenance.get("model")
    caption = f"model {model['name']}" if isinstance(model, dict) and "name" in model else ""
    _write(figure, 30, f"{name}  ·  {stored.spec.name}", size=15, weight="bold", colour=_INK)
    _write(figure, 58, caption, size=10.5, weight="normal", colour=_SOFT_INK)
    _draw_bar(figure, colours, limits, translucent=options.slide is not None)
    return figure


def _panel(stored: StoredMap, frame: Frame, most: int) -> tuple[int, int]:
    """Size (y, x) in px of the map in the picture, with the proportions of the slide."""
    seen = [n * scale for n, scale in zip(stored.spec.shape, frame.scale, strict=True)]
    factor = most / max(seen)
    return max(1, round(seen[0] * factor)), max(1, round(seen[1] * factor))


def _um_per_px(stored: StoredMap, panel: tuple[int, int]) -> float:
    spec = stored.spec
    assert spec.mpp is not None
    return spec.shape[1] * spec.mpp[1] * float(spec.stride[1]) / panel[1]


def _opaque(
    stored: StoredMap, level: int, channel: int, colours: Colormap, limits: tuple[float, float]
) -> NDArray[np.float32]:
    """Paint (y, x, 4) in full colours; nothing where nothing was computed."""
    values = overlay.probabilities(stored, level, channel)
    height = np.clip(np.nan_to_num((values - limits[0]) / (limits[1] - limits[0])), 0, 1)
    paint = np.asarray(colours(height), np.float32)
    paint[np.isnan(values)] = 0
    return paint


def _slide_below(
    stored: StoredMap, frame: Frame, path: str, panel: tuple[int, int]
) -> NDArray[np.uint8]:
    """The part of the slide that the map covers, grey."""
    slide = open_slide(path, image=slide_image(stored), orient=slide_turned(stored))
    try:
        whole = slide.levels[0].shape
        spans = [
            (origin, origin + n * scale)
            for origin, n, scale in zip(frame.origin, stored.spec.shape, frame.scale, strict=True)
        ]
        covered = Box(*(round(spans[axis][end]) for end in (0, 1) for axis in (0, 1)))
        seen = covered.clip(whole)
        if seen.is_empty:
            raise UsageError(f"map {stored.path} does not lie on slide {path}")
        side = max(panel) * max(n / m for n, m in zip(seen.shape, covered.shape, strict=True))
        thumbnail = read_thumbnail(slide, max_px=max(1, min(MOST_PX, round(side))), box=seen)
    finally:
        slide.close()
    fy, fx = (n / size for n, size in zip(thumbnail.shape, seen.shape, strict=False))
    around = covered.shift(-seen.y0, -seen.x0)
    part = Image.fromarray(thumbnail).transform(
        (panel[1], panel[0]), Image.Transform.EXTENT,
        (around.x0 * fx, around.y0 * fy, around.x1 * fx, around.y1 * fy),
        Image.Resampling.BILINEAR, fillcolor=(255, 255, 255),
    )  # fmt: skip
    return overlay.greyed(np.asarray(part), 1.0)


def _resized(paint: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """Paint averaged down to a size, or its cells enlarged."""
    method = Image.Resampling.NEAREST if size[0] >= paint.shape[0] else Image.Resampling.BOX
    planes = (Image.fromarray(np.ascontiguousarray(paint[..., i])) for i in range(4))
    return np.stack([np.asarray(p.resize(size[::-1], method)) for p in planes], axis=-1)


def _axes(figure: Figure, top: int, left: int, size: tuple[int, int]) -> Axes:
    """Axes of (y, x) px at a place given in px from the top left corner."""
    width, height = (inches * _DPI for inches in figure.get_size_inches())
    bottom = 1 - (top + size[0]) / height
    return figure.add_axes((left / width, bottom, size[1] / width, size[0] / height))


def _show(axes: Axes, pixels: NDArray[np.uint8]) -> None:
    axes.imshow(pixels, interpolation="none", aspect="auto")
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_edgecolor(_FRAME)


def _write(figure: Figure, top: int, text: str, *, size: float, weight: str, colour: str) -> None:
    width, height = (inches * _DPI for inches in figure.get_size_inches())
    most = int((width - 2 * _MARGIN) / (0.95 * size))
    figure.text(
        _MARGIN / width, 1 - top / height, printable(text, most), fontsize=size,
        fontweight=weight, color=colour, va="center", parse_math=False,
    )  # fmt: skip


def _draw_bar(
    figure: Figure, colours: Colormap, limits: tuple[float, float], *, translucent: bool
) -> None:
    """Colour bar with five ticks, in the colours of the map."""
    height = round(figure.get_size_inches()[1] * _DPI)
    width, thickness = _BAR
    top = height - _STRIP + 22
    axes = _axes(figure, top, _MARGIN, (thickness, width))
    ramp = np.linspace(0, 1, width, dtype=np.float32)[None]
    paint = overlay.heat_colours(ramp, colours) if translucent else colours(ramp)
    _show(axes, overlay.laid_over(np.full((1, width, 3), 225, np.uint8), paint))
    what = "probability" if limits == (0.0, 1.0) else "score"
    full = figure.get_size_inches()[0] * _DPI
    for fraction in (0, 0.25, 0.5, 0.75, 1):
        figure.text(
            (_MARGIN + fraction * width) / full, 1 - (top + thickness + 6) / height,
            tick_text(limits, fraction), fontsize=10, color=_SOFT_INK, va="top",
            ha="left" if fraction == 0 else "center",
        )  # fmt: skip
    figure.text(
        (_MARGIN + width + 22) / full, 1 - (top + thickness / 2) / height, what,
        fontsize=11, color=_INK, va="center",
    )  # fmt: skip
