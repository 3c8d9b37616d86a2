"""What of a file is wanted, where it holds more than one answer?"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

LEVELS_FROM = ("sizes", "metadata")
"""What may decide how large the px of a pyramid's level are."""

EVERY = "all"
"""As ``--image``: a map of each image."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is taken of a file; see :func:`gigafcn.slide.open_slide`."""

    plane: Mapping[str, int] = field(default_factory=dict)
    """Of a stack the index along each further axis."""

    image: int | None = None
    """Number of one of several images."""

    levels_from: str | None = None
    """One of ``LEVELS_FROM``; None asks where the two contradict each other."""

    named: bool = True
    """Whether a question may show the names of images, which are free text."""

    every: bool = False
    """Whether the one who asks can make a map of each image."""

    orient: bool = False
    """Whether a picture is turned as it says itself."""

    mask: bool = False
    """Whether it is a mask of tissue or truth, which may well be called a label."""


ANYTHING = Wanted()
"""Nothing in particular: whatever is asked stays open."""
