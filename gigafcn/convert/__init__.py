"""Classifiers of patches as fully convolutional networks that map images of any size."""

from gigafcn.convert.conversion import Conversion, convert, to_fully_convolutional
from gigafcn.convert.patches import (
    Difference,
    guess_patch,
    is_patch_classifier,
    measure_difference,
)

__all__ = [
    "Conversion",
    "Difference",
    "convert",
    "guess_patch",
    "is_patch_classifier",
    "measure_difference",
    "to_fully_convolutional",
]
