"""What becomes of a map when tiles failed?

Tiles of which worker processes died again and again are given up: the map is finished without
them, says so, and the command fails; the same command tries them again.  With any other failure,
which somebody has to do something about, the map stays unfinished.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gigafcn.engine.scores import in_store
from gigafcn.errors import GigafcnError, RunError, WorkersDied
from gigafcn.output.chunk_status import ChunkStatus
from gigafcn.output.disk import storing
from gigafcn.output.label_codes import codes_of
from gigafcn.output.spec import array_kinds, coded_kind, status_slices
from gigafcn.output.store import MapStore
from gigafcn.output.tile_pyramid import drop_shards_within
from gigafcn.schedule.run_folder import tile_piece

if TYPE_CHECKING:
    from gigafcn.geometry import Box
    from gigafcn.plan.run_plan import RunPlan
    from gigafcn.schedule.driver import Outcome
    from gigafcn.schedule.run_folder import RunFolder

LISTED_TILES = 5


def given_up(outcome: Outcome, count: int) -> tuple[Box, ...]:
    """Tiles without which the map is finished.

    Parameters
    ----------
    count
        Tiles of the whole map.

    Raises
    ------
    GigafcnError
        If a tile failed for another reason, or nothing was computed: the error itself when its
        tile was the whole run.
    """
    failures = outcome.failures
    if not failures:
        return ()
    error = failures[0][1]
    if count == 1 and isinstance(error, GigafcnError):
        raise error
    others = any(not isinstance(error, WorkersDied) for _, error in failures)
    if others or len(failures) == count:
        raise _of_all(outcome, count)
    return tuple(tile for tile, _ in failures)


def refuse_given_up(outcome: Outcome, count: int) -> None:
    """Raise, once the map is finished, what it lacks.

    Raises
    ------
    RunError
        Naming the tiles that were given up.
    """
    if outcome.failures:
        raise _of_all(outcome, count, "the map holds all others and says so; ")


def clear(folder: RunFolder, plan: RunPlan, tiles: tuple[Box, ...]) -> None:
    """Mark tiles that were given up as failed; nothing is left of attempts or of an earlier run."""
    store = MapStore(folder.map_path, plan.spec)
    for tile in tiles:
        place = in_store(tile, plan)
        with storing(folder.map_path, plan.spec, f"tile {tuple(tile)}"):
            drop_shards_within(folder.map_path, plan.spec, place)
            folder.remove(tile_piece(tile))
        _mark_failed(store, plan, place)


def _mark_failed(store: MapStore, plan: RunPlan, tile: Box) -> None:
    """Store the code of what failed in all chunks of a tile that are not left out."""
    spec, pyramid = plan.spec, store.tile_pyramid(tile)
    coded = coded_kind(spec)
    for top in range(tile.y0, tile.y1, spec.shard):
        row = tile._replace(y0=top, y1=min(top + spec.shard, tile.y1))
        status = np.full(spec.status_shape, ChunkStatus.FAILED, np.uint8)[status_slices(spec, row)]
        if plan.tissue is not None:
            status[~plan.tissue.cells()[status_slices(spec, row)]] = ChunkStatus.BACKGROUND
        store.write(row, None, None, status)
        if coded is None:
            continue
        scores = (
            np.full((len(spec.stored), *row.shape), array_kinds(spec)[0].fill, spec.dtype)
            if spec.stored
            else None
        )
        codes = codes_of(coded.dtype)
        labels = np.full(row.shape, codes.left_out, coded.dtype)
        for y, x in np.argwhere(status == ChunkStatus.FAILED) * spec.chunk:
            labels[y : y + spec.chunk, x : x + spec.chunk] = codes.failed
        pyramid.add(row, scores, labels, status)
    pyramid.finish()


def _of_all(outcome: Outcome, count: int, also: str = "") -> RunError:
    failures = outcome.failures
    listed = ", ".join(str(tuple(tile)) for tile, _ in failures[:LISTED_TILES])
    more = f" and {len(failures) - LISTED_TILES} more" if len(failures) > LISTED_TILES else ""
    error = RunError(
        f"{len(failures)} of {count} tiles failed: {listed}{more} (y0, x0, y1, x1 in map px); "
        f"the first: {failures[0][1]}; {also}the same command tries these again"
    )
    error.__cause__ = failures[0][1]
    return error
