"""What becomes of a tile whose worker process dies?

A death says little: of the tiles that were assigned to the worker, one was being computed, and
that one may be innocent too.  Dask gives such tiles to other workers.  One that was involved in
several deaths is a suspect: it is tried again once all others are done, with no other task
anywhere, so that whatever happens is its own doing.  Three deaths alone, and it is computed in
halves; three more, and it is given up, and the map says so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gigafcn.engine.easing import HALVED
from gigafcn.errors import RunError, WorkersDied

if TYPE_CHECKING:
    from collections.abc import Callable

    from gigafcn.geometry import Box

DEATHS = 3
"""Of workers that a tile may cause on each rung; foreign schedulers have a number of their own."""

RUNGS = (0, HALVED)
"""Of the ladder of ``engine.easing``, on which a suspect is tried."""

HOPELESS = 6
"""Suspects, before any tile was computed, from which on it is not the tiles that kill workers."""


def refuse_hopeless(suspects: int, computed: int) -> None:
    """Raise if workers die whatever they compute.

    Raises
    ------
    RunError
        Naming what may kill them.
    """
    if suspects >= HOPELESS and not computed:
        raise RunError(
            f"worker processes die: {suspects} tiles were tried {DEATHS} times each, and none was "
            f"computed. The system may have ended them for lack of memory, which --memory and "
            f"fewer --workers avoid; else the model crashes, which a run without --workers shows"
        )


def tried_alone(tile: Box, attempt: Callable[[int], BaseException | None]) -> WorkersDied | None:
    """Try a suspect rung by rung; returns why it was given up, None if it was not.

    Parameters
    ----------
    attempt
        Computes the tile alone, beginning on a rung; returns what Dask says of its workers'
        deaths, None if none died.
    """
    cause = None
    for rung in RUNGS:
        cause = attempt(rung)
        if cause is None:
            return None
    error = WorkersDied(
        f"worker processes died {DEATHS} times while they computed nothing but this tile, and as "
        f"often with half of it at a time"
    )
    error.__cause__ = cause
    return error
