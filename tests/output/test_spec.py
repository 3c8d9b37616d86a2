"""Layout arithmetic of a map."""

from __future__ import annotations

import itertools
import json
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gigafcn.errors import UsageError
from gigafcn.geometry import Box
from gigafcn.output import (
    MapSpec,
    choose_chunk,
    choose_shard,
    colours_for,
    count_objects,
    map_levels,
    pyramid_shards,
    pyramid_tasks,
    source_shards,
    store_bytes,
)
from tests.output.maps import a_spec, files_of, write_map

if TYPE_CHECKING:
    from pathlib import Path


@st.composite
def specs(draw: st.DrawFn) -> MapSpec:
    """Any valid spec of up to 3000 px."""
    classes = tuple(draw(st.lists(st.text(min_size=1), min_size=1, max_size=4, unique=True)))
    positive = st.floats(1e-3, 100)
    finite = st.floats(-1e6, 1e6)
    chunk = 2 * draw(st.integers(50, 200))
    return MapSpec(
        shape=draw(st.tuples(st.integers(1, 3000), st.integers(1, 3000))),
        classes=classes,
        colours=colours_for(classes),
        dtype=draw(st.sampled_from(["uint8", "float16", "float32"])),
        chunk=chunk,
        shard=chunk * draw(st.integers(1, 5)),
        mpp=draw(st.none() | st.tuples(positive, positive)),
        stride=draw(st.tuples(*[st.fractions(Fraction(1, 32), 1024, max_denominator=99)] * 2)),
        offset=draw(st.tuples(finite, finite)),
        labels=len(classes) > 1 and draw(st.booleans()),
        name=draw(st.text()),
    )


@given(specs())
def test_a_spec_survives_json(spec: MapSpec) -> None:
    assert MapSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec


@given(specs())
def test_levels_halve_rounding_up_until_512_px(spec: MapSpec) -> None:
    levels = map_levels(spec)
    assert levels[0].shape == spec.shape
    for fine, coarse in itertools.pairwise(levels):
        assert max(fine.shape) > 512
        assert coarse.shape == tuple((n + 1) // 2 for n in fine.shape)
    assert max(levels[-1].shape) <= 512


@given(specs())
def test_the_shards_of_a_level_partition_it(spec: MapSpec) -> None:
    for k, level in enumerate(map_levels(spec)):
        times_owned = np.zeros(level.shape, np.uint8)
        for index in pyramid_shards(spec, k):
            box = level.shard_box(index)
            times_owned[box.relative_to(Box(0, 0, 0, 0))] += 1
        assert (times_owned == 1).all()


@given(specs())
def test_source_shards_hold_every_pixel_of_the_blocks_of_a_shard(spec: MapSpec) -> None:
    levels = map_levels(spec)
    for k, index in pyramid_tasks(spec):
        box = levels[k].shard_box(index)
        blocks = Box(*(2 * edge for edge in box)).clip(levels[k - 1].shape)
        held = [levels[k - 1].shard_box(s) for s in source_shards(spec, k, index)]
        assert sum(box.intersect(blocks).area for box in held) == blocks.area
        assert all(blocks.contains(box) for box in held)  # no source is shared by two tasks


def test_pyramid_tasks_come_after_the_tasks_they_read() -> None:
    spec = a_spec((5000, 3000))
    done = {(0, index) for index in pyramid_shards(spec, 0)}
    for k, index in pyramid_tasks(spec):
        assert {(k - 1, source) for source in source_shards(spec, k, index)} <= done
        done.add((k, index))


def test_a_slide_of_100_000_px_with_labels_is_at_most_1500_objects() -> None:
    shape = (100_000, 100_000)
    shard = choose_shard(shape, 3, labels=True)
    assert count_objects(a_spec(shape, chunk=choose_chunk(shape), shard=shard)) <= 1500


@pytest.mark.parametrize(
    "spec",
    [a_spec(), a_spec((513, 1)), a_spec((1, 1), chunk=1, shard=1), a_spec(labels=False)],
    ids=["several shards", "one column", "one pixel", "no labels"],
)
def test_the_count_of_objects_is_that_of_a_finished_map(spec: MapSpec, tmp_path: Path) -> None:
    write_map(tmp_path / "m.zarr", spec)
    assert len(files_of(tmp_path / "m.zarr")) == count_objects(spec)


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_random_values_take_no_more_than_the_upper_bound(dtype: str, tmp_path: Path) -> None:
    spec = a_spec(dtype=dtype)
    write_map(tmp_path / "m.zarr", spec)
    stored = sum(p.stat().st_size for p in files_of(tmp_path / "m.zarr"))
    assert 0.5 * store_bytes(spec) < stored <= store_bytes(spec)


def test_a_shard_is_no_larger_than_the_map_needs() -> None:
    assert choose_shard((3, 300), 3) == 512
    assert choose_shard((1, 1), 3) == choose_chunk((1, 1)) == 1


def test_a_shard_divides_the_tile() -> None:
    assert choose_shard((20_000, 20_000), 3, tile=(6144, 3072)) == 3072
    assert choose_shard((20_000, 20_000), 3, tile=(20_224, 1280)) == 1280


def test_a_tile_that_is_no_whole_chunks_is_refused() -> None:
    with pytest.raises(UsageError, match=r"multiples of 256 px, got tile \(y, x\) \(1000, 1024\)"):
        choose_shard((20_000, 20_000), 3, tile=(1000, 1024))


def test_memory_wins_over_the_number_of_files_with_many_channels() -> None:
    shard = choose_shard((100_000, 100_000), 512, dtype="float32")
    assert shard**2 * 512 * 4 <= 256 * 2**20


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shape": (0, 5)}, "at least 1 x 1 px"),
        ({"dtype": "float64"}, "uint8, float16, float32"),
        ({"shard": 100}, "shard 100 px, chunk 128 px"),
        ({"chunk": 63, "shard": 63}, "shard must be even"),
        ({"classes": ("a", "a")}, "must be present and differ"),
        ({"classes": ("a", "")}, "non-empty text"),
        ({"colours": ("FFFFFF",)}, "1 colours for 3 classes"),
        ({"colours": ("red", "000000", "FFFFFF")}, "written RRGGBB, got 'red'"),
        ({"classes": ("a",)}, "labels need at least 2 classes"),
        ({"mpp": (0.0, 0.5)}, "mpp .* must be positive"),
        ({"stride": (1, 1)}, "two positive fractions"),
        ({"offset": (float("nan"), 0.0)}, "finite"),
    ],
)
def test_a_layout_that_cannot_be_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        a_spec(**changes)


def test_json_with_an_unknown_field_is_refused() -> None:
    with pytest.raises(UsageError, match="codec"):
        MapSpec.from_json(a_spec().to_json() | {"codec": "lz4"})


def test_fifty_classes_get_different_colours() -> None:
    assert len(set(colours_for([str(i) for i in range(50)]))) == 50
