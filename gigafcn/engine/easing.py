"""How is a tile computed when it did not fit, or killed whoever computed it?

With less at a time: strips of fewer rows, batches of fewer windows, and then the tile's columns in
several parts, one row of shards after the other.  What is computed is the same; sums over other
shapes may round differently, within the bound that tiles are held to anyway.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from gigafcn.engine.scores import in_store
from gigafcn.geometry import Box

if TYPE_CHECKING:
    from gigafcn.plan.run_plan import RunPlan


@dataclass(frozen=True, slots=True)
class Ease:
    """By how much less is computed at a time."""

    divisor: int = 1
    """Of the rows of a strip; with ``parts``, of the windows of a batch."""

    parts: int = 1
    """Into which the columns of a tile are cut."""

    def strip(self, plan: RunPlan) -> int:
        """Rows of a strip; the sweep rounds it to whole periods, at least one."""
        return max(1, plan.strip // self.divisor)

    def batch(self, windows: int) -> int:
        """Windows of a batch."""
        return max(1, windows // (self.divisor * self.parts))

    def boxes(self, tile: Box, plan: RunPlan) -> list[Box]:
        """Parts of a tile in map px, in the order in which they are computed.

        Whole chunks; the parts of a row of shards follow each other.
        """
        if self.parts == 1:
            return [tile]
        chunk, shard = plan.spec.chunk, plan.spec.shard
        stored, (down, across) = in_store(tile, plan), plan.averaged
        chunks = -(-stored.x.size // chunk)
        columns = -(-chunks // self.parts) * chunk
        corners = [
            (y, x)
            for y in range(stored.y0, stored.y1, shard)
            for x in range(stored.x0, stored.x1, columns)
        ]
        found = [
            Box(y * down, x * across, (y + shard) * down, (x + columns) * across)
            for y, x in corners
        ]
        return [box.shift(plan.box.y0, plan.box.x0).intersect(tile) for box in found]

    def groups(self, tile: Box, plan: RunPlan) -> list[list[Box]]:
        """Boxes of map px to compute of a tile; those of a group go forward together."""
        if self.parts == 1:
            return [plan.parts(tile)]
        return [[part] for box in self.boxes(tile, plan) for part in plan.parts(box)]

    def to_json(self) -> dict[str, int]:
        """For a receipt."""
        return {"divisor": self.divisor, "parts": self.parts}


AS_PLANNED = Ease()
LADDER = (AS_PLANNED, Ease(2), Ease(2, 2), Ease(4, 4), Ease(8, 8))
"""What is tried in turn while memory does not suffice: half the strip, then half the tile."""

HALVED = 2
"""Rung of the ladder at which a tile is halved."""


def is_out_of_memory(error: BaseException | None) -> bool:
    """Whether an error, or its cause, says that there was no memory left on a GPU or the CPU."""
    if error is None:
        return False
    refused = isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error)
    known = isinstance(error, torch.OutOfMemoryError | MemoryError)
    return refused or known or is_out_of_memory(error.__cause__)
