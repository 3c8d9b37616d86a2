"""What explains the colours of a picture: legend, colour bar, scale bar.

The swatch of a class runs from its faintest to its strongest paint, as laid over tissue, so that
it is legend and colour bar in one.  Axes are in px from the top left corner of the strip.
"""

from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.font_manager import findfont, get_font
from matplotlib.patches import Rectangle

from gigafcn.output import overlay
from gigafcn.output.palette import is_background

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from numpy.typing import NDArray

    from gigafcn.output.opening import StoredMap

_INK, _SOFT_INK, _FRAME = "#1D2433", "#5B6475", "#C9CED6"
_PALE_TISSUE = (226, 222, 228)  # what a swatch is painted over
_SWATCH_WIDTH, _SWATCH_HEIGHT, _BAR_WIDTH = 130, 16, 420  # px
_ROW_HEIGHT, _TOP, _SPACE = 30, 22, 11  # px
_CHARACTER = 8.7  # px that a character of a legend takes on average, a little generous
_FAILED = "failed, not computed"
_MOST_ENTRIES = 9


def legend_height(entries: int) -> int:
    """Height of the strip in px that this many classes need."""
    return 96 if entries <= 6 else 132


def printable(text: str, longest: int = 80) -> str:
    r"""Return the text on one line, shortened, with ``?`` for what the font cannot draw.

    Examples
    --------
    >>> printable("a slide  with a long name", 12)
    'a slide wit…'
    """
    line = " ".join(text.split())
    if len(line) > longest:
        line = line[: longest - 1] + "…"
    return "".join(c if ord(c) in _drawable() else "?" for c in line)


@cache
def _drawable() -> frozenset[int]:
    return frozenset(get_font(findfont("DejaVu Sans")).get_charmap())


def draw_class_legend(axes: Axes, stored: StoredMap, level: int, shown: tuple[str, ...]) -> None:
    """Draw a swatch, name and share of the map's area per class, the largest first when many."""
    spec = stored.spec
    shares = overlay.class_shares(stored, level)
    entries = [i for i, name in enumerate(spec.classes) if name in shown]
    if len(entries) > _MOST_ENTRIES:
        entries = sorted(entries, key=lambda i: -shares[i])[:_MOST_ENTRIES]
    else:
        entries.sort(key=lambda i: is_background(spec.classes[i]))  # unpainted ones last
    x, y = 0.0, float(_TOP)
    for i in entries:
        text = f"{printable(spec.classes[i], 22)}  {100 * shares[i]:.1f} %"
        painted = not is_background(spec.classes[i])
        x, y = _next_place(axes, x, y, text if painted else f"{text}, not painted")
        if painted:
            _draw_swatch(axes, x, y, spec.colours[i], len(spec.classes))
        x = _finish_entry(axes, x, y, text if painted else f"{text}, not painted")
    others = sum(name in shown for name in spec.classes) - len(entries)
    if others:
        axes.text(x, y + _SWATCH_HEIGHT / 2, f"and {others} more", fontsize=11, va="center")
        x += 8 * _CHARACTER
    if overlay.has_failures(stored):
        _draw_failed(axes, *_next_place(axes, x, y, _FAILED))


def _next_place(axes: Axes, x: float, y: float, text: str) -> tuple[float, float]:
    """Where an entry goes: here, or at the start of the next row when it does not fit."""
    fits = x + _SWATCH_WIDTH + _SPACE + _CHARACTER * len(text) <= axes.get_xlim()[1]
    return (x, y) if fits or x == 0 else (0.0, y + _ROW_HEIGHT)


def _finish_entry(axes: Axes, x: float, y: float, text: str) -> float:
    """Frame the swatch, write the text, and return where the next entry starts."""
    frame = Rectangle(
        (x, y), _SWATCH_WIDTH, _SWATCH_HEIGHT, fill=False, edgecolor=_FRAME, linewidth=1
    )
    axes.add_patch(frame)
    left = x + _SWATCH_WIDTH + _SPACE
    middle = y + _SWATCH_HEIGHT / 2
    axes.text(left, middle, text, fontsize=11, color=_INK, va="center", parse_math=False)
    return left + _CHARACTER * len(text) + 2 * _SPACE


def _draw_swatch(axes: Axes, x: float, y: float, colour: str, classes: int) -> None:
    confidence = np.linspace(1 / classes, 1, _SWATCH_WIDTH, dtype=np.float32)[None]
    _draw_ramp(axes, x, y, overlay.shaded(colour, overlay.opacity(confidence, classes)))


def _draw_ramp(axes: Axes, x: float, y: float, paint: NDArray[np.float32]) -> None:
    """Draw a row of paint as it looks over pale tissue."""
    width = paint.shape[1]
    base = np.full((1, width, 3), _PALE_TISSUE, np.uint8)
    axes.imshow(
        overlay.laid_over(base, paint),
        extent=(x, x + width, y + _SWATCH_HEIGHT, y),
        interpolation="none",
        aspect="auto",
    )


def _draw_failed(axes: Axes, x: float, y: float) -> None:
    axes.add_patch(Rectangle((x, y), _SWATCH_WIDTH, _SWATCH_HEIGHT, facecolor="#2A2A2A"))
    _finish_entry(axes, x, y, _FAILED)


def draw_colour_bar(
    axes: Axes, colours: Colormap, limits: tuple[float, float], what: str, *, failed: bool
) -> None:
    """Draw a horizontal colour bar with five ticks, as its colours look over pale tissue."""
    ramp = np.linspace(0, 1, _BAR_WIDTH, dtype=np.float32)[None]
    _draw_ramp(axes, 0, _TOP, overlay.heat_colours(ramp, colours))
    axes.add_patch(
        Rectangle((0, _TOP), _BAR_WIDTH, _SWATCH_HEIGHT, fill=False, edgecolor=_FRAME, linewidth=1)
    )
    for fraction in (0, 0.25, 0.5, 0.75, 1):
        axes.text(
            fraction * _BAR_WIDTH,
            _TOP + _SWATCH_HEIGHT + 6,
            tick_text(limits, fraction),
            fontsize=10,
            color=_SOFT_INK,
            ha="left" if fraction == 0 else "center",
            va="top",
        )
    right = _BAR_WIDTH + 2 * _SPACE
    axes.text(right, _TOP + _SWATCH_HEIGHT / 2, what, fontsize=11, color=_INK, va="center")
    if failed:
        _draw_failed(axes, right + 16 * _CHARACTER, _TOP)


def tick_text(limits: tuple[float, float], fraction: float) -> str:
    """Value at a fraction of a range, with the digits that the range justifies.

    Examples
    --------
    >>> [tick_text((-4.0, 4.000001), fraction) for fraction in (0, 0.5, 1)]
    ['-4', '0', '4']
    """
    size = limits[1] - limits[0]
    digits = 2 - math.floor(math.log10(size))
    return f"{round(limits[0] + fraction * size, digits) + 0.0:g}"


def draw_scale_bar(axes: Axes, um_per_px: float, size: tuple[int, int]) -> None:
    """Draw a bar of a round length, about a fifth of the panel wide, at the lower left."""
    length_um = round_length(um_per_px * size[1] / 5)
    length_px = length_um / um_per_px
    text = f"{length_um / 1000:g} mm" if length_um >= 1000 else f"{length_um:g} µm"
    x, y = 16.0, size[0] - 18.0
    axes.add_patch(
        Rectangle((x - 8, y - 24), max(length_px, 44) + 16, 34, facecolor="white", alpha=0.8)
    )
    axes.plot([x, x + length_px], [y, y], color=_INK, linewidth=3, solid_capstyle="butt")
    axes.text(x, y - 5, text, fontsize=10, color=_INK, va="bottom")


def round_length(at_most: float) -> float:
    """Largest of 1, 2, 5 times a power of ten that is not above ``at_most``.

    Examples
    --------
    >>> round_length(7300.0), round_length(0.3)
    (5000.0, 0.2)
    """
    power = 10.0 ** math.floor(math.log10(at_most))
    return next(step * power for step in (5, 2, 1) if step * power <= at_most)
