"""What became of each chunk of a map, and which chunks are stored?"""

from __future__ import annotations

from enum import IntEnum

from gigafcn.output.spec import MapSpec, array_kinds, coded_kind


class ChunkStatus(IntEnum):
    """What is known about one level-0 chunk."""

    ABSENT = 0
    """Not written."""

    COMPUTED = 1
    """Holds the model's values."""

    BACKGROUND = 2
    """Left out on purpose: no tissue or no data there. Reads as the fill value."""

    FAILED = 3
    """Could not be computed. Scores read as the fill value, labels as their code for it."""


def status_codes() -> dict[str, int]:
    """Names of the status codes as stored."""
    return {status.name.lower(): int(status) for status in ChunkStatus}


def stored_statuses(spec: MapSpec) -> tuple[tuple[ChunkStatus, ...], ...]:
    """For each kind of array, the status of chunks that it stores.

    Labels hold a code where computing failed, scores nothing.
    """
    coded = coded_kind(spec)
    failed_too = (ChunkStatus.COMPUTED, ChunkStatus.FAILED)
    return tuple(
        failed_too if coded is not None and kind.planes is None else (ChunkStatus.COMPUTED,)
        for kind in array_kinds(spec)
    )
