"""A layout keeps to what was asked for and to the memory, and travels as JSON."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from gigafcn.errors import UsageError
from gigafcn.geometry import Box, Span
from gigafcn.graph.trace import trace
from gigafcn.output.sizing import MOST_OBJECTS
from gigafcn.output.spec import MapSpec, count_objects
from gigafcn.plan.map_geometry import map_geometry
from gigafcn.plan.planning import GPU_INPUT_PX, Measured, choose_layout, tile_time, waste
from gigafcn.plan.projection import ROWS_HELD, Demand, projected_bytes
from gigafcn.plan.run_plan import RunPlan, Scaling
from gigafcn.plan.saving import Saving
from gigafcn.plan.tiles import TILES_PER_WORKER, count_tiles

SIZE = (6000, 9000)
PLENTY = 64 << 30


@pytest.fixture(scope="module")
def demand() -> Demand:
    """What mapping 6000 x 9000 px with some convolutions on two levels asks for."""
    return demand_of(SIZE)


def demand_of(size: tuple[int, int], net: nn.Module | None = None) -> Demand:
    """The same for an image of another size, or another net that keeps the size."""
    net = net or nn.Sequential(
        nn.Conv2d(3, 32, 3, padding=1),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 5, padding=2),
        nn.Upsample(scale_factor=2),
        nn.Conv2d(64, 3, 9, padding=4),
    )
    graph = trace(net.eval(), 3, size).graph
    assert graph is not None
    return Demand(
        graph=graph,
        box=Box.whole(size),
        period=(2, 2),
        stride=(Fraction(1), Fraction(1)),
        classes=3,
        saving=Saving((0, 1, 2), labels=True, dtype="uint8"),
        item=4,
        stored_bytes=3,
        weights=400_000,
    )


def test_blocks_of_one_px_without_a_halo_have_a_plan() -> None:
    # Each px of the map is made of a square of its own.
    graph = trace(nn.Conv2d(3, 3, 512, stride=512).eval(), 3, (4096, 4096)).graph
    assert graph is not None
    whole = demand_of((4096, 4096))
    demand = replace(
        whole, graph=graph, box=Box(0, 0, 8, 8), period=(1, 1), stride=(Fraction(512),) * 2, lanes=2
    )
    assert projected_bytes(demand, (8, 8), shard=8, strip=1, block=1) > 0


def test_with_plenty_of_memory_nothing_is_computed_twice(demand: Demand) -> None:
    layout = choose_layout(demand, tile=None, strip=None, budget=PLENTY, workers=1)
    assert layout.tile[1] >= SIZE[1]
    assert waste(demand.graph, demand.box, layout.tile) == 1.0


def test_less_memory_gives_narrower_tiles_that_keep_to_it(demand: Demand) -> None:
    free = choose_layout(demand, tile=None, strip=None, budget=PLENTY, workers=1)
    least = least_memory(demand)
    widths = []
    for budget in (free.memory, (free.memory + least) // 2, least):
        layout = choose_layout(demand, tile=None, strip=None, budget=budget, workers=1)
        assert layout.memory <= budget
        widths.append(layout.tile[1])
    assert widths == sorted(widths, reverse=True)
    assert widths[-1] < widths[0]


def test_blocks_and_strips_become_smaller_before_tiles_become_narrower(demand: Demand) -> None:
    free = choose_layout(demand, tile=None, strip=None, budget=PLENTY, workers=1)
    less = choose_layout(demand, tile=None, strip=None, budget=free.memory - 1, workers=1)
    least = choose_layout(demand, tile=None, strip=None, budget=less.memory - 1, workers=1)
    assert (less.strip, less.block) == (free.strip, free.block // 2)
    assert (least.strip, least.block) == (less.strip * 3 // 4, less.block)
    assert free.tile == less.tile == least.tile


@pytest.mark.parametrize("gib", [2, 4, 64])
def test_a_huge_map_is_cut_into_whole_large_shards_rather_than_thin_rows(gib: int) -> None:
    huge = demand_of((131_072, 131_072))
    layout = choose_layout(huge, tile=None, strip=None, budget=gib << 30, workers=1)
    spec = MapSpec(
        huge.box.shape, ("a", "b", "c"), ("FF0000", "00FF00", "0000FF"), "uint8", layout.chunk,
        layout.shard, labels=True,
    )  # fmt: skip
    assert count_objects(spec) <= MOST_OBJECTS
    assert waste(huge.graph, huge.box, layout.tile) < 1.02


def least_memory(demand: Demand, workers: int = 1) -> int:
    """What the refusal of no memory at all says would do, for each worker."""
    with pytest.raises(UsageError, match="the least that would do") as refusal:
        choose_layout(demand, tile=None, strip=None, budget=0, workers=workers)
    found = re.search(r"--memory (\d+)MiB", str(refusal.value))
    assert found is not None
    return (int(found.group(1)) << 20) // workers


@pytest.mark.parametrize("workers", [1, 3])
def test_the_least_that_would_do_does(demand: Demand, workers: int) -> None:
    budget = least_memory(demand, workers)
    layout = choose_layout(demand, tile=None, strip=None, budget=budget, workers=workers)
    assert layout.memory <= budget


def test_a_tile_asked_for_is_kept_or_refused(demand: Demand) -> None:
    layout = choose_layout(demand, tile=(1000, 3000), strip=64, budget=PLENTY, workers=1)
    assert (layout.tile, layout.strip) == ((1024, 3072), 64)
    with pytest.raises(UsageError, match=r"tiles of 1024 x 3072 px \(y, x\) take .* smaller"):
        choose_layout(demand, tile=(1000, 3000), strip=64, budget=layout.memory // 2, workers=1)


@pytest.mark.parametrize("tile", [None, 512, (2000, 700)])
def test_tiles_are_whole_shards_of_whole_chunks(demand: Demand, tile: Any) -> None:
    layout = choose_layout(demand, tile=tile, strip=None, budget=PLENTY, workers=2)
    for side, size in zip(layout.tile, SIZE, strict=True):
        assert side % layout.shard == 0 or side >= size
    assert layout.shard % layout.chunk == 0


def test_several_workers_get_several_tiles(demand: Demand) -> None:
    layout = choose_layout(demand, tile=None, strip=None, budget=PLENTY, workers=4)
    rows = -(-SIZE[0] // layout.tile[0])
    assert rows * -(-SIZE[1] // layout.tile[1]) >= 8


def test_what_was_measured_takes_the_place_of_the_usual_sizes(demand: Demand) -> None:
    found = choose_layout(
        demand, tile=None, strip=None, budget=PLENTY, workers=1, measured=Measured((64, 512), 0)
    )
    assert (found.strip, found.block) == (64, 512)


def test_many_tiles_without_repeated_rows_or_few_with_them_is_a_matter_of_their_start() -> None:
    columns, squares = (6000, 1000), (3000, 3000)
    for start_px, better in ((0, columns), (100_000, columns), (1_000_000, squares)):
        times = {
            tile: tile_time(tile, shape=SIZE, margins=(100, 0), start_px=start_px)
            for tile in (columns, squares)
        }
        assert min(times, key=times.__getitem__) == better


def test_tiles_that_take_long_to_start_are_fewer() -> None:
    """Without a halo across columns, narrow tiles cost nothing but their start."""
    plain = nn.Conv2d(3, 3, (31, 1), padding=(15, 0))
    narrow = demand_of(SIZE, plain)
    counts = []
    for start_px in (0, 10**9):
        found = choose_layout(
            narrow, tile=None, strip=None, budget=PLENTY, workers=6,
            measured=Measured((128, 1024), start_px),
        )  # fmt: skip
        counts.append(count_tiles(SIZE, found.tile))
    assert counts[1] < counts[0]
    assert counts[1] >= 6 * TILES_PER_WORKER


def test_strips_and_blocks_are_whole_periods(demand: Demand) -> None:
    layout = choose_layout(
        replace(demand, period=(6, 10)), tile=None, strip=77, budget=PLENTY, workers=1
    )
    assert (layout.strip, layout.block % 10) == (78, 0)


def test_a_strip_of_nothing_is_refused(demand: Demand) -> None:
    with pytest.raises(UsageError, match="strip must be at least 1 px, got 0"):
        choose_layout(demand, tile=None, strip=0, budget=PLENTY, workers=1)


def test_memory_grows_with_the_width_of_a_tile_and_not_with_its_height(demand: Demand) -> None:
    def memory(tile: tuple[int, int]) -> int:
        return projected_bytes(demand, tile, shard=512, strip=128, block=1024)

    assert memory((1024, 2048)) < memory((1024, 4096)) < memory((1024, 8192))
    assert memory((6144, 2048)) == memory((3072, 2048))


def test_whole_rows_of_large_shards_are_in_the_memory(demand: Demand) -> None:
    def memory(shard: int) -> int:
        return projected_bytes(demand, (6144, 8192), shard, strip=128, block=1024)

    rows = (6000 - 2048) * 8192 * 4  # px of three scores and a label, of a map of 6000 rows
    assert memory(6144) - memory(2048) == ROWS_HELD * rows


def test_tiles_of_a_huge_map_hold_pairs_of_shards_of_which_coarser_ones_are_made() -> None:
    huge = demand_of((131_072, 131_072))
    layout = choose_layout(huge, tile=None, strip=None, budget=8 << 30, workers=1)
    assert [side % (2 * layout.shard) for side in layout.tile] == [0, 0]


def test_a_gpu_takes_the_largest_strips_and_blocks_that_its_memory_holds(demand: Demand) -> None:
    def steps(device_memory: int) -> tuple[int, int]:
        given = replace(demand, device_memory=device_memory)
        layout = choose_layout(given, tile=(4096, 8192), strip=None, budget=PLENTY, workers=1)
        return layout.strip, layout.block

    assert steps(64 << 30) == GPU_INPUT_PX[0]
    assert GPU_INPUT_PX[0] > steps(4 << 30) > GPU_INPUT_PX[-1]
    with pytest.raises(UsageError, match="the GPU's memory is too small"):
        steps(64 << 20)


def test_a_sweep_on_a_gpu_takes_none_of_the_processors_memory(demand: Demand) -> None:
    def memory(device_memory: int) -> int:
        given = replace(demand, device_memory=device_memory)
        return projected_bytes(given, (2048, 4096), shard=512, strip=128, block=1024)

    assert memory(8 << 30) < memory(0)


def test_waste_is_the_windows_over_what_is_needed_once(demand: Demand) -> None:
    halo = 3000 - demand.graph.need(Span(3000, 6000), 0).start
    assert 4 < halo < 20
    # One cut between rows: its halo is read on both sides.
    found = waste(demand.graph, demand.box, (3000, 9000))
    assert found == pytest.approx((6000 + 2 * halo) / 6000)


@given(
    st.sampled_from([Fraction(1), Fraction(1, 2), Fraction(3, 2)]),
    st.one_of(st.none(), st.tuples(st.floats(0.1, 9), st.floats(0.1, 9))),
    st.sampled_from(["fp32", "bf16"]),
)
def test_a_plan_survives_json(
    stride: Fraction, mpp: tuple[float, float] | None, precision: str
) -> None:
    strides = (stride, stride)
    geometry = map_geometry((99, 77), period=(6, 6), stride=strides, lost=(0, 0), used=(96, 96))
    spec = MapSpec(
        shape=(30, 40),
        classes=("a", "b"),
        colours=("000000", "FFFFFF"),
        dtype="uint8",
        chunk=40,
        shard=40,
        mpp=mpp,
        stride=strides,
    )
    plan = RunPlan(
        geometry=geometry,
        spec=spec,
        box=Box(0, 0, 30, 40),
        level=1,
        channels=(2, 0),
        scaling=Scaling(1 / 255, (0.1, 0.2), (1.0,)),
        activation="softmax",
        tile=(40, 40),
        strip=6,
        block=12,
        period=(6, 6),
        precision=precision,
        device="cpu",
        threads=2,
    )
    assert RunPlan.from_json(json.loads(json.dumps(plan.to_json()))) == plan
