"""Workers that die, and signals: what is lost, what is not, and what the map says of it."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import gigafcn
from gigafcn.errors import Preempted, RunError, WorkersDied
from gigafcn.geometry import Box
from gigafcn.output.store import ChunkStatus
from gigafcn.schedule import cluster
from gigafcn.schedule.deaths import HOPELESS, RUNGS, refuse_hopeless, tried_alone
from gigafcn.schedule.run_folder import RunFolder
from gigafcn.schedule.stopping import StopRequest
from tests.run.deadly import MARK, Deadly
from tests.run.test_resume import TILES, mapped, objects
from tests.run.whole import small_image

if TYPE_CHECKING:
    from pathlib import Path

    from gigafcn.progress import Progress

HOW: dict[str, Any] = {
    "mode": "blend",
    "batch": 1,
    "window": 64,
    "tile": 256,
    "scale": 1.0,
    "activation": "none",
    "dtype": "float32",
}


def marked() -> np.ndarray[Any, np.dtype[Any]]:
    """An image of four tiles, the last of which holds the deadly pixel."""
    image = small_image(512, 512)
    image[400, 400] = MARK
    return image


@pytest.mark.dask
def test_a_tile_that_kills_whoever_computes_it_is_given_up_and_tried_again_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # One death instead of three on each rung: the processes take seconds to start.
    monkeypatch.setattr(cluster, "DEATHS", 1)
    (tmp_path / "deaths").mkdir()
    net, path = Deadly(str(tmp_path / "deaths"), times=3), tmp_path / "m.zarr"
    with pytest.raises(RunError, match=r"1 of 4 tiles failed: \(256, 256, 512, 512\).*the map h"):
        gigafcn.infer(marked(), net, path, workers=1, **HOW)
    assert len(list((tmp_path / "deaths").iterdir())) == 3
    stored = gigafcn.open_map(path)
    computed, failed = int(ChunkStatus.COMPUTED), int(ChunkStatus.FAILED)
    half = stored.status.shape[0] // 2
    assert (stored.status[half:, half:] == failed).all()
    assert (stored.status == computed).sum() == 3 * half * half
    assert np.isnan(stored.scores[0][:, 256:, 256:]).all()
    assert stored.provenance["tiles"]["failed"] == [[256, 256, 512, 512]]
    # The net kills no more; the same command computes the tile that is lacking.
    result = gigafcn.infer(marked(), net, path, **HOW)
    assert result.summary["tiles_found"] == 3
    gigafcn.infer(marked(), net, tmp_path / "whole.zarr", **HOW)
    assert objects(path) == objects(tmp_path / "whole.zarr")


def test_a_suspect_is_halved_after_it_died_alone_and_then_given_up() -> None:
    tile = Box(0, 0, 256, 256)
    tried: list[int] = []

    def dies(rung: int) -> BaseException:
        tried.append(rung)
        return RuntimeError("killed")

    error = tried_alone(tile, dies)
    assert tuple(tried) == RUNGS
    assert isinstance(error, WorkersDied)
    assert tried_alone(tile, lambda rung: None if rung else RuntimeError("killed")) is None


def test_workers_that_die_of_every_tile_end_the_run() -> None:
    refuse_hopeless(HOPELESS, computed=1)
    with pytest.raises(RunError, match="--memory"):
        refuse_hopeless(HOPELESS, computed=0)


def stopping(grace_s: float, after: int, path: Path, **options: Any) -> tuple[int, int]:
    """Ask a run to stop once some tiles are done; how many are stored then, and in the end."""
    stop = StopRequest(grace_s)
    asked: list[int] = []

    def watch(report: Progress) -> None:
        # In a tile, as a signal would come: some of its pixels are computed.
        if not stop.asked and report.tiles_done >= after and report.pixels_done > report.tiles_done:
            asked.append(len(RunFolder(path).receipts()))
            stop.ask(Preempted("SIGTERM arrived"))

    with pytest.raises(Preempted):
        mapped(path, progress=watch, stop=stop, **options)
    return asked[0], len(RunFolder(path).receipts())


def test_a_run_asked_to_stop_begins_no_more_tiles_and_can_be_gone_on_with(tmp_path: Path) -> None:
    _, stored = stopping(60, 2, tmp_path / "m.zarr")
    assert 2 <= stored <= 4
    result = mapped(tmp_path / "m.zarr")
    assert result.summary["tiles_found"] == stored
    mapped(tmp_path / "whole.zarr")
    assert objects(tmp_path / "m.zarr") == objects(tmp_path / "whole.zarr")


def test_a_tile_under_way_is_abandoned_when_its_grace_is_over(tmp_path: Path) -> None:
    # Row by row, so that a tile is not over at once when it is asked to stop.
    before, stored = stopping(0, 2, tmp_path / "m.zarr", strip=1)
    assert stored == before < TILES


@pytest.mark.dask
def test_worker_processes_finish_their_tile_and_begin_no_other(tmp_path: Path) -> None:
    _, stored = stopping(60, 1, tmp_path / "m.zarr", workers=1)
    assert 1 <= stored < TILES
    assert mapped(tmp_path / "m.zarr").summary["tiles_found"] == stored


def test_a_second_signal_ends_a_run_at_once() -> None:
    stop = StopRequest(60)
    with stop.heeded():
        stop.ask(Preempted("first"))
        with pytest.raises(KeyboardInterrupt):
            stop.ask(KeyboardInterrupt())


def test_a_signal_between_tiles_ends_a_run_at_once() -> None:
    with pytest.raises(Preempted):
        StopRequest(60).ask(Preempted("now"))
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
