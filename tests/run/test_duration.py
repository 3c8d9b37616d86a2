"""The time of a run is reckoned from parts of it: wide ones, and the narrow ones of tissue."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from gigafcn.geometry import Box
from gigafcn.run.duration import exact_seconds, is_narrow, seconds_of, window_seconds
from gigafcn.run.options import Options
from gigafcn.run.request import prepare
from gigafcn.run.trial import Pace, try_windows
from gigafcn.schedule.resources import available_cpus
from tests.run.small_nets import Skip, random_numbers
from tests.run.whole import small_image

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from gigafcn.run.request import Request

SHAPE = (1536, 2304)


@pytest.fixture
def request_(tmp_path: Path) -> Iterator[Request]:
    """Half of the slide shows tissue: a wide piece, and a narrow one below."""
    mask = np.zeros(SHAPE, np.uint8)
    mask[:512] = 255
    mask[1024:, :512] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    options = Options(tissue=tmp_path / "mask.png")
    found = prepare(small_image(*SHAPE), random_numbers(Skip()), options)
    yield found
    found.slide.close()


def test_a_part_with_fewer_columns_than_lanes_is_narrow(request_: Request) -> None:
    run = replace(request_.plan, lanes=2, lane=512, block=512)
    assert not is_narrow(run, Box(0, 0, 512, 2304))
    assert is_narrow(run, Box(1024, 0, 1536, 512))
    assert is_narrow(replace(run, lanes=1), Box(0, 0, 512, 256))
    assert not is_narrow(replace(run, lanes=1), Box(0, 0, 512, 512))


def test_narrow_parts_add_their_own_time(request_: Request) -> None:
    run = replace(request_.plan, lanes=2, lane=512, block=512)
    parts = [part for tile in run.tiles() for part in run.parts(tile)]
    assert sorted(is_narrow(run, part) for part in parts) == [False, True]
    seconds = exact_seconds(replace(request_, plan=run))
    assert 0 < seconds < 60


def test_every_part_takes_a_while_to_start(request_: Request) -> None:
    pace = Pace(computing=1e-6, reading=0.0, storing=0.0, starting=3.0)
    whole, upper, lower = Box(0, 0, 512, 2304), Box(0, 0, 256, 2304), Box(256, 0, 512, 2304)
    once = seconds_of(request_, [whole], pace)
    twice = seconds_of(request_, [upper, lower], pace)
    assert 3.0 < once < 6.0 < twice


@pytest.fixture
def blended() -> Iterator[Request]:
    options = Options(mode="blend", window=(128, 128), batch=4, tile=1024)
    found = prepare(small_image(*SHAPE), random_numbers(Skip()), options)
    yield found
    found.slide.close()


def test_windows_take_the_time_of_each_and_that_of_storing_the_map(blended: Request) -> None:
    run = blended.plan
    assert run.windows is not None
    count = sum(run.windows.computed(tile) for tile in run.tiles())
    assert count > run.windows.count[0] * run.windows.count[1], "some for two tiles"
    pace = Pace(computing=1.0, reading=0.0, storing=2.0, starting=0.0)
    busy = replace(blended, plan=replace(run, threads=available_cpus()))
    found = window_seconds(busy, run.windows, pace)
    assert found == pytest.approx(count + 2.0 * SHAPE[0] * SHAPE[1])
    idle = replace(blended, plan=replace(run, threads=available_cpus() - 1))
    assert window_seconds(idle, run.windows, pace) == pytest.approx(
        max(float(count), 2.0 * SHAPE[0] * SHAPE[1])
    )


def test_a_trial_of_windows_times_computing_reading_and_storing(blended: Request) -> None:
    assert blended.plan.windows is not None
    pace = try_windows(blended, blended.plan.windows)
    assert min(pace.computing, pace.reading, pace.storing) > 0
    # A part of three rows of windows is far less than the map, whose figures are the run's.
    assert window_seconds(blended, blended.plan.windows, pace) > 3 * pace.computing
