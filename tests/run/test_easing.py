"""Without memory for a tile it is computed with less at a time, to the same numbers."""

from __future__ import annotations

import dataclasses
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
import zarr
from torch import Tensor, nn

import gigafcn
from gigafcn.engine.easing import AS_PLANNED, HALVED, LADDER, Ease
from gigafcn.errors import RunError
from gigafcn.output.store import create_map
from gigafcn.plan.tiles import tiles
from gigafcn.run.options import Options
from gigafcn.run.request import prepare
from gigafcn.schedule.job import Job, placed_graph
from gigafcn.schedule.run_folder import RunFolder
from tests.run.small_nets import Skip, random_numbers, whole_numbers
from tests.run.whole import scores_of, small_image

if TYPE_CHECKING:
    from pathlib import Path

    from gigafcn.geometry import Box
    from gigafcn.graph.model_graph import ModelGraph

SHAPE = (517, 613)
EXACT: dict[str, Any] = {"scale": 1.0, "activation": "none", "dtype": "float32"}


def job(path: Path, net: nn.Module, **options: Any) -> Job:
    """A run's job, its map created."""
    request = prepare(small_image(*SHAPE), net, Options(**EXACT, **options))
    create_map(path, request.plan.spec)
    RunFolder(path).begin({}, request.plan.to_json())
    graph = placed_graph(request.graph, request.plan)
    return Job(request.plan, graph, request.image, path, threading.Event())


def objects(path: Path) -> dict[str, bytes]:
    """Every stored object."""
    return {str(f.relative_to(path)): f.read_bytes() for f in path.rglob("*") if f.is_file()}


def computed(work: Job, rung: int = 0) -> None:
    """Compute all tiles."""
    for tile in tiles(work.plan.box, work.plan.tile):
        work.compute(tile, lambda _: None, rung)


@pytest.mark.parametrize("rung", range(1, len(LADDER)))
def test_a_tile_computed_with_less_at_a_time_has_the_same_bytes(rung: int, tmp_path: Path) -> None:
    # Of whole numbers, whose sums are not rounded in any order.
    net = whole_numbers(Skip())
    for name, on in (("planned", 0), ("eased", rung)):
        computed(job(tmp_path / name, net, tile=(512, 512), strip=64), on)
    assert objects(tmp_path / "planned") == objects(tmp_path / "eased")


class Refusing:
    """A rule that has no memory for more than so many px; it stands for a GPU that is too small."""

    def __init__(self, rule: Any, most: int) -> None:
        self._rule, self._most = rule, most

    def __getattr__(self, name: str) -> Any:
        return getattr(self._rule, name)

    def run(self, inputs: Any, boxes: Any, box: Box) -> Tensor:
        if box.area > self._most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")
        result: Tensor = self._rule.run(inputs, boxes, box)
        return result


def refusing(graph: ModelGraph, most: int) -> ModelGraph:
    """The graph with a last layer that has memory for so many px at a time."""
    nodes = list(graph.nodes)
    rule: Any = Refusing(nodes[graph.output].rule, most)
    nodes[graph.output] = dataclasses.replace(nodes[graph.output], rule=rule)
    return dataclasses.replace(graph, nodes=tuple(nodes))


@pytest.mark.parametrize(("most", "ease"), [(32 * 512, LADDER[1]), (32 * 256, LADDER[2])])
def test_out_of_memory_halves_the_strip_then_the_tile(
    most: int, ease: Ease, tmp_path: Path
) -> None:
    work = job(tmp_path / "m.zarr", whole_numbers(Skip()), tile=(512, 512), strip=64)
    # One block as wide as the tile, so that only halving the tile makes it narrower.
    plan = dataclasses.replace(work.plan, block=512)
    graph: Any = work.model
    small = dataclasses.replace(work, plan=plan, model=refusing(graph, most))
    tile = next(tiles(plan.box, plan.tile))
    small.compute(tile, lambda _: None)
    receipt = RunFolder(tmp_path / "m.zarr").receipts()["tile-0-0"]
    assert receipt.counts["eased"] == ease.to_json()


def test_a_tile_that_never_fits_fails_with_what_to_do(tmp_path: Path) -> None:
    work = job(tmp_path / "m.zarr", whole_numbers(Skip()), tile=(512, 512), strip=64)
    graph: Any = work.model
    hopeless = dataclasses.replace(work, model=refusing(graph, 0))
    with pytest.raises(
        RunError, match=r"not enough memory on cpu for tile \(0, 0, 512, 512\).*--t"
    ):
        hopeless.compute(next(tiles(work.plan.box, work.plan.tile)), lambda _: None)
    assert RunFolder(tmp_path / "m.zarr").receipts() == {}


class Greedy(nn.Module):
    """Has no memory for more than some windows, once a run computes."""

    most = 8

    def __init__(self) -> None:
        super().__init__()
        self.net = random_numbers(Skip())

    def forward(self, image: Tensor) -> Tensor:
        if len(image) > Greedy.most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")
        result: Tensor = self.net(image)
        return result


def test_windows_are_computed_in_smaller_batches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image, how = small_image(300, 260), {"mode": "blend", "window": 64, "batch": 8, **EXACT}
    gigafcn.infer(image, Greedy(), tmp_path / "large", **how)

    def grows_full(_: object) -> None:
        monkeypatch.setattr(Greedy, "most", 2)

    gigafcn.infer(image, Greedy(), tmp_path / "small", progress=grows_full, **how)
    small, large = scores_of(tmp_path / "small"), scores_of(tmp_path / "large")
    # Other batches may round otherwise: a few units in the last place of the largest logit.
    assert np.abs(small - large).max() <= 1e-5 * np.abs(large).max()
    receipt = RunFolder(tmp_path / "small").receipts()["tile-0-0"]
    assert receipt.counts["eased"] == LADDER[2].to_json()


def test_a_halved_tile_differs_by_rounding_only(tmp_path: Path) -> None:
    work = job(tmp_path / "planned", random_numbers(Skip()), tile=(512, 512), strip=64)
    computed(work)
    halved = job(tmp_path / "halved", random_numbers(Skip()), tile=(512, 512), strip=64)
    computed(halved, HALVED)
    one, two = (level_0(tmp_path / name) for name in ("planned", "halved"))
    # The bound that tiles are held to in fp32: 1e-6 of the largest value beyond rounding.
    assert np.abs(one - two).max() <= 3e-6 * np.abs(one).max()


def level_0(path: Path) -> np.ndarray[Any, np.dtype[Any]]:
    """Stored scores of an unfinished map."""
    return np.asarray(zarr.open_array(path / "0", mode="r")[...])


def test_parts_of_a_tile_are_whole_chunks_row_by_row_of_shards(tmp_path: Path) -> None:
    work = job(tmp_path / "m.zarr", whole_numbers(Skip()), tile=(512, 512))
    plan = work.plan
    tile = next(tiles(plan.box, plan.tile))
    assert AS_PLANNED.boxes(tile, plan) == [tile]
    parts = Ease(2, 2).boxes(tile, plan)
    assert sum(part.area for part in parts) == tile.area
    assert all(edge % plan.spec.chunk == 0 for part in parts for edge in part)
    assert parts == sorted(parts)
