"""Which numbers in an array of classes are no classes?

A px of a map has a class, or was left out on purpose, or could not be computed.  The largest two
numbers that an array can hold say the latter, so that no reader mistakes such a px for the first
class.  Maps of gigafcn 0.1 hold 0 there, and only their status tells.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

MOST_CLASSES_OF_A_BYTE = 253
"""Classes 0 to 252; from one more on labels are uint16."""

COMPUTED = 1
"""In an array that says only which px were computed."""


WITHOUT_CLASS = ("failed", "left out")
"""What labels call them, in the order of :class:`Codes` from below."""


class Codes(NamedTuple):
    """Numbers of px without a class."""

    left_out: int
    """The model was not asked: no tissue, no data. What is not stored reads so."""

    failed: int
    """The slide could not be read there, or the px not be computed."""


def label_dtype(classes: int) -> str:
    """Type of the labels of so many classes.

    Examples
    --------
    >>> label_dtype(253), label_dtype(254)
    ('uint8', 'uint16')
    """
    return "uint8" if classes <= MOST_CLASSES_OF_A_BYTE else "uint16"


def codes_of(dtype: str | np.dtype[np.generic]) -> Codes:
    """Codes in an array of a type.

    Examples
    --------
    >>> codes_of("uint8"), codes_of("uint16")
    (Codes(left_out=255, failed=254), Codes(left_out=65535, failed=65534))
    """
    largest = int(np.iinfo(np.dtype(dtype)).max)
    return Codes(largest, largest - 1)
