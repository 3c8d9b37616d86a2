"""A tile computes in the precision that was asked for, whatever torch is set to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from gigafcn.engine.tile import compute_tile
from gigafcn.engine.timeline import Watch
from gigafcn.output.store import MapStore, create_map
from gigafcn.run.options import Options
from gigafcn.run.request import prepare
from gigafcn.schedule.job import placed_graph
from tests.run.small_nets import Skip, random_numbers
from tests.run.whole import small_image

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_no_tile_lets_cuda_round_convolutions_to_11_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    request = prepare(small_image(60, 50), random_numbers(Skip()), Options())
    plan, path = request.plan, tmp_path / "m.zarr"
    create_map(path, plan.spec)
    seen = []

    def look(pixels: int) -> None:
        seen.append((torch.backends.cudnn.allow_tf32, torch.is_inference_mode_enabled()))

    graph = placed_graph(request.graph, plan)
    compute_tile(graph, plan, plan.box, request.image, MapStore(path, plan.spec), Watch(look))
    assert set(seen) == {(False, True)}
    assert torch.backends.cudnn.allow_tf32
