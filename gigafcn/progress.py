"""What a run tells its caller while it works."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Progress:
    """One report of a run's progress, handed to the ``progress=`` callback."""

    stage: str
    """What is being done: "compute", then "pyramid" if tiles left something of it."""

    tiles_done: int
    """Tiles finished so far."""

    tiles: int
    """Tiles of this stage."""

    pixels_done: int
    """Map pixels finished so far; grows within a tile, strip by strip."""

    pixels: int
    """Map pixels of this stage."""

    seconds: float
    """Seconds since the stage began."""

    workers: int = 1
    """Processes at work; in a cluster this changes while the run goes on."""

    failed: int = 0
    """Tiles that were given up."""

    retried: int = 0
    """Tiles that had to be handed out once more, since their worker died."""


ProgressCallback = Callable[[Progress], None]
"""Called from the run's own thread; must return quickly."""
