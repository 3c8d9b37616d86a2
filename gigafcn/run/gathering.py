"""What do the receipts of all tiles say together: status of each chunk, and what was missing?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gigafcn.engine.scores import in_store
from gigafcn.errors import RunError
from gigafcn.geometry import Box
from gigafcn.output.spec import status_slices
from gigafcn.output.store import ChunkStatus, empty_status
from gigafcn.schedule.run_folder import tile_piece
from gigafcn.slide.marks import Mark

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    import numpy as np
    from numpy.typing import NDArray

    from gigafcn.plan.run_plan import RunPlan
    from gigafcn.schedule.run_folder import Receipt

LISTED = 5
"""Regions named in a message."""


@dataclass(frozen=True, slots=True)
class Gathered:
    """Sum of the receipts of a run's tiles."""

    status: NDArray[np.uint8]
    """Cells (y, x) of the whole map."""

    failed: tuple[Box, ...]
    """What could not be read, in px of the level that was read, neighbours merged."""

    marks: dict[str, int]
    """Px of the image that are not what was scanned, by kind of mark."""

    devices: tuple[str, ...] = ()
    """On which tiles were computed: a run may be gone on with on another one."""

    eased: tuple[Box, ...] = ()
    """Tiles that were computed with less at a time than planned, in map px."""

    given_up: tuple[Box, ...] = ()
    """Tiles that were not computed at all, in map px."""

    def of_tiles(self) -> dict[str, Any]:
        """What a map says of the computing of its tiles."""
        return {
            "devices": list(self.devices),
            "eased": [list(box) for box in self.eased],
            "failed": [list(box) for box in self.given_up],
        }

    def to_json(self) -> dict[str, Any]:
        """What a map says of the pixels it rests on."""
        counted = {f"{name}_px": count for name, count in sorted(self.marks.items())}
        return {**counted, "failed_regions": [list(box) for box in self.failed]}


def gathered(
    plan: RunPlan, receipts: Mapping[str, Receipt], given_up: Collection[Box] = ()
) -> Gathered:
    """Add up the receipts of all tiles of a plan.

    Parameters
    ----------
    given_up
        Tiles that failed altogether.

    Raises
    ------
    RunError
        If no chunk could be computed.
    """
    status = empty_status(plan.spec)
    if plan.tissue is not None:
        status[~plan.tissue.cells()] = ChunkStatus.BACKGROUND
    devices: set[str] = set()
    eased: list[Box] = []
    failed: set[Box] = set()
    marks = {mark.name.lower(): 0 for mark in (Mark.GAP, Mark.NO_DATA, Mark.FAILED)}
    for tile in plan.tiles():
        if tile in given_up:
            lost = status[status_slices(plan.spec, in_store(tile, plan))]
            lost[lost != ChunkStatus.BACKGROUND] = ChunkStatus.FAILED
            continue
        receipt = receipts.get(tile_piece(tile))
        if receipt is None:
            continue
        devices.add(str(receipt.counts.get("device")))
        if "eased" in receipt.counts:
            eased.append(tile)
        rows = [[int(digit) for digit in row] for row in receipt.status]
        status[status_slices(plan.spec, in_store(tile, plan))] = rows
        failed.update(Box(*box) for box in receipt.failed)
        for name in marks:
            marks[name] += receipt.counts.get(name, 0)
    if (status == ChunkStatus.FAILED).any() and not (status == ChunkStatus.COMPUTED).any():
        raise RunError(
            f"every chunk of the map, {plan.spec.chunk} px a side, has px that could not be read, "
            f"{regions(merged(failed))}; the file is damaged: copy or export it again"
        )
    return Gathered(
        status, merged(failed), marks, tuple(sorted(devices)), tuple(eased), tuple(given_up)
    )


def merged(boxes: Iterable[Box]) -> tuple[Box, ...]:
    """Boxes of one grid joined along rows, then rows of equal width joined downwards.

    Examples
    --------
    >>> merged([Box(0, 4, 4, 8), Box(0, 0, 4, 4), Box(4, 0, 8, 8), Box(20, 0, 24, 4)])
    (Box(y0=0, x0=0, y1=8, x1=8), Box(y0=20, x0=0, y1=24, x1=4))
    """
    rows: list[Box] = []
    for box in sorted(boxes):
        last = rows[-1] if rows else None
        if last is not None and (last.y, last.x1) == (box.y, box.x0):
            rows[-1] = last._replace(x1=box.x1)
        else:
            rows.append(box)
    done: list[Box] = []
    for row in sorted(rows, key=lambda box: (box.x, box.y)):
        last = done[-1] if done else None
        if last is not None and (last.x, last.y1) == (row.x, row.y0):
            done[-1] = last._replace(y1=row.y1)
        else:
            done.append(row)
    return tuple(sorted(done))


def regions(failed: Iterable[Box]) -> str:
    """The first few of some regions, and how many there are.

    Examples
    --------
    >>> regions([Box(0, 0, 4, 4)])
    '1 region: (0, 0, 4, 4) (y0, x0, y1, x1)'
    """
    boxes = list(failed)
    listed = ", ".join(str(tuple(box)) for box in boxes[:LISTED])
    more = f" and {len(boxes) - LISTED} more" if len(boxes) > LISTED else ""
    noun = "region" if len(boxes) == 1 else "regions"
    return f"{len(boxes)} {noun}: {listed}{more} (y0, x0, y1, x1)"
