"""A first look: the slide beside the slide with its map, in one PNG.

On the left the slide's thumbnail with a scale bar (and the outline of the map when that covers
only a part), on the right the same with the map laid over it: class colours with opacity by
confidence where classes exclude each other, else a heat map per channel.  Below, a legend whose
swatches are the colour bar.  The map is read from the coarsest level that is fine enough.

matplotlib is used through its objects only (Figure on an Agg canvas): no global state, no
display.  It leaves out reading slides: the caller brings the thumbnail.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from gigafcn.errors import UsageError
from gigafcn.output import overlay
from gigafcn.output.disk import replace_file, storing
from gigafcn.output.legend import (
    draw_class_legend,
    draw_colour_bar,
    draw_scale_bar,
    legend_height,
    printable,
)
from gigafcn.output.opening import StoredMap, open_map
from gigafcn.output.palette import is_background
from gigafcn.output.panels import MARGIN, WIDTH_PX, Grid, panel_grid
from gigafcn.output.store import ChunkStatus
from gigafcn.storage.url_path import place_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from gigafcn.geometry import Box

_MARK = {"Software": "gigafcn"}
"""Text inside a picture that says who wrote it."""

_DPI = 100
_MOST_HEAT_MAPS = 3
_PNG_LEVEL = 2  # half of the time that 6 takes, and a tenth more bytes
_WHOLE_SHARE = 0.5  # of the thumbnail: a map that covers less is shown enlarged
_COLOUR_MAP = "viridis"  # even in lightness, and far from the pink and purple of a stained slide
_INK, _SOFT_INK, _FRAME = "#1D2433", "#5B6475", "#C9CED6"


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """A small picture of a slide, or of a part of it."""

    pixels: NDArray[np.uint8]
    """Colours (y, x, 3)."""

    box: Box
    """Level-0 px of the slide that it shows."""

    mpp: tuple[float, float] | None = None
    """Micrometres (y, x) per level-0 px, for the scale bar; None draws none."""

    def __post_init__(self) -> None:
        if self.pixels.ndim != 3 or self.pixels.shape[2] != 3 or self.pixels.dtype != np.uint8:
            raise ValueError(
                f"a thumbnail is uint8 (y, x, 3), got {self.pixels.dtype} {self.pixels.shape}"
            )
        if self.box.is_empty or not self.pixels.size:
            raise ValueError(f"a thumbnail must show at least one pixel, got box {self.box}")


def write_picture(
    png_path: str | Path,
    map_path: str | Path,
    thumbnail: Thumbnail,
    *,
    map_box: Box,
    title: str,
    caption: str = "",
    show: Sequence[str] | None = None,
) -> None:
    """Write a picture of a finished map over its slide, about 1500 px wide.

    Parameters
    ----------
    png_path
        File to write; replaced when it exists.
    map_path
        Directory of the finished map.
    thumbnail
        The slide, or at least the part that the map covers.
    map_box
        Level-0 px of the slide that the map covers.
    title
        First line, such as the slide's name.
    caption
        Second line, such as model, mode and halo.
    show
        Classes to paint; None paints all, or the first three as heat maps when classes do not
        exclude each other.

    Raises
    ------
    UsageError
        When ``show`` names a class that the map does not have.
    SlideError
        When there is no finished map.
    RunError
        When the disk refuses.
    """
    stored = open_map(map_path)
    shown = _shown_classes(stored, show)
    figure = _draw(stored, thumbnail, map_box, title=title, caption=caption, shown=shown)
    with storing(stored.path, stored.spec, "the picture"):
        replace_file(place_of(png_path), _png(figure))


def _png(figure: Figure) -> bytes:
    """The figure as a PNG without transparency, which would take a third longer to pack."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # type: ignore[no-untyped-call]  # of matplotlib
    drawn = np.asarray(canvas.buffer_rgba())  # type: ignore[no-untyped-call]
    pixels = Image.fromarray(np.ascontiguousarray(drawn[..., :3]))
    marks = PngInfo()
    for name, text in _MARK.items():
        marks.add_text(name, text)
    buffer = BytesIO()
    pixels.save(buffer, "png", compress_level=_PNG_LEVEL, pnginfo=marks)
    return buffer.getvalue()


def is_own_picture(png_path: Path) -> bool:
    """Whether the file at ``png_path`` is a picture that :func:`write_picture` wrote."""
    try:
        with png_path.open("rb") as file, Image.open(file) as picture:
            return _MARK.items() <= picture.info.items()
    except (OSError, ValueError):
        return False


def _shown_classes(stored: StoredMap, show: Sequence[str] | None) -> tuple[str, ...]:
    classes, show = stored.spec.classes, show or None  # painting nothing shows nothing
    unknown = [name for name in show or () if name not in classes]
    if unknown:
        raise UsageError(
            f"map {stored.path} has no class {unknown[0]!r}; its classes are {', '.join(classes)}"
        )
    if stored.spec.labels:
        return classes if show is None else tuple(show)
    classes = stored.spec.stored_classes
    painted = [name for name in classes if not is_background(name)] or list(classes)
    return tuple(painted if show is None else show)[:_MOST_HEAT_MAPS]


def _draw(
    stored: StoredMap,
    thumbnail: Thumbnail,
    map_box: Box,
    *,
    title: str,
    caption: str,
    shown: tuple[str, ...],
) -> Figure:
    # A small region is enlarged on the right; both panels keep the shape of what the right shows.
    view = thumbnail.box.intersect(map_box)
    if view.is_empty:
        raise ValueError(f"map {map_box} lies outside the thumbnail {thumbnail.box}")
    if view.area > _WHOLE_SHARE * thumbnail.box.area:
        view = thumbnail.box
    maps = 1 if stored.spec.labels else len(shown)
    grid = panel_grid(1 + maps, view, legend_height(len(shown)))
    figure = Figure(figsize=(WIDTH_PX / _DPI, grid.height / _DPI), dpi=_DPI, facecolor="white")
    _write_header(figure, grid, title, caption)
    base = _cropped(thumbnail, view, grid.panel)
    slide = base if view == thumbnail.box else _whole_slide(thumbnail, grid.panel)
    _draw_slide(figure, grid, thumbnail, slide, map_box, _outline(stored, map_box))
    painter = _Painter(stored, base, view, map_box)
    if stored.spec.labels:
        least = 1 / len(stored.spec.classes)
        name = f"likeliest class, opacity by its probability ({least:.2g} to 1)"
        if len(stored.spec.stored) < len(stored.spec.classes):
            name = "likeliest class"
        _panel(figure, grid, 1, painter.classes(shown), name)
        draw_class_legend(_strip(figure, grid), stored, painter.level, shown)
    else:
        channels = [stored.spec.classes.index(name) for name in shown]
        limits = overlay.heat_limits(stored, painter.level, channels)
        for number, (channel, name) in enumerate(zip(channels, shown, strict=True), start=1):
            _panel(figure, grid, number, painter.heat(channel, limits), name)
        what = "probability" if limits == (0.0, 1.0) else "score"
        draw_colour_bar(
            _strip(figure, grid), mpl.colormaps[_COLOUR_MAP], limits, what,
            failed=overlay.has_failures(stored),
        )  # fmt: skip
    return figure


@dataclass(frozen=True, slots=True)
class _Painter:
    """Paints panels of one view of the slide with one map."""

    stored: StoredMap
    base: NDArray[np.uint8]
    """The slide (y, x, 3) as it fills a panel."""

    view: Box
    map_box: Box

    @property
    def level(self) -> int:
        """Pyramid level that is fine enough for the panel."""
        pairs = zip(self.base.shape, self.map_box.shape, self.view.shape, strict=False)
        y, x = (math.ceil(px * mapped / seen) for px, mapped, seen in pairs)
        return overlay.sufficient_level(self.stored, (y, x))

    def classes(self, shown: tuple[str, ...]) -> NDArray[np.uint8]:
        """Slide with class colours."""
        return self._composed(overlay.class_paint(self.stored, self.level, shown), greyed=0.75)

    def heat(self, channel: int, limits: tuple[float, float]) -> NDArray[np.uint8]:
        """Slide with one heat map."""
        colours = mpl.colormaps[_COLOUR_MAP]
        paint = overlay.heat_paint(self.stored, self.level, channel, colours=colours, limits=limits)
        return self._composed(paint, greyed=1.0)

    def _composed(self, paint: NDArray[np.float32], greyed: float) -> NDArray[np.uint8]:
        base = overlay.greyed(self.base, greyed)
        seen = self.view.intersect(self.map_box)
        y, x = (
            slice(*(round((edge - start) * px / size) for edge in span))
            for span, start, size, px in zip(
                seen.spans, self.view[:2], self.view.shape, base.shape[:2], strict=True
            )
        )
        rows, columns = max(1, y.stop - y.start), max(1, x.stop - x.start)
        target = base[y.start : y.start + rows, x.start : x.start + columns]
        target[...] = overlay.laid_over(
            target, _resized_part(paint, seen, self.map_box, target.shape[:2])
        )
        return base


def _resized_part(
    paint: NDArray[np.float32], part: Box, whole: Box, size: tuple[int, ...]
) -> NDArray[np.float32]:
    """Resize the ``part`` of a paint that covers ``whole``: averaged down, or cells enlarged."""
    fy, fx = paint.shape[0] / whole.shape[0], paint.shape[1] / whole.shape[1]
    y0, x0, y1, x1 = part.shift(-whole.y0, -whole.x0)
    source = (x0 * fx, y0 * fy, x1 * fx, y1 * fy)
    enlarging = size[0] >= source[3] - source[1]
    method = Image.Resampling.NEAREST if enlarging else Image.Resampling.BOX
    planes = (Image.fromarray(np.ascontiguousarray(paint[..., i])) for i in range(4))
    resized = (plane.resize((size[1], size[0]), method, box=source) for plane in planes)
    return np.stack([np.asarray(plane) for plane in resized], axis=-1)


def _cropped(thumbnail: Thumbnail, view: Box, panel: tuple[int, int]) -> NDArray[np.uint8]:
    """Thumbnail of ``view``, resized to a panel."""
    rows, columns = thumbnail.pixels.shape[:2]
    fy, fx = rows / thumbnail.box.shape[0], columns / thumbnail.box.shape[1]
    y0, x0, y1, x1 = view.shift(-thumbnail.box.y0, -thumbnail.box.x0)
    image = Image.fromarray(thumbnail.pixels).resize(
        (panel[1], panel[0]), Image.Resampling.LANCZOS, box=(x0 * fx, y0 * fy, x1 * fx, y1 * fy)
    )
    return np.array(image)


def _whole_slide(thumbnail: Thumbnail, panel: tuple[int, int]) -> NDArray[np.uint8]:
    """All of the thumbnail, as large as a panel allows."""
    scale = _scale(thumbnail.box, panel)
    y, x = (max(1, round(n * scale)) for n in thumbnail.box.shape)
    return _cropped(thumbnail, thumbnail.box, (y, x))


def _scale(box: Box, panel: tuple[int, int]) -> float:
    """Panel px per level-0 px with which all of a box is shown."""
    return min(px / n for px, n in zip(panel, box.shape, strict=True))


def _axes(figure: Figure, top: int, left: int, size: tuple[int, int]) -> Axes:
    """Axes at a place given in px from the top left corner."""
    width, height = (inches * _DPI for inches in figure.get_size_inches())
    bottom = 1 - (top + size[0]) / height
    return figure.add_axes((left / width, bottom, size[1] / width, size[0] / height))


def _panel(figure: Figure, grid: Grid, number: int, pixels: NDArray[np.uint8], name: str) -> Axes:
    top, left = grid.place(number)
    size = (pixels.shape[0], pixels.shape[1])
    # A panel of another shape than the others (the whole slide beside a region) is centred.
    top += (grid.panel[0] - size[0]) // 2
    left += (grid.panel[1] - size[1]) // 2
    axes = _axes(figure, top, left, size)
    axes.imshow(pixels, interpolation="none", aspect="auto")
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_edgecolor(_FRAME)
    axes.set_title(
        printable(name), loc="left", fontsize=11, color=_SOFT_INK, pad=6, parse_math=False
    )
    return axes


def _outline(stored: StoredMap, map_box: Box) -> NDArray[np.float64]:
    """Lines (n, 2, 2) of x, y in level-0 px around what was left out as background."""
    left_out = stored.status == ChunkStatus.BACKGROUND
    edges = []
    for axis, cells in enumerate(left_out.shape):
        place = np.minimum(np.arange(cells + 1) * stored.spec.chunk, stored.spec.shape[axis])
        share = place / stored.spec.shape[axis]
        edges.append(map_box[axis] + share * map_box.shape[axis])
    rows, columns = edges
    across, down = np.argwhere(np.diff(left_out, axis=0)), np.argwhere(np.diff(left_out, axis=1))
    lines = [((columns[x], rows[y + 1]), (columns[x + 1], rows[y + 1])) for y, x in across] + [
        ((columns[x + 1], rows[y]), (columns[x + 1], rows[y + 1])) for y, x in down
    ]
    return np.array(lines, np.float64).reshape(-1, 2, 2)


def _draw_slide(
    figure: Figure,
    grid: Grid,
    thumbnail: Thumbnail,
    pixels: NDArray[np.uint8],
    map_box: Box,
    outline: NDArray[np.float64],
) -> None:
    box = thumbnail.box
    scale = _scale(box, grid.panel)
    axes = _panel(figure, grid, 0, pixels, "slide")
    if thumbnail.mpp is not None:
        draw_scale_bar(axes, thumbnail.mpp[1] / scale, (pixels.shape[0], pixels.shape[1]))
    if len(outline):
        placed = (outline - (box.x0, box.y0)) * scale - 0.5
        axes.add_collection(
            LineCollection(list(placed), colors=_INK, linewidths=0.9, capstyle="projecting")
        )
    seen = map_box.intersect(box)
    if seen != box:
        y, x = (seen.y0 - box.y0) * scale, (seen.x0 - box.x0) * scale
        height, width = (n * scale for n in seen.shape)
        axes.add_patch(
            Rectangle((x - 0.5, y - 0.5), width, height, fill=False, edgecolor=_INK, linewidth=1.8)
        )


def _write_header(figure: Figure, grid: Grid, title: str, caption: str) -> None:
    x = MARGIN / WIDTH_PX
    title_y, caption_y = 1 - 40 / grid.height, 1 - 70 / grid.height
    figure.text(
        x, title_y, printable(title, 90), fontsize=19, fontweight="bold", color=_INK,
        va="center", parse_math=False,
    )  # fmt: skip
    figure.text(
        x, caption_y, printable(caption, 160), fontsize=11.5, color=_SOFT_INK,
        va="center", parse_math=False,
    )  # fmt: skip


def _strip(figure: Figure, grid: Grid) -> Axes:
    """Axes below the panels, in px from its own top left corner."""
    size = (grid.legend, WIDTH_PX - 2 * MARGIN)
    axes = _axes(figure, grid.height - grid.legend, MARGIN, size)
    axes.set_xlim(0, size[1])
    axes.set_ylim(size[0], 0)
    axes.axis("off")
    return axes
