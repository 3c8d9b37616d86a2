"""Which layouts can no map have?

Each check refuses one kind of mistake in a :class:`~gigafcn.output.spec.MapSpec`, by its value.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from gigafcn.errors import UsageError

if TYPE_CHECKING:
    from gigafcn.output.spec import MapSpec

COARSEST_PX = 512
"""The pyramid ends at the first level whose longer side is at most this."""

DTYPES = ("uint8", "float16", "float32")
"""Value types that a map may have."""

HEX_COLOUR = re.compile(r"[0-9A-Fa-f]{6}")


def check_layout(spec: MapSpec) -> None:
    """Refuse sizes, types and chunks that no map can have."""
    if len(spec.shape) != 2 or not all(_is_count(n) for n in spec.shape):
        raise UsageError(f"a map must have at least 1 x 1 px, got shape (y, x) {spec.shape}")
    if spec.dtype not in DTYPES:
        raise UsageError(f"map dtype must be one of {', '.join(DTYPES)}, got {spec.dtype!r}")
    if not _is_count(spec.chunk) or not _is_count(spec.shard) or spec.shard % spec.chunk:
        raise UsageError(
            f"shard must be a positive multiple of chunk, got shard {spec.shard} px, "
            f"chunk {spec.chunk} px"
        )
    # A 2 x 2 block of source pixels must not lie in two source shards.
    if spec.shard % 2 and max(spec.shape) > max(spec.shard, COARSEST_PX):
        raise UsageError(
            f"shard must be even for a map of {spec.shape[0]} x {spec.shape[1]} px, "
            f"got {spec.shard} px; choose an even chunk"
        )


def check_classes(spec: MapSpec) -> None:
    """Refuse names, colours and numbers of classes that do not fit each other."""
    if not spec.classes or len(set(spec.classes)) != len(spec.classes):
        raise UsageError(f"class names must be present and differ, got {list(spec.classes)}")
    if not all(isinstance(name, str) and name for name in spec.classes):
        raise UsageError(f"class names must be non-empty text, got {list(spec.classes)}")
    if len(spec.colours) != len(spec.classes):
        raise UsageError(
            f"one colour per class is needed, got {len(spec.colours)} colours "
            f"for {len(spec.classes)} classes"
        )
    for colour in spec.colours:
        if not isinstance(colour, str) or not HEX_COLOUR.fullmatch(colour):
            raise UsageError(f"a colour must be written RRGGBB, got {colour!r}")
    if spec.labels and len(spec.classes) < 2:
        raise UsageError(f"labels need at least 2 classes, got {len(spec.classes)}")
    known = range(len(spec.classes))
    if any(number not in known for number in spec.stored) or list(spec.stored) != sorted(
        set(spec.stored)
    ):
        raise UsageError(
            f"stored scores must be ascending class numbers below {len(spec.classes)}, "
            f"got {spec.scores}"
        )
    if not spec.stored and not spec.labels:
        raise UsageError("a map must store scores, labels or both")


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1
