"""Columns of a tile that are computed side by side make the map of the whole run."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import gigafcn
from gigafcn.engine.lanes import Lanes
from gigafcn.engine.reading import SharedStrips
from gigafcn.engine.scores import ScoreSink
from gigafcn.errors import RunError
from gigafcn.geometry import Box
from gigafcn.plan.projection import LEAD, projected_bytes
from gigafcn.run.options import Options
from gigafcn.run.request import prepare
from tests.run.small_nets import EXACT, Skip, whole_numbers
from tests.run.whole import labels_of, padded, run_whole, scores_of, small_image

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

EXACTLY: dict[str, Any] = {
    "scale": 1.0, "activation": "none", "dtype": "float32", "device": "cpu", "verify": False,
}  # fmt: skip
WIDE = (150, 3401)
"""Px (y, x) of an image with room for three columns of 1024 px or more."""


@pytest.fixture(autouse=True)
def three_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine with three processors, however many this one has."""
    monkeypatch.setattr("gigafcn.run.choices.threads", lambda options: 3)


@pytest.mark.parametrize("name", EXACT)
def test_the_map_equals_the_whole_run_bit_for_bit(name: str, tmp_path: Path) -> None:
    make, period = EXACT[name]
    net, image = (
        whole_numbers(make()),
        small_image(WIDE[0], 3 * WIDE[1] if name == "quarter" else WIDE[1]),
    )
    plan = prepare(image, net, Options(scale=1.0)).plan
    assert len(plan.columns(plan.box)) == 3
    result = gigafcn.infer(image, net, tmp_path / "m.zarr", strip=37, **EXACTLY)
    height, width = result.shape[1:]
    expected = run_whole(net, padded(image, period))[:, :height, :width]
    np.testing.assert_array_equal(scores_of(result.path), expected)


def test_columns_are_whole_chunks_that_cover_the_part() -> None:
    plan = prepare(small_image(*WIDE), Skip(), Options()).plan
    for part in (plan.box, Box(0, 256, 150, 2560), Box(0, 512, 150, 768)):
        columns = plan.columns(part)
        assert [c.x0 for c in columns[1:]] == [c.x1 for c in columns[:-1]]
        assert (columns[0].x0, columns[-1].x1) == (part.x0, part.x1)
        assert all(c.x0 % plan.spec.chunk == 0 for c in columns)
        assert len(columns) == max(1, min(3, part.x.size // plan.lane))


def test_means_and_labels_are_those_of_one_column(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    net, image = whole_numbers(Skip()), small_image(*WIDE)
    options = EXACTLY | {"slide_mpp": 1.0, "save_mpp": 3.0}
    gigafcn.infer(image, net, tmp_path / "three.zarr", **options)
    monkeypatch.setattr("gigafcn.run.choices.threads", lambda _: 1)
    gigafcn.infer(image, net, tmp_path / "one.zarr", **options)
    for values in (scores_of, labels_of):
        np.testing.assert_array_equal(
            values(tmp_path / "three.zarr"), values(tmp_path / "one.zarr")
        )


def test_more_columns_take_more_memory() -> None:
    request = prepare(small_image(*WIDE), Skip(), Options())
    demand: Any = request.demand

    def memory(lanes: int) -> int:
        return projected_bytes(replace(demand, lanes=lanes), (2048, 3584), 512, 128, 1024)

    assert memory(1) < memory(2) < memory(3)


class Root(nn.Module):
    """Not a number where the image is 0."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (b, 3, y, x)."""
        return (x - 0.5).sqrt()


def test_what_goes_wrong_in_one_column_ends_the_run(tmp_path: Path) -> None:
    image = np.full((*WIDE, 3), 200, np.uint8)
    image[70, 2000] = 0
    with pytest.raises(RunError, match="y=70, x=2000"):
        gigafcn.infer(image, Root(), tmp_path / "m.zarr", **EXACTLY | {"scale": 1 / 255})
    assert not (tmp_path / "m.zarr" / "zarr.json").exists()


def test_columns_advance_side_by_side_in_inference_mode_with_a_share_of_the_threads() -> None:
    meeting, seen = threading.Barrier(2, timeout=20), []

    def column() -> Iterator[None]:
        for _ in range(3):
            meeting.wait()
            seen.append((torch.get_num_threads(), torch.is_inference_mode_enabled()))
            yield

    with Lanes(2, 4) as lanes:
        assert list(lanes.abreast([column(), column()])) == [None] * 3
    assert seen == [(2, True)] * 6


def test_a_column_goes_ahead_of_a_slow_one_as_far_as_planned() -> None:
    done = [0, 0, 0]
    leads = []

    def column(place: int, seconds: float) -> Iterator[None]:
        for _ in range(8):
            time.sleep(seconds)
            done[place] += 1
            leads.append(max(done) - min(done))
            yield

    with Lanes(3, 3) as lanes:
        steps = 0
        for _ in lanes.abreast([column(0, 0.0), column(1, 0.02), column(2, 0.0)]):
            steps += 1
            assert min(done) >= steps
    assert steps == 8
    assert max(leads) == LEAD


def test_the_steps_of_others_have_ended_when_one_fails() -> None:
    begun, ended = threading.Event(), threading.Event()

    def fail() -> Iterator[None]:
        if begun.wait(20):
            raise RunError("no")
        yield

    def slow() -> Iterator[None]:
        begun.set()
        time.sleep(0.2)
        ended.set()
        yield

    with Lanes(2, 2) as lanes:
        with pytest.raises(RunError, match="no"):
            next(lanes.abreast([fail(), slow()]))
        assert ended.is_set()


def test_what_no_strip_could_be_read_for_is_said_to_every_column() -> None:
    class Damaged:
        def __iter__(self) -> Iterator[tuple[Box, str]]:
            yield Box(0, 0, 1, 1), "a strip"
            raise RunError("a damaged strip")

    shared: SharedStrips[str] = SharedStrips(Damaged(), 2)  # type: ignore[arg-type]
    for reader in (shared.reader(), shared.reader()):
        assert next(reader)[1] == "a strip"
        with pytest.raises(RunError, match="a damaged strip"):
            next(reader)


def test_rows_of_shards_are_stored_once_no_column_can_touch_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stored too early, a row of shards would lack what a column behind the others puts."""
    net, image = whole_numbers(Skip()), small_image(800, WIDE[1])
    behind = ScoreSink.put

    def put(self: ScoreSink, box: Box, logits: Tensor) -> None:
        time.sleep(0.01 if box.x0 == 0 else 0.0)
        behind(self, box, logits)

    monkeypatch.setattr(ScoreSink, "put", put)
    options = EXACTLY | {"tile": (768, 2816), "strip": 64}
    result = gigafcn.infer(image, net, tmp_path / "m.zarr", **options)
    plan = json.loads((result.path / "zarr.json").read_text())["attributes"]["gigafcn"]["plan"]
    assert plan["spec"]["shard"] == 256
    expected = run_whole(net, padded(image, 2))[:, : image.shape[0], : image.shape[1]]
    np.testing.assert_array_equal(scores_of(result.path), expected)
