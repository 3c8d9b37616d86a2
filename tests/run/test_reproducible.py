"""The same plan gives the same bytes, in this process or in others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
import pytest

import gigafcn
from tests.run.small_nets import Skip, random_numbers, whole_numbers
from tests.run.whole import labels_of, scores_of, small_image

if TYPE_CHECKING:
    from pathlib import Path

OPTIONS: dict[str, Any] = {"tile": 256, "strip": 64, "dtype": "float32"}


def pixel_files(path: Path) -> dict[str, bytes]:
    """Every file of a map but the root document, which tells the time it took."""
    return {
        str(file.relative_to(path)): file.read_bytes()
        for file in sorted(path.rglob("*"))
        if file.is_file() and file != path / "zarr.json"
    }


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A map whose arithmetic is rounded."""
    path = tmp_path_factory.mktemp("first") / "m.zarr"
    gigafcn.infer(small_image(517, 613, top=256), random_numbers(Skip()), path, **OPTIONS)
    return path


def test_a_second_run_gives_the_same_bytes(first: Path, tmp_path: Path) -> None:
    path = tmp_path / "m.zarr"
    gigafcn.infer(small_image(517, 613, top=256), random_numbers(Skip()), path, **OPTIONS)
    assert pixel_files(path) == pixel_files(first)


def test_a_region_cut_where_the_full_maps_tiles_are_has_the_same_values(
    first: Path, tmp_path: Path
) -> None:
    # Equal in the last bit only because both compute the same boxes in the same order.
    path, region = tmp_path / "m.zarr", (256, 256, 512, 512)
    image, net = small_image(517, 613, top=256), random_numbers(Skip())
    gigafcn.infer(image, net, path, region=region, **OPTIONS)
    np.testing.assert_array_equal(scores_of(path), scores_of(first)[:, 256:512, 256:512])
    np.testing.assert_array_equal(labels_of(path), labels_of(first)[256:512, 256:512])


class KillOneWorker:
    """Kills a worker process once the first tile is done."""

    def __init__(self) -> None:
        self.killed: int | None = None

    def __call__(self, report: gigafcn.Progress) -> None:
        if report.stage == "compute" and report.tiles_done and self.killed is None:
            children = psutil.Process().children()
            worker = next(p for p in children if "spawn_main" in " ".join(p.cmdline()))
            self.killed = worker.pid
            worker.kill()


@pytest.mark.dask
def test_worker_processes_give_the_same_bytes_even_when_one_dies(tmp_path: Path) -> None:
    # Threads are a field of the plan and part of how numbers are rounded: whole numbers are not.
    image, net = small_image(517, 613), whole_numbers(Skip())
    options = OPTIONS | {"scale": 1.0, "activation": "none"}
    gigafcn.infer(image, net, tmp_path / "one" / "m.zarr", **options)
    murder = KillOneWorker()
    path = tmp_path / "two" / "m.zarr"
    result = gigafcn.infer(image, net, path, workers=2, progress=murder, **options)
    assert murder.killed is not None
    assert pixel_files(path) == pixel_files(tmp_path / "one" / "m.zarr")
    assert result.certificate["tiles"] == 9
    # Module and array went to the workers as files, which are gone.
    left = {"m.png", "m.zarr", "m.zarr.run", "m.zarr.run/receipts.json", "m.zarr.run/run.json"}
    near = (*path.parent.iterdir(), *(path.parent / "m.zarr.run").iterdir())
    assert {str(p.relative_to(path.parent)) for p in near} == left
