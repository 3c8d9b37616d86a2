"""Strips and blocks are tried on this machine once per model, and the choice is kept."""

from __future__ import annotations

import json
import tempfile
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

import gigafcn
from gigafcn.certificate.cache import cache_folder
from gigafcn.plan.planning import steps_of
from gigafcn.plan.projection import Demand
from gigafcn.run import tuning
from gigafcn.run.options import Options
from gigafcn.run.request import Request, prepare
from gigafcn.run.trial import Pace, try_part
from gigafcn.run.tuning import tuned
from tests.run.small_nets import Skip, random_numbers
from tests.run.whole import small_image

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SHAPE = (500, 1500)


@pytest.fixture
def request_() -> Iterator[Request]:
    found = prepare(small_image(*SHAPE), random_numbers(Skip()), Options())
    yield found
    found.slide.close()


@pytest.fixture
def worth_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Let small images be worth all trials; gives the folder where choices are kept."""
    monkeypatch.setenv("GIGAFCN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(tuning, "WORTH_A_TRIAL_PX", 0)
    monkeypatch.setattr(tuning, "WORTH_TRIALS", 0)
    folder = cache_folder("steps")
    assert folder is not None
    return folder


def test_a_trial_takes_a_part_and_leaves_nothing_behind(
    request_: Request, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    pace = try_part(request_)
    assert min(pace.computing, pace.reading, pace.storing) > 0
    assert list(tmp_path.iterdir()) == []


def test_without_spare_processors_compressing_takes_time_from_computing() -> None:
    pace = Pace(computing=3.0, reading=1.0, storing=2.0, starting=0.0)
    assert pace.overlapped(0) == 5.0
    assert pace.overlapped(1) == 3.0


def test_a_small_image_is_not_worth_a_trial(request_: Request) -> None:
    assert tuned(request_) is request_


def test_a_choice_is_kept_and_taken_again(request_: Request, worth_it: Path) -> None:
    first = tuned(request_)
    (kept,) = worth_it.iterdir()
    plan = first.plan
    assert tuple(json.loads(kept.read_text()))[:3] == (plan.strip, plan.block, plan.lanes)
    demand = request_.demand
    assert isinstance(demand, Demand)
    kept.write_text(json.dumps((*steps_of(demand, 32, 512), 1, 0)))
    again = tuned(request_)
    assert (again.plan.strip, again.plan.block) == steps_of(demand, 32, 512)
    assert again.plan.lanes == 1
    assert (again.layout.strip, again.layout.block) == (again.plan.strip, again.plan.block)


def test_a_damaged_choice_is_made_anew(request_: Request, worth_it: Path) -> None:
    tuned(request_)
    (kept,) = worth_it.iterdir()
    kept.write_text("[12")
    assert tuned(request_).plan.strip % request_.plan.period[0] == 0
    assert len(json.loads(kept.read_text())) == 4


def test_a_strip_that_was_asked_for_stands(worth_it: Path) -> None:
    request = prepare(small_image(*SHAPE), random_numbers(Skip()), Options(strip=64))
    assert tuned(request) is request
    assert not worth_it.exists()


def test_steps_that_take_much_memory_are_taken_in_smaller_tiles_or_not_at_all(
    request_: Request, worth_it: Path
) -> None:
    demand = request_.demand
    assert isinstance(demand, Demand)
    worth_it.mkdir(parents=True)
    tight = replace(request_, options=Options(memory=request_.layout.memory))
    tuned(tight)
    (kept,) = worth_it.iterdir()
    kept.write_text(json.dumps((*steps_of(demand, 500, 1500), 1, 0)))
    assert tuned(tight).layout.memory <= request_.layout.memory


def test_the_map_is_computed_with_the_choice_and_says_so(worth_it: Path, tmp_path: Path) -> None:
    image, module = small_image(*SHAPE), random_numbers(Skip())
    gigafcn.plan_run(image, module)
    (kept,) = worth_it.iterdir()
    kept.write_text("[64, 256, 1, 0]")
    path = gigafcn.infer(image, module, tmp_path / "m.zarr").path
    plan = json.loads((path / "zarr.json").read_text())["attributes"]["gigafcn"]["plan"]
    assert (plan["strip"], plan["block"], plan["lanes"]) == (64, 256, 1)


Tried = list[tuple[int, int, int]]


@pytest.fixture
def paces(monkeypatch: pytest.MonkeyPatch) -> Tried:
    """Computing takes half as long with four columns side by side, and fails with two."""
    tried: Tried = []

    def pace(request: Request, graph: object) -> Pace:
        plan = request.plan
        tried.append((plan.strip, plan.block, plan.lanes))
        if plan.lanes == 2:
            raise RuntimeError("out of the device's memory")
        return Pace(computing=2e-6 / plan.lanes, reading=0.0, storing=0.0, starting=0.5)

    monkeypatch.setattr(tuning, "try_part", pace)
    return tried


def test_a_gpu_that_one_sweep_does_not_fill_has_several_in_flight(
    request_: Request, worth_it: Path, paces: Tried
) -> None:
    assert isinstance(request_.demand, Demand)
    demand = replace(request_.demand, device_memory=1 << 34, lanes=1)
    plan = replace(request_.plan, lanes=1)
    found = tuned(replace(request_, demand=demand, plan=plan))
    assert {lanes for _, _, lanes in paces} == {1, 2, 4}
    assert found.plan.lanes == 4
    assert found.plan.block <= found.plan.box.x.size // 4
    # Half a second at 0.5 s/Mpx.
    (kept,) = worth_it.iterdir()
    assert json.loads(kept.read_text())[3] == 1_000_000


def test_one_column_is_tried_where_processors_have_columns_of_their_own(
    request_: Request, worth_it: Path, paces: Tried
) -> None:
    assert isinstance(request_.demand, Demand)
    demand = replace(request_.demand, lanes=3)
    found = tuned(replace(request_, demand=demand, plan=replace(request_.plan, lanes=3)))
    assert {lanes for _, _, lanes in paces} == {1, 3}
    assert found.plan.lanes == 3
