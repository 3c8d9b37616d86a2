"""Strips, blocks and columns are tried on this machine once per model; the choice is kept."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

import gigafcn
from gigafcn.certificate.cache import cache_folder
from gigafcn.plan.planning import steps_of
from gigafcn.plan.projection import Demand
from gigafcn.run import tuning
from gigafcn.run.options import Options
from gigafcn.run.request import Request, prepare
from gigafcn.run.trial import Pace, part_px, try_part
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


LEFT_BY_A_TRIAL = """
from pathlib import Path
from psutil import Process
from torch import nn
from gigafcn.engine.allocation import keep_freed_memory
from gigafcn.run.options import Options
from gigafcn.run.request import prepare
from gigafcn.run.trial import try_part
from tests.run.small_nets import conv
from tests.run.whole import small_image

keep_freed_memory()
wide = nn.Sequential(conv(3, 64), conv(64, 64), nn.Conv2d(64, 3, 1))
request = prepare(small_image(600, 4000), wide, Options())
before = Process().memory_info().rss
try_part(request)
after = Process().memory_info().rss
lines = Path("/proc/self/status").read_text().splitlines()
peak = next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM"))
print((after - before) / (peak - before))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="memory is kept with glibc alone")
def test_a_trial_gives_back_the_memory_it_took() -> None:
    done = subprocess.run(
        [sys.executable, "-c", LEFT_BY_A_TRIAL], capture_output=True, check=True, text=True
    )
    assert float(done.stdout) < 0.25, "it would lie beside what the next trial takes"


def test_without_spare_processors_compressing_takes_time_from_computing() -> None:
    pace = Pace(computing=3.0, reading=1.0, storing=2.0, starting=0.0)
    assert pace.overlapped(0) == 5.0
    assert pace.overlapped(1) == 3.0


def test_a_small_image_is_not_worth_a_trial(request_: Request) -> None:
    assert tuned(request_) is request_


def written(kept: Path, *choice: int) -> None:
    """Let a choice be known: strip, block, columns side by side, px that a tile's start costs."""
    kept.write_text(json.dumps(choice))


def test_a_choice_is_kept_and_taken_again(request_: Request, worth_it: Path) -> None:
    plan = tuned(request_).plan
    (kept,) = worth_it.iterdir()
    choice = json.loads(kept.read_text())
    assert choice[:3] == [plan.strip, plan.block, plan.lanes]
    demand = request_.demand
    assert isinstance(demand, Demand)
    written(kept, *steps_of(demand, 32, 512), 1, 0)
    again = tuned(request_)
    assert (again.plan.strip, again.plan.block) == steps_of(demand, 32, 512)
    assert again.plan.lanes == 1
    assert (again.layout.strip, again.layout.block) == (again.plan.strip, again.plan.block)


def test_a_short_run_keeps_the_usual_sizes_before_and_after_a_long_one(
    request_: Request, worth_it: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tuning, "WORTH_TRIALS", 1e9)
    assert tuned(request_) is request_
    assert not worth_it.exists(), "it is not worth a trial either"
    monkeypatch.setattr(tuning, "WORTH_TRIALS", 0)
    tuned(request_)
    (kept,) = worth_it.iterdir()
    written(kept, 32, 512, 1, 0)
    monkeypatch.setattr(tuning, "WORTH_TRIALS", 1e9)
    assert tuned(request_) is request_


def test_px_that_are_not_computed_do_not_make_a_run_worth_trials(
    request_: Request, worth_it: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    mask = np.zeros(SHAPE, np.uint8)
    mask[:, : SHAPE[1] // 2] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    options = Options(tissue=tmp_path / "mask.png")
    half = prepare(small_image(*SHAPE), random_numbers(Skip()), options)
    assert part_px(half) == part_px(request_)
    monkeypatch.setattr(tuning, "WORTH_TRIALS", 0.8 * SHAPE[0] * SHAPE[1] / part_px(half))
    assert tuned(half) is half
    assert not worth_it.exists()
    tuned(request_)
    assert worth_it.exists()
    half.slide.close()


@pytest.mark.parametrize("damaged", ["[12", "[1, 2, [3, 4], 5]", "[64, 256]"])
def test_a_damaged_choice_is_made_anew(request_: Request, worth_it: Path, damaged: str) -> None:
    tuned(request_)
    (kept,) = worth_it.iterdir()
    kept.write_text(damaged)
    assert tuned(request_).plan.strip % request_.plan.period[0] == 0
    assert len(json.loads(kept.read_text())) == 4


def test_a_strip_that_was_asked_for_stands(worth_it: Path) -> None:
    request = prepare(small_image(*SHAPE), random_numbers(Skip()), Options(strip=64))
    assert tuned(request) is request
    assert not worth_it.exists()


def test_a_choice_that_no_tile_has_room_for_is_left_alone(
    request_: Request, worth_it: Path
) -> None:
    tight = replace(request_, options=Options(memory=request_.layout.memory))
    tuned(tight)
    (kept,) = worth_it.iterdir()
    written(kept, 500, 1500, 1, 0)
    assert tuned(replace(tight, options=Options(memory=4 << 30))).plan.strip == 500
    tight = replace(tight, options=Options(memory=600 << 20))  # less than torch itself takes
    assert tuned(tight) is tight


def test_the_map_is_computed_with_the_choice_and_says_so(worth_it: Path, tmp_path: Path) -> None:
    image, module = small_image(*SHAPE), random_numbers(Skip())
    gigafcn.plan_run(image, module)
    (kept,) = worth_it.iterdir()
    written(kept, 64, 256, 1, 0)
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
    assert len(found.plan.columns(found.plan.box)) == 4
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
