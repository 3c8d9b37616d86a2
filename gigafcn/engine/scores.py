"""The end of every mode: from a block of the model's output to stored scores and labels.

Activates, refuses what is not finite, takes the likeliest class, quantises, all on the device that
computed them, and hands on to the writer.  Blocks of a tile come row by row, from left to right.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch import Tensor

from gigafcn.engine.averaging import Averaging
from gigafcn.engine.pixels import activated, likeliest, quantised
from gigafcn.engine.transfer import Results
from gigafcn.errors import RunError
from gigafcn.geometry import Box
from gigafcn.output.label_codes import COMPUTED, codes_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gigafcn.engine.writing import ShardWriter
    from gigafcn.output.spec import MapSpec
    from gigafcn.plan.run_plan import RunPlan


def in_store(box: Box, plan: RunPlan) -> Box:
    """Stored px of a tile; the store begins at the run's part of the map."""
    inside = box.shift(-plan.box.y0, -plan.box.x0)
    (y, x), (height, width) = plan.averaged, plan.spec.shape
    return Box(inside.y0 // y, inside.x0 // x, -(-inside.y1 // y), -(-inside.x1 // x)).clip(
        (height, width)
    )


class Sink(Protocol):
    """Takes blocks of a map, row by row, from left to right."""

    def put(self, box: Box, logits: Tensor) -> None:
        """Take a block (1, c, y, x)."""
        ...


class MarkingSink(Protocol):
    """The same, of px some of which were left out."""

    def put(self, box: Box, logits: Tensor, left_out: NDArray[np.bool_] | None = None) -> None:
        """Take a block (1, c, y, x), and which of its px (y, x) were left out."""
        ...


class ScoreSink:
    """Takes the model's output of one tile.

    Parameters
    ----------
    plan
        Of the run.
    tile
        Map px; of one of several parts of a tile, the part.
    writer
        Takes what is stored of the tile.
    """

    def __init__(self, plan: RunPlan, tile: Box, writer: ShardWriter) -> None:
        self._plan = plan
        self.done = in_store(tile, plan).y0
        """Stored row up to which everything was handed on."""
        self._tile = tile
        self._writer = writer
        self._results = Results(torch.device(plan.device))
        self._means = None
        if plan.averaged != (1, 1):
            self._means = Averaging(plan.averaged, tile, plan.box)

    def put(self, box: Box, logits: Tensor, left_out: NDArray[np.bool_] | None = None) -> None:
        """Turn a block (1, c, y, x) of the model's output into scores and labels; store rows.

        Parameters
        ----------
        left_out
            Which px (y, x) are none of the model's; maps of means leave out none.

        Raises
        ------
        RunError
            If it holds NaN or infinity, naming where; of a block before, if the device is late.
        """
        scores = activated(logits, self._plan.activation)
        self._results.take(
            [torch.isfinite(scores.sum())], partial(self._refuse_non_finite, box, scores)
        )
        if self._plan.rest:
            scores = torch.cat([scores, 1 - scores.sum(1, keepdim=True)], 1)
        if self._means is None:
            self._store(in_store(box, self._plan), scores, left_out)
        else:
            for place, means in self._means.add(box, scores):
                self._store(place, means)
        if box.x1 == self._tile.x1:
            self._results.take([], partial(self._end_row, box))
        if box.x1 == self._tile.x1 and box.y1 == self._tile.y1:
            self._results.settle()

    def _end_row(self, box: Box) -> None:
        rows = box.y1 - self._plan.box.y0
        self.done = (
            in_store(box, self._plan).y1
            if box.y1 == self._tile.y1
            else rows // self._plan.averaged[0]
        )

    def _store(self, place: Box, scores: Tensor, left_out: NDArray[np.bool_] | None = None) -> None:
        """Hand on scores (1, c, y, x) of all classes for a box of stored px."""
        spec = self._plan.spec
        made = {}
        if spec.stored:
            kept = scores if spec.scores is None else scores[:, list(spec.scores)]
            made["scores"] = quantised(kept, spec.dtype)
        if spec.labels:
            made["labels"] = likeliest(scores, getattr(torch, spec.label_dtype))

        def put(*arrived: Tensor) -> None:
            found = {name: a.numpy() for name, a in zip(made, arrived, strict=True)}
            if left_out is not None:
                found = _marked(found, left_out, spec)
            self._writer.put(place, found.get("scores"), found.get("labels"))

        self._results.take(list(made.values()), put)

    def _refuse_non_finite(self, box: Box, scores: Tensor, sum_is_finite: Tensor) -> None:
        # A sum is finite only if all its terms are, unless it overflows: then look closer.
        if sum_is_finite or torch.isfinite(scores).all():
            return
        bad = (~torch.isfinite(scores[0])).any(dim=0)
        y, x = (int(i) for i in bad.nonzero()[0])
        raise RunError(
            f"the model's output is NaN or infinite at {int(bad.sum())} px of tile "
            f"{tuple(self._tile)} (y0, x0, y1, x1), first at map px y={box.y0 + y}, "
            f"x={box.x0 + x}; check mean, std and scale, or the precision "
            f"({self._plan.precision})"
        )


def _marked(
    found: dict[str, NDArray[Any]], left_out: NDArray[np.bool_], spec: MapSpec
) -> dict[str, NDArray[Any]]:
    """Scores and labels in which px that were left out say so; where neither can, a third array."""
    marked = {name: array.copy() for name, array in found.items()}
    if "scores" in marked:
        marked["scores"][:, left_out] = 0 if spec.dtype == "uint8" else np.nan
    if spec.marks_computed:
        marked["labels"] = np.full(left_out.shape, COMPUTED, np.uint8)
    if "labels" in marked:
        marked["labels"][left_out] = codes_of(marked["labels"].dtype).left_out
    return marked
