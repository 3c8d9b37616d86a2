"""What a run tells while it works, and that a library user hears nothing else."""

from __future__ import annotations

import itertools
import logging
from typing import TYPE_CHECKING

import pytest

import gigafcn
from gigafcn.errors import RunError
from tests.run.small_nets import Skip, random_numbers
from tests.run.whole import small_image

if TYPE_CHECKING:
    from pathlib import Path

    from gigafcn import Progress


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> list[Progress]:
    """Everything that one run of six tiles reported."""
    heard: list[Progress] = []
    path = tmp_path_factory.mktemp("progress") / "m.zarr"
    image, net = small_image(517, 613), random_numbers(Skip())
    gigafcn.infer(image, net, path, tile=(256, 512), progress=heard.append)
    return heard


def test_the_stages_are_compute_and_then_pyramid(reports: list[Progress]) -> None:
    assert [stage for stage, _ in itertools.groupby(r.stage for r in reports)] == [
        "compute",
        "pyramid",
    ]


def test_progress_only_grows(reports: list[Progress]) -> None:
    for _, group in itertools.groupby(reports, key=lambda r: r.stage):
        stage = list(group)
        for earlier, later in itertools.pairwise(stage):
            assert (earlier.tiles, earlier.pixels) == (later.tiles, later.pixels)
            assert earlier.tiles_done <= later.tiles_done <= later.tiles
            assert earlier.pixels_done <= later.pixels_done <= later.pixels
            assert earlier.seconds <= later.seconds


def test_every_stage_starts_empty_and_ends_complete(reports: list[Progress]) -> None:
    compute = [r for r in reports if r.stage == "compute"]
    assert (compute[0].tiles_done, compute[0].tiles, compute[0].pixels) == (0, 6, 517 * 613)
    # One coarser level, of half the size. Its last 3 rows come from the last row of tiles alone,
    # which built them itself.
    assert next(r for r in reports if r.stage == "pyramid").pixels == 256 * 307
    for stage in ("compute", "pyramid"):
        last = [r for r in reports if r.stage == stage][-1]
        assert (last.tiles_done, last.pixels_done) == (last.tiles, last.pixels)


def test_a_library_user_gets_logs_and_no_output(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    with caplog.at_level(logging.INFO, logger="gigafcn"):
        gigafcn.infer(small_image(60, 50), random_numbers(Skip()), tmp_path / "m.zarr")
    assert "activation: softmax (3 output channels)" in caplog.text
    assert capfd.readouterr() == ("", "")


def test_an_error_of_the_callback_stops_the_run_and_nothing_looks_finished(tmp_path: Path) -> None:
    def refuse(report: Progress) -> None:
        if report.tiles_done:
            raise RunError("enough")

    with pytest.raises(RunError, match="enough"):
        gigafcn.infer(
            small_image(300, 600),
            random_numbers(Skip()),
            tmp_path / "m.zarr",
            tile=256,
            progress=refuse,
        )
    # What is done is kept for the same call to go on with.
    assert {p.name for p in tmp_path.iterdir()} == {"m.zarr", "m.zarr.run"}
    assert not (tmp_path / "m.zarr/zarr.json").exists()
