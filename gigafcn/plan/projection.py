"""What one worker takes of memory at most, before anything is allocated."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING

import torch

from gigafcn.geometry import Box, Span
from gigafcn.plan.memory import sweep_bytes
from gigafcn.plan.saving import Saving, stored_shape
from gigafcn.plan.sweep_plan import plan_sweep
from gigafcn.slide.segments import CACHE_BYTES

if TYPE_CHECKING:
    from fractions import Fraction

    from gigafcn.graph.model_graph import ModelGraph

Pair = tuple[int, int]

Steps = tuple[int, int]
"""Height of a strip and width of a block, in map px."""

CUDA_BYTES = 400 << 20
"""What torch's build for CUDA holds more, with or without a GPU: its libraries. Measured: 281 MiB
once loaded, 354 MiB at the end of a run."""

BASE_BYTES = (700 << 20) + (CUDA_BYTES if torch.version.cuda else 0)
"""What a process holds beside the sweep: torch, zarr and the slide library loaded, an exported
model, the pyramid and the picture at the end. Measured: 530 MiB after export, 605 to 690 MiB at
the end, MONAI loaded."""

STRIPS_HELD = 4
"""Strips of stored pixels in memory: read ahead, current, and one being decoded."""

LEAD = 3
"""Strips that one column may be ahead of another: how long each takes varies, and who waits is
idle."""

LANE_MARGINS = 6
"""Times the halo between two columns, which both compute, that each is wide at least."""

ROWS_HELD = 4
"""Shard rows in memory: filling, waiting, being compressed, and the coarser levels."""


@dataclass(frozen=True, slots=True)
class Demand:
    """What planning needs to know of a run."""

    graph: ModelGraph
    """Traced for the padded image."""

    box: Box
    """Part of the map to compute, in map px."""

    period: Pair
    """Output period (y, x) in map px."""

    stride: tuple[Fraction, Fraction]
    """Input px per map px."""

    classes: int
    """Of the model."""

    saving: Saving
    item: int
    """Bytes of one value while computing."""

    stored_bytes: int
    """Bytes of one stored input pixel, all channels that are read."""

    weights: int
    """Bytes of the model's weights."""

    lanes: int = 1
    """Columns of a tile that may be computed side by side."""

    device_memory: int = 0
    """Bytes that a GPU has for the sweep; 0 where it lies in the processor's memory."""

    decoded: int = 0
    """Bytes per column of input px of what the slide decodes at once and keeps; see
    :func:`decoded_bytes`."""


def projected_bytes(demand: Demand, tile: Pair, shard: int, strip: int, block: int) -> int:
    """Peak bytes of one worker: sweep, strips read ahead, shard rows, weights, the process."""
    sweep, high, wide = _sweep(demand, tile, strip, block)
    held = 0 if demand.device_memory else sweep
    box = demand.box
    lanes = _lanes(demand, tile, block)
    lead = LEAD if lanes > 1 else 0
    # Only the first strips are as high as they get, for the halo above.
    input_rows = STRIPS_HELD * high + ceil(lead * strip * demand.stride[0])
    strips = input_rows * wide * demand.stored_bytes
    rows, columns = stored_shape(
        (min(tile[0], box.y.size), min(tile[1], box.x.size)), demand.saving.averaged
    )
    # Columns that are ahead fill the first rows of the next shards, but none of the last's part.
    ahead = lead * strip / demand.saving.averaged[0] * (lanes - 1) / lanes
    held_rows = ROWS_HELD * min(shard, rows) + ceil(ahead)
    stored = held_rows * columns * demand.saving.bytes_per_px
    decoded = decoded_bytes(demand.decoded, wide)
    return BASE_BYTES + 2 * demand.weights + held + strips + decoded + stored


def _sweep(demand: Demand, tile: Pair, strip: int, block: int) -> tuple[int, int, int]:
    """Bytes of the sweeps of a tile; rows and columns of the strips that they read."""
    box = demand.box
    # Carried rows reach their full height after a few strips; a taller tile takes no more.
    margin = demand.graph.need(Span(box.y0, box.y0 + strip), 0, clip=False).size
    rows = min(tile[0], box.y.size, 8 * strip + ceil(4 * margin / demand.stride[0]))
    lanes = _lanes(demand, tile, block)
    columns = ceil(min(tile[1], box.x.size) / lanes)
    sample = Box(0, 0, rows, columns).shift(
        box.y0 + (box.y.size - rows) // 2, box.x0 + (box.x.size - columns) // 2
    )
    nodes, output = demand.graph.nodes, demand.graph.output
    plan = plan_sweep(nodes, output, sample, strip=strip, block=block, period=demand.period)
    bytes_ = lanes * sweep_bytes(nodes, output, plan, demand.item)
    return bytes_, plan.rows[0].largest_new, lanes * plan.window.x.size


def _lanes(demand: Demand, tile: Pair, block: int) -> int:
    """Columns of a tile that are computed side by side."""
    wide = min(tile[1], demand.box.x.size)
    return max(1, min(demand.lanes, wide // lane_px(demand, block)))


def lane_px(demand: Demand, block: int) -> int:
    """Width in map px from which a column may be computed beside others."""
    return max(1, block // 2, LANE_MARGINS * margins(demand)[1])


def decoded_bytes(per_column: int, columns: int) -> int:
    """Bytes of decoded segments that a slide keeps for a sweep over so many columns."""
    return max(CACHE_BYTES, per_column * columns) if per_column else 0


def fits_device(demand: Demand, tile: Pair, steps: Steps) -> bool:
    """Whether a GPU, if there is one, holds the sweep of a tile."""
    if not demand.device_memory:
        return True
    # A strip that is recorded to be played back has memory of its own, and copies to compare with.
    return 2 * _sweep(demand, tile, *steps)[0] + demand.weights <= demand.device_memory


def margins(demand: Demand) -> Pair:
    """Map px (y, x) that a cut computes twice at the input; deeper layers less."""
    y, x = (
        ceil(demand.graph.need(Span(a, a + p), axis, clip=False).size / stride) - p
        for axis, (a, p, stride) in enumerate(
            zip((demand.box.y0, demand.box.x0), demand.period, demand.stride, strict=True)
        )
    )
    return max(0, y), max(0, x)
