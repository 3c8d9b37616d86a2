"""The end of every mode: from a block of the model's output to stored scores and labels.

Activates, refuses what is not finite, takes the likeliest class, quantises, hands on to the
writer.  Blocks of a tile come row by row, from left to right.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from gigafcn.engine.pixels import activated, likeliest, quantised
from gigafcn.errors import RunError

if TYPE_CHECKING:
    from gigafcn.engine.writing import ShardWriter
    from gigafcn.geometry import Box
    from gigafcn.plan.run_plan import RunPlan


def in_store(box: Box, plan: RunPlan) -> Box:
    """A map box in the store's coordinates, which begin at the run's part of the map."""
    return box.shift(-plan.box.y0, -plan.box.x0)


class Sink(Protocol):
    """Takes blocks of a map, row by row, from left to right."""

    def put(self, box: Box, logits: Tensor) -> None:
        """Take a block (1, c, y, x)."""
        ...


@dataclass(frozen=True, slots=True)
class ScoreSink:
    """Takes the model's output of one tile."""

    plan: RunPlan
    tile: Box
    """Map px."""

    writer: ShardWriter

    def put(self, box: Box, logits: Tensor) -> None:
        """Turn a block (1, c, y, x) of the model's output into scores and labels; store rows.

        Raises
        ------
        RunError
            If it holds NaN or infinity, naming where.
        """
        scores = activated(logits, self.plan.activation)
        self._refuse_non_finite(box, scores)
        spec = self.plan.spec
        labels = None
        if spec.labels:
            labels = likeliest(scores, getattr(torch, spec.label_dtype))
        place = in_store(box, self.plan)
        self.writer.put(place, quantised(scores, spec.dtype), labels)
        if box.x1 == self.tile.x1:
            self.writer.rows_done(place.y1)

    def _refuse_non_finite(self, box: Box, scores: Tensor) -> None:
        # A sum is finite only if all its terms are, unless it overflows: then look closer.
        if torch.isfinite(scores.sum()) or torch.isfinite(scores).all():
            return
        bad = (~torch.isfinite(scores[0])).any(dim=0)
        y, x = (int(i) for i in bad.nonzero()[0])
        raise RunError(
            f"the model's output is NaN or infinite at {int(bad.sum())} px of tile "
            f"{tuple(self.tile)} (y0, x0, y1, x1), first at map px y={box.y0 + y}, "
            f"x={box.x0 + x}; check mean, std and scale, or the precision "
            f"({self.plan.precision})"
        )
