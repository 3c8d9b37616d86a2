"""Chunks are charged with the px of their own cells, wherever strips are cut."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import gigafcn
from gigafcn.engine.account import Account
from gigafcn.errors import RunError
from gigafcn.geometry import Box
from gigafcn.output.store import ChunkStatus
from gigafcn.plan.run_plan import RunPlan
from gigafcn.slide.array import ArraySlide
from gigafcn.slide.marks import Mark, Reading
from tests.run.small_nets import Skip, whole_numbers
from tests.run.whole import scores_of, small_image

if TYPE_CHECKING:
    from pathlib import Path

EXACTLY: dict[str, Any] = {"scale": 1.0, "activation": "none", "dtype": "float32"}


class Holed(ArraySlide):
    """Cannot be read in one box, and has no data in another."""

    failed = Box(600, 300, 640, 340)
    empty = Box(0, 0, 300, 600)

    def look(self, box: Box, level: int = 0, channels: tuple[int, ...] | None = None) -> Reading:
        pixels, marks = self.read(box, level), np.zeros(box.shape, np.uint8)
        for hole, mark in ((self.empty, Mark.NO_DATA), (self.failed, Mark.FAILED)):
            part = hole.intersect(box)
            if not part.is_empty:
                marks[part.relative_to(box)] = mark
        failed = () if self.failed.intersect(box).is_empty else (self.failed,)
        return Reading(pixels, marks, failed)


def mapped(path: Path, **options: Any) -> gigafcn.Result:
    slide = Holed(small_image(900, 800))
    return gigafcn.infer(slide, whole_numbers(Skip()), path, **(EXACTLY | options))


@pytest.mark.parametrize(
    "options", [{}, {"tile": 256}, {"strip": 10}, {"mode": "blend", "window": 64}]
)
def test_status_is_that_of_the_chunks_own_px(options: dict[str, Any], tmp_path: Path) -> None:
    path = mapped(tmp_path / "m.zarr", **options).path
    stored = gigafcn.open_map(path)
    chunk = stored.spec.chunk
    expected = np.ones(stored.spec.status_shape, np.uint8)
    expected[: 300 // chunk, : 600 // chunk] = ChunkStatus.BACKGROUND
    expected[600 // chunk, 300 // chunk] = ChunkStatus.FAILED
    np.testing.assert_array_equal(stored.status, expected)
    pixels = np.repeat(np.repeat(expected, chunk, 0), chunk, 1)[:900, :800]
    known = np.isfinite(scores_of(path)).all(axis=0)
    np.testing.assert_array_equal(known, pixels == ChunkStatus.COMPUTED)
    said = stored.provenance["reading"]
    assert said["failed_regions"] == [[600, 300, 640, 340]]
    assert (said["no_data_px"], said["failed_px"]) == (300 * 600, 40 * 40)


def test_the_same_regions_are_told_when_the_map_is_found_finished(tmp_path: Path) -> None:
    first, second = (mapped(tmp_path / "m.zarr") for _ in range(2))
    assert second.summary["finished_before"]
    assert second.summary["failed_regions"] == first.summary["failed_regions"] == (Holed.failed,)


def test_a_strict_run_fails_and_a_finished_map_with_holes_does_not_pass(tmp_path: Path) -> None:
    mapped(tmp_path / "m.zarr")
    with pytest.raises(RunError, match=r"1 region: \(600, 300, 640, 340\)"):
        mapped(tmp_path / "m.zarr", strict=True)


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> RunPlan:
    path = tmp_path_factory.mktemp("plan") / "m.zarr"
    result = gigafcn.infer(small_image(900, 800), whole_numbers(Skip()), path, **EXACTLY)
    return RunPlan.from_json(gigafcn.open_map(result.path).provenance["plan"])


@pytest.mark.parametrize("cut", [1, 37, 256])
def test_counts_do_not_depend_on_how_strips_are_cut(cut: int, plan: RunPlan) -> None:
    shifted = replace(plan, box=Box(0, 0, *plan.spec.shape))
    account = Account(shifted, shifted.box)
    for y in range(0, 900, cut):
        box = Box(y, 0, min(y + cut, 900), 800)
        account.add(box, Reading(np.empty(0), np.full(box.shape, Mark.GAP, np.uint8)))
    assert account.counts() == {"gap": 900 * 800}
