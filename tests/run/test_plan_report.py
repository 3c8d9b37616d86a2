"""A plan tells what a run would take, and the run then keeps to it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

import gigafcn
from gigafcn.cli.reporting import plain
from gigafcn.plan.projection import BASE_BYTES
from gigafcn.run.duration import px_across_tiles
from gigafcn.run.options import Options
from gigafcn.run.request import prepare
from tests.run.small_nets import EXACT, Skip, random_numbers
from tests.run.whole import small_image

if TYPE_CHECKING:
    from pathlib import Path

    from gigafcn import PlanReport

SHAPE = (541, 601)


@pytest.fixture(scope="module")
def report() -> PlanReport:
    return gigafcn.plan_run(small_image(*SHAPE), random_numbers(Skip()), tile=(256, 512), strip=64)


def test_tiles_and_windows_are_those_of_the_sweep(report: PlanReport) -> None:
    assert (report.tile, report.tiles) == ((256, 512), 6)
    top, bottom, left, right = report.halo
    # The middle tile of three rows is clipped on neither side, a tile of two columns on one.
    assert report.window == (256 + top + bottom, 512 + max(left, right))


def test_waste_is_what_the_windows_read_more_than_once(report: PlanReport) -> None:
    top, bottom, left, right = report.halo
    rows = [256 + bottom, 256 + top + bottom, SHAPE[0] - 512 + 1 + top]
    columns = [512 + right, SHAPE[1] - 512 + 1 + left]
    # Two cuts between rows and one between columns; odd sides grow to whole periods.
    assert report.waste == pytest.approx(
        sum(rows) * sum(columns) / ((SHAPE[0] + 1) * (SHAPE[1] + 1)), abs=0.005
    )


def test_map_halo_period_and_types_are_those_of_the_model(report: PlanReport) -> None:
    assert (report.image, report.map, report.period) == (SHAPE, (3, *SHAPE), (2, 2))
    assert (report.dtype, report.activation) == ("uint8", "softmax")
    assert report.halo == gigafcn.analyze(random_numbers(Skip())).halo


def test_memory_and_time_are_of_the_right_order(report: PlanReport) -> None:
    # A process with torch takes most; these tiles add a few MiB.
    assert BASE_BYTES < report.memory_bytes < BASE_BYTES + (324 << 20)
    assert 0 < report.seconds < 60


def test_the_finished_map_takes_no_more_files_and_bytes_than_planned(
    report: PlanReport, tmp_path: Path
) -> None:
    path = tmp_path / "m.zarr"
    gigafcn.infer(small_image(*SHAPE), random_numbers(Skip()), path, tile=(256, 512), strip=64)
    files = [file for file in path.rglob("*") if file.is_file()]
    assert len(files) == report.objects
    assert sum(file.stat().st_size for file in files) <= report.disk_bytes


def test_coarser_levels_are_read_back_only_across_tiles() -> None:
    def px(tile: int | None) -> int:
        request = prepare(small_image(*SHAPE), random_numbers(Skip()), Options(tile=tile))
        return px_across_tiles(request.plan)

    assert px(None) == 0
    corner = 15 * 45  # of 541 x 601 px, of which one tile holds what is beyond 512
    assert px(256) == 271 * 301 - corner


def test_a_plan_of_a_strided_net_counts_map_pixels() -> None:
    report = gigafcn.plan_run(small_image(401, 300), random_numbers(EXACT["quarter"][0]()))
    assert report.map == (3, 101, 75)
    assert report.tiles == 1


def test_a_plan_is_plain_json_and_readable_rows(report: PlanReport) -> None:
    assert json.loads(json.dumps(report.to_json(), default=plain))["tiles"] == 6
    rows = dict(report.rows())
    assert rows["tiles"] == "6 of 256 x 512 px"
    assert rows["image"] == "541 x 601 px (y, x)"


def test_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    gigafcn.plan_run(small_image(60, 50), random_numbers(Skip()), tmp_path / "m.zarr")
    assert list(tmp_path.iterdir()) == []


def test_more_workers_share_the_time_and_name_their_memory() -> None:
    report = gigafcn.plan_run(
        small_image(600, 600), random_numbers(Skip()), workers=2, memory=4 * 2**30
    )
    assert report.workers == 2
    assert report.tiles >= 2
    assert report.memory_bytes <= 2 * 2**30
