"""The time of a run is reckoned from parts of it: wide ones, and the narrow ones of tissue."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image
from torch import nn

from gigafcn.geometry import Box
from gigafcn.run.duration import (
    FROM_STORED,
    exact_seconds,
    is_narrow,
    px_across_tiles,
    seconds_of,
    window_seconds,
)
from gigafcn.run.options import Options
from gigafcn.run.request import prepare
from gigafcn.run.trial import WINDOWS_PX, Pace, plan_of_windows, try_windows
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


BLENDED = Options(mode="blend", window=(128, 128), batch=4, tile=1024)


@pytest.fixture
def blended() -> Iterator[Request]:
    found = prepare(small_image(*SHAPE), random_numbers(Skip()), BLENDED)
    yield found
    found.slide.close()


def test_windows_take_the_time_of_each_and_that_of_storing_the_map(blended: Request) -> None:
    run = blended.plan
    assert run.windows is not None
    count = sum(run.windows.computed(tile) for tile in run.tiles())
    assert count > run.windows.count[0] * run.windows.count[1], "some for two tiles"
    pace = Pace(computing=1.0, reading=0.0, storing=2.0, starting=0.0)
    busy = replace(blended, plan=replace(run, threads=available_cpus()))
    across = FROM_STORED * px_across_tiles(run)
    assert across, "of coarser levels, some is made of what was stored"
    found = window_seconds(busy, run.windows, pace)
    assert found == pytest.approx(count + 2.0 * (SHAPE[0] * SHAPE[1] + across))
    idle = replace(blended, plan=replace(run, threads=available_cpus() - 1))
    assert window_seconds(idle, run.windows, pace) == pytest.approx(
        max(float(count), 2.0 * SHAPE[0] * SHAPE[1]) + 2.0 * across
    )


def test_a_trial_of_windows_times_computing_reading_and_storing(blended: Request) -> None:
    assert blended.plan.windows is not None
    pace = try_windows(blended, blended.plan.windows)
    assert min(pace.computing, pace.reading, pace.storing) > 0


def test_windows_of_tissue_are_those_that_its_parts_compute(
    blended: Request, request_: Request
) -> None:
    options = replace(BLENDED, tissue=request_.options.tissue)
    found = prepare(small_image(*SHAPE), random_numbers(Skip()), options)
    windows = found.plan.windows
    assert windows is not None
    parts = [part for tile in found.plan.tiles() for part in found.plan.parts(tile)]
    pace = Pace(computing=1.0, reading=0.0, storing=0.0, starting=0.0)
    seconds = window_seconds(found, windows, pace)
    found.slide.close()
    assert seconds == pytest.approx(sum(windows.computed(part) for part in parts))
    everything = window_seconds(blended, windows, pace)
    assert found.plan.computed_share * everything < seconds < everything, "edges take more"


@pytest.mark.parametrize(
    ("options", "computed"),
    [
        (BLENDED, 3 * 12),  # as wide as a tile
        (replace(BLENDED, window=(640, 640)), 4),  # one batch
        (replace(BLENDED, overlap=0.75), None),
        (replace(BLENDED, mode="patch", step=(32, 32)), None),
        (replace(BLENDED, window=(4096, 4096), batch=1), 1),
    ],
    ids=["usual", "large windows", "much overlap", "patch", "one window"],
)
def test_a_trial_of_windows_has_no_more_of_them_than_it_takes(
    options: Options, computed: int | None
) -> None:
    net: nn.Module = random_numbers(Skip())
    net = nn.Sequential(net, nn.AdaptiveAvgPool2d(1)) if options.mode == "patch" else net
    request = prepare(small_image(*SHAPE), net, options)
    windows = request.plan.windows
    assert windows is not None
    part = plan_of_windows(request.plan, windows)
    request.slide.close()
    found = windows.computed(part.box)
    assert request.plan.box.intersect(part.box) == part.box
    assert part.box.area > 0
    assert computed in (None, found)
    # Windows that overlap by more than half are computed for others, twice or so per axis.
    most = max(WINDOWS_PX, windows.batch * windows.size[0] * windows.size[1])
    assert found * windows.size[0] * windows.size[1] <= most * (1 if computed else 12)
