"""How is an option's value written as text?

The same text is accepted on the command line and in TOML: ``4GiB``, ``1024,2048``,
``tumour,stroma``.  Each parser takes whatever TOML or the command line produced, turns text into
plain values and leaves everything else to pydantic.  A wrong text raises ``ValueError`` with what
was expected; who calls adds the option's name.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

UNITS = {
    "": 1,
    "B": 1,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "K": 2**10,
    "M": 2**20,
    "G": 2**30,
    "T": 2**40,
    "KIB": 2**10,
    "MIB": 2**20,
    "GIB": 2**30,
    "TIB": 2**40,
}
"""Bytes per unit, in capitals; a bare letter is binary, as for Slurm and systemd."""

_AMOUNT = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*")


def unwrap(value: Any) -> Any:
    """Undo the one-element list in which the command line hands over a text for a tuple.

    Examples
    --------
    >>> unwrap(["1024,2048"])
    '1024,2048'
    >>> unwrap([1024, 2048])
    [1024, 2048]
    """
    if isinstance(value, list | tuple) and len(value) == 1 and isinstance(value[0], str):
        return value[0]
    return value


def parse_bytes(value: Any) -> Any:
    """Number of bytes of an amount of memory.

    Raises
    ------
    ValueError
        If the text is no amount.

    Examples
    --------
    >>> parse_bytes("4GiB"), parse_bytes("500 MB")
    (4294967296, 500000000)
    """
    if not isinstance(value, str):
        return value
    found = _AMOUNT.fullmatch(value)
    unit = found.group(2).upper() if found else None
    if found is None or unit not in UNITS:
        raise ValueError(f"{value!r} is no amount of memory; write it like 4GiB or 500MB")
    return int(Decimal(found.group(1)) * UNITS[unit])


def parse_list(value: Any) -> Any:
    """Items of a list written with commas.

    Examples
    --------
    >>> parse_list(["background, tissue"])
    ('background', 'tissue')
    """
    value = unwrap(value)
    if isinstance(value, str):
        return tuple(item.strip() for item in value.split(","))
    if isinstance(value, int | float) and not isinstance(value, bool):
        return (value,)
    return value


def parse_pair(value: Any) -> Any:
    """One number for both axes, or two as (y, x).

    Raises
    ------
    ValueError
        If there are more than two.

    Examples
    --------
    >>> parse_pair("1024"), parse_pair("1024,2048")
    ('1024', ('1024', '2048'))
    """
    value = unwrap(value)
    items = parse_list(value) if isinstance(value, str) else value
    if isinstance(items, list | tuple):
        if len(items) not in (1, 2):
            raise ValueError(f"expected one number or two as Y,X, got {len(items)}")
        return items[0] if len(items) == 1 else tuple(items)
    return items


def parse_number_or_list(value: Any) -> Any:
    """One number, or several written with commas.

    Examples
    --------
    >>> parse_number_or_list("0.5"), parse_number_or_list("0.5,1")
    ('0.5', ('0.5', '1'))
    """
    items = parse_list(value)
    return items[0] if isinstance(items, list | tuple) and len(items) == 1 else items


def parse_channels(value: Any) -> Any:
    """Channels by number or name.

    Examples
    --------
    >>> parse_channels(["2,DAPI"])
    (2, 'DAPI')
    """
    items = parse_list(value)
    if not isinstance(items, list | tuple):
        return items
    return tuple(
        int(item) if isinstance(item, str) and item.isdecimal() else item for item in items
    )


def parse_plane(value: Any) -> Any:
    """Plane of a stack written ``t=0,z=2``.

    Raises
    ------
    ValueError
        If it is written otherwise.

    Examples
    --------
    >>> parse_plane(["t=0, z=2"])
    {'t': 0, 'z': 2}
    """
    written = unwrap(value)
    if not isinstance(written, str | list | tuple):
        return written
    items = [str(item).partition("=") for item in parse_list(written)]
    if not all(axis.strip() and index.strip().isdecimal() for axis, _, index in items):
        raise ValueError(f"expected an index per axis like t=0,z=2, got {_shown(written)}")
    return {axis.strip().lower(): int(index) for axis, _, index in items}


def parse_image(value: Any) -> Any:
    """Number of an image, or a word.

    Examples
    --------
    >>> parse_image("2"), parse_image("all")
    (2, 'all')
    """
    written = unwrap(value)
    return int(written) if isinstance(written, str) and written.isdecimal() else written


def parse_region(value: Any) -> Any:
    """Region written ``X,Y,W,H``: left, top, width, height in px of level 0.

    Raises
    ------
    ValueError
        If there are not four whole numbers, or the region is empty or starts before the image.

    Examples
    --------
    >>> parse_region("100, 200, 640, 480")
    (100, 200, 640, 480)
    """
    if value is None:
        return None
    written = unwrap(value)
    items = parse_list(written)
    try:
        x, y, width, height = (int(item) for item in items)
    except (TypeError, ValueError):
        raise ValueError(
            f"expected X,Y,W,H in level-0 px as four whole numbers, got {_shown(written)}"
        ) from None
    if x < 0 or y < 0:
        raise ValueError(f"X and Y count from the image's top left corner, got {x},{y}")
    if width < 1 or height < 1:
        raise ValueError(f"W and H must be at least 1 px, got {width},{height}")
    return x, y, width, height


def _shown(value: Any) -> str:
    return repr(value) if isinstance(value, str) else str(value)
