"""What does computing in bf16 or fp16 change?  Measured on a part of the very slide.

A part in the middle of the map (in blend and patch, one window) is computed in fp32 and in the
precision that was asked for.  Both rounds of rounding are in the difference: of the model's
weights and pixels, and of every sum.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from gigafcn.certificate.compare import CAPS, PROBABILITY_CAP
from gigafcn.engine.pixels import PRECISIONS, activated, to_input
from gigafcn.engine.precision import as_asked, threads
from gigafcn.engine.sweep import Sweep
from gigafcn.engine.tile import sweep_plan
from gigafcn.geometry import Box
from gigafcn.run.trial import middle
from gigafcn.schedule.job import placed_forward, placed_graph

if TYPE_CHECKING:
    from gigafcn.plan.run_plan import RunPlan
    from gigafcn.plan.windows import Windows
    from gigafcn.run.request import Request

COARSE = ("bf16", "fp16")
SIDE_PX = 512
"""Of the part, in map px."""


@dataclass(frozen=True, slots=True)
class Coarseness:
    """Scores in a coarser precision against those in fp32."""

    precision: str
    largest: float
    """Difference of scores."""

    mean: float
    """Difference of scores."""

    labels: float | None
    """Share of px whose likeliest class is another; None if the map stores no labels."""

    box: tuple[int, int, int, int]
    """Where in the map, (y0, x0, y1, x1) in px; in blend and patch, of the first window there."""

    output: float = 0.0
    """Largest difference of the model's own output, before an activation."""

    cap: float = float("inf")
    """Difference of it up to which the map is certified: in parts of the largest, by precision, or
    half a step of 8 bits for probabilities."""

    @property
    def certified(self) -> bool:
        """Whether the output stays within the cap."""
        return self.output <= self.cap

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    def __str__(self) -> str:
        """For a line to the user."""
        labels = "" if self.labels is None else f", {100 * self.labels:.2g} % of the labels"
        height, width = self.box[2] - self.box[0], self.box[3] - self.box[1]
        return (
            f"computing in {self.precision} instead of fp32 changes scores by at most "
            f"{self.largest:.2g}, by {self.mean:.2g} on average{labels} "
            f"({height} x {width} px in the middle)"
        )


def coarseness(request: Request) -> Coarseness | None:
    """Measure what the precision changes; None if it is fp32 or finer.

    Raises
    ------
    RunError
        If the part cannot be read or computed.
    """
    plan = request.plan
    if plan.precision not in COARSE:
        return None
    box = Box.of(middle(plan, 0, SIDE_PX), middle(plan, 1, SIDE_PX))
    with threads(plan.threads), as_asked():
        outputs = [
            _output(request, replace(plan, precision=p), box).double()
            for p in ("fp32", plan.precision)
        ]
    fine, coarse = (activated(output, plan.activation) for output in outputs)
    is_probability = plan.activation == "none" and plan.spec.dtype == "uint8"
    largest = outputs[0].abs().max().item()
    difference = (fine - coarse).abs()
    other = (fine.argmax(1) != coarse.argmax(1)).double().mean().item()
    return Coarseness(
        precision=plan.precision,
        largest=difference.max().item(),
        mean=difference.mean().item(),
        labels=other if plan.spec.labels else None,
        box=(box.y0, box.x0, box.y1, box.x1),
        output=(outputs[0] - outputs[1]).abs().max().item(),
        cap=PROBABILITY_CAP if is_probability else CAPS[plan.precision] * largest,
    )


def _output(request: Request, plan: RunPlan, box: Box) -> Tensor:
    """What the model gives (b, c, y, x)."""
    if plan.windows is None:
        return _swept(request, plan, box)
    return _of_window(request, plan, plan.windows, box)


def _swept(request: Request, plan: RunPlan, box: Box) -> Tensor:
    graph = placed_graph(request.graph, plan)
    sweep = sweep_plan(graph, plan, box)
    found: list[tuple[Box, Tensor]] = []
    pixels = request.image.read(sweep.window)

    def read(part: Box) -> Tensor:
        rows, columns = part.relative_to(sweep.window)
        return _input(pixels[rows, columns], plan)

    Sweep(graph, sweep).run(read, lambda part, logits: found.append((part, logits.clone())))
    result = found[0][1].new_empty((1, found[0][1].shape[1], *box.shape))
    for part, logits in found:
        rows, columns = part.relative_to(box)
        result[:, :, rows, columns] = logits
    return result


def _of_window(request: Request, plan: RunPlan, windows: Windows, box: Box) -> Tensor:
    y, x = (windows.touching(axis, box.spans[axis])[0] for axis in (0, 1))
    window = Box.of(windows.window(0, y), windows.window(1, x))
    inside = window.intersect(windows.content)
    values = _input(request.image.read(inside), plan)
    batch = values.new_zeros((1, values.shape[1], *window.shape))
    rows, columns = inside.relative_to(window)
    batch[:, :, rows, columns] = values
    return placed_forward(request.model.module, plan)(
        batch.contiguous(memory_format=torch.channels_last)
    )


def _input(stored: Any, plan: RunPlan) -> Tensor:
    return to_input(stored, plan.scaling, torch.device(plan.device), PRECISIONS[plan.precision])
