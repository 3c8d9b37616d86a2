"""Writing the finest level of a map."""

from __future__ import annotations

import resource
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from typing import TYPE_CHECKING

import numpy as np
import pytest
import zarr

from gigafcn.errors import RunError
from gigafcn.geometry import Box
from gigafcn.output import ChunkStatus, MapSpec, MapStore, create_map, map_levels, open_map
from tests.output.maps import a_spec, files_of, some_values, write_level_0, write_map

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.mark.parametrize("dtype", ["uint8", "float16", "float32"])
def test_what_is_written_is_read_back(dtype: str, tmp_path: Path) -> None:
    spec = a_spec(dtype=dtype)
    write_map(tmp_path / "m.zarr", spec)
    scores, labels = some_values(spec)
    stored = open_map(tmp_path / "m.zarr")
    np.testing.assert_array_equal(stored.scores[0][...], scores)
    np.testing.assert_array_equal(stored.labels[0][...], labels)


def test_one_tile_of_several_shards_equals_one_tile_per_shard(tmp_path: Path) -> None:
    spec = a_spec()
    scores, labels = some_values(spec)
    for name in ("one.zarr", "many.zarr"):
        create_map(tmp_path / name, spec)
    MapStore(tmp_path / "one.zarr", spec).write(Box.whole(spec.shape), scores, labels)
    write_level_0(tmp_path / "many.zarr", spec, (scores, labels))
    one, many = (files_of(tmp_path / name) for name in ("one.zarr", "many.zarr"))
    assert [p.read_bytes() for p in one] == [p.read_bytes() for p in many]


def test_a_map_of_one_pixel_can_be_written(tmp_path: Path) -> None:
    spec = a_spec((1, 1), chunk=1, shard=1)
    write_map(tmp_path / "m.zarr", spec)
    assert open_map(tmp_path / "m.zarr").scores[0].shape == (3, 1, 1)


def test_there_is_no_root_document_before_the_end(tmp_path: Path) -> None:
    spec = a_spec()
    create_map(tmp_path / "m.zarr", spec)
    write_level_0(tmp_path / "m.zarr", spec, some_values(spec))
    assert not (tmp_path / "m.zarr" / "zarr.json").exists()
    assert not (tmp_path / "m.zarr" / "labels" / "zarr.json").exists()
    with pytest.raises(FileNotFoundError):
        zarr.open_group(tmp_path / "m.zarr", mode="r")


def write_shard(path: Path, spec: MapSpec, index: tuple[int, int]) -> list[int]:
    """Task of another process: write one shard, return its status."""
    box = map_levels(spec)[0].shard_box(index)
    where = box.relative_to(Box(0, 0, 0, 0))
    scores, labels = some_values(spec)
    assert labels is not None
    status = MapStore(path, spec).write(box, scores[(slice(None), *where)], labels[where])
    return [int(cell) for cell in np.unique(status)]


def test_two_processes_write_different_shards(tmp_path: Path) -> None:
    spec = a_spec((300, 340))
    create_map(tmp_path / "m.zarr", spec)
    indices = [(0, 0), (0, 1), (1, 0), (1, 1)]
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        found = list(pool.map(write_shard, [tmp_path / "m.zarr"] * 4, [spec] * 4, indices))
    assert found == [[ChunkStatus.COMPUTED]] * 4
    scores, _ = some_values(spec)
    array = zarr.open_array(tmp_path / "m.zarr" / "0", mode="r")
    np.testing.assert_array_equal(array[...], scores)


def test_a_background_shard_stores_no_object(tmp_path: Path) -> None:
    spec = a_spec()
    create_map(tmp_path / "m.zarr", spec)
    before = files_of(tmp_path / "m.zarr")
    store = MapStore(tmp_path / "m.zarr", spec)
    cells = store.write(Box(0, 0, 256, 256), None, None, ChunkStatus.BACKGROUND)
    assert files_of(tmp_path / "m.zarr") == before
    assert cells.tolist() == [[ChunkStatus.BACKGROUND] * 2] * 2


def test_a_computed_shard_of_zeros_stores_an_object(tmp_path: Path) -> None:
    spec = a_spec()
    create_map(tmp_path / "m.zarr", spec)
    zeros = np.zeros((3, 256, 256), np.uint8)
    MapStore(tmp_path / "m.zarr", spec).write(Box(0, 0, 256, 256), zeros, zeros[0])
    assert (tmp_path / "m.zarr/0/c/0/0/0").is_file()
    assert (tmp_path / "m.zarr/labels/classes/0/c/0/0").is_file()


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_chunks_that_were_not_computed_read_as_the_fill_value(dtype: str, tmp_path: Path) -> None:
    spec = a_spec((100, 150), dtype=dtype, chunk=64)
    status = np.array(
        [[ChunkStatus.COMPUTED, ChunkStatus.BACKGROUND, ChunkStatus.COMPUTED],
         [ChunkStatus.FAILED, ChunkStatus.COMPUTED, ChunkStatus.COMPUTED]], np.uint8
    )  # fmt: skip
    write_map(tmp_path / "m.zarr", spec, status=status)
    stored = open_map(tmp_path / "m.zarr")
    computed = stored.computed(0)
    assert computed[:64, :64].all()
    assert not computed[:64, 64:128].any()
    assert not computed[64:, :64].any()
    scores, _ = some_values(spec)
    fill = 0 if dtype == "uint8" else np.nan
    np.testing.assert_array_equal(
        np.asarray(stored.scores[0][...]), np.where(computed, scores, np.asarray(fill, dtype))
    )
    np.testing.assert_array_equal(stored.status, status)


def test_chunks_beside_tissue_take_no_room_in_a_shard(tmp_path: Path) -> None:
    spec = a_spec((256, 256), chunk=64, shard=256)
    noise, labels = some_values(spec)
    status = np.full((4, 4), ChunkStatus.BACKGROUND, np.uint8)
    status[1:3, :] = ChunkStatus.COMPUTED
    create_map(tmp_path / "m.zarr", spec)
    MapStore(tmp_path / "m.zarr", spec).write(Box(0, 0, 256, 256), noise.copy(), labels, status)
    read = np.asarray(zarr.open_array(tmp_path / "m.zarr/0", mode="r")[...])
    noise[:, :64] = noise[:, 192:] = 0
    np.testing.assert_array_equal(read, noise)
    # A shard ends in offset and size of each chunk (all bits set if there is none) and a crc32c.
    stored = (tmp_path / "m.zarr/0/c/0/0/0").read_bytes()
    index = np.frombuffer(stored[-(3 * 16 * 16 + 4) : -4], "<u8").reshape(3, 4, 4, 2)
    absent = (index == np.iinfo(np.uint64).max).all(axis=-1)
    np.testing.assert_array_equal(absent, np.broadcast_to(status != 1, (3, 4, 4)))


def test_rewriting_a_truncated_edge_shard_repairs_it(tmp_path: Path) -> None:
    spec = a_spec()
    create_map(tmp_path / "m.zarr", spec)
    write_level_0(tmp_path / "m.zarr", spec, some_values(spec))
    edge = tmp_path / "m.zarr/0/c/0/2/1"
    whole = edge.read_bytes()
    edge.write_bytes(whole[: len(whole) // 2])
    write_level_0(tmp_path / "m.zarr", spec, some_values(spec))
    assert edge.read_bytes() == whole


@pytest.mark.parametrize(
    "box",
    [Box(0, 0, 100, 256), Box(64, 0, 256, 256), Box(512, 0, 768, 256), Box(0, 0, 0, 256)],
    ids=["part of a shard", "not at a shard", "beyond the map", "empty"],
)
def test_a_box_that_is_not_whole_shards_is_refused(box: Box, tmp_path: Path) -> None:
    spec = a_spec()
    create_map(tmp_path / "m.zarr", spec)
    scores = np.zeros((3, *box.shape), np.uint8)
    with pytest.raises(ValueError, match="not whole shards of 256 px"):
        MapStore(tmp_path / "m.zarr", spec).write(box, scores, scores[0])


def test_scores_of_another_type_are_refused(tmp_path: Path) -> None:
    spec = a_spec((64, 64), labels=False)
    create_map(tmp_path / "m.zarr", spec)
    with pytest.raises(ValueError, match=r"uint8, got .* float32"):
        MapStore(tmp_path / "m.zarr", spec).write(
            Box(0, 0, 64, 64), np.zeros((3, 64, 64), np.float32), None
        )


def test_missing_labels_are_refused(tmp_path: Path) -> None:
    spec = a_spec((64, 64))
    create_map(tmp_path / "m.zarr", spec)
    with pytest.raises(ValueError, match=r"labels of .* must be given"):
        MapStore(tmp_path / "m.zarr", spec).write(
            Box(0, 0, 64, 64), np.zeros((3, 64, 64), np.uint8), None
        )


def test_a_map_made_for_another_spec_is_refused(tmp_path: Path) -> None:
    create_map(tmp_path / "m.zarr", a_spec())
    with pytest.raises(RunError, match="was not created for this map"):
        MapStore(tmp_path / "m.zarr", a_spec(dtype="float32"))


@contextmanager
def files_limited_to(count: int) -> Iterator[None]:
    """Let the system refuse to write files longer than this, as a full disk would."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (count, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_is_told_with_the_bytes_needed_and_leaves_no_part(tmp_path: Path) -> None:
    spec = a_spec((256, 256))
    create_map(tmp_path / "m.zarr", spec)
    before = files_of(tmp_path / "m.zarr")
    with (
        files_limited_to(20_000),
        pytest.raises(RunError, match=r"no room to write shard 0/0 .* at most .*B, .*B is free"),
    ):
        write_level_0(tmp_path / "m.zarr", spec, some_values(spec))
    assert files_of(tmp_path / "m.zarr") == before
