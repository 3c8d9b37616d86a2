"""What a finished map says about itself."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import ome_zarr_models
import pytest
import yaozarrs
import zarr
from hypothesis import given
from hypothesis import strategies as st
from ome_zarr_models.v05 import Image
from ome_zarr_models.v05.image_label import ImageLabel

from gigafcn.errors import RunError, SlideError
from gigafcn.output import (
    ChunkStatus,
    MapSpec,
    create_map,
    empty_status,
    finish_map,
    map_levels,
    open_map,
)
from gigafcn.output.metadata import level_transform
from tests.output.maps import a_spec, some_values, write_level_0, write_map

VARIANTS = {
    "labels": a_spec((1100, 100)),
    "no mpp": a_spec(mpp=None),
    "one channel": a_spec(classes=("tumour",), labels=False, dtype="float32"),
    "one pixel": a_spec((1, 1), chunk=1, shard=1),
    "strided": a_spec(stride=(Fraction(1, 3), Fraction(16)), offset=(92.5, -3.0)),
    "300 classes": a_spec((30, 40), classes=tuple(str(i) for i in range(300)), chunk=64),
}


@pytest.fixture(params=VARIANTS)
def finished(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A finished map of every kind."""
    write_map(tmp_path / "m.zarr", VARIANTS[request.param])
    return tmp_path / "m.zarr"


def test_ome_zarr_models_accepts_the_map(finished: Path) -> None:
    group = zarr.open_group(finished, mode="r")
    assert isinstance(ome_zarr_models.open_ome_zarr(group), Image)
    if "labels" in group:
        labels = group["labels/classes"]
        assert isinstance(labels, zarr.Group)
        ImageLabel.from_zarr(labels)


def test_yaozarrs_accepts_the_map_and_its_labels(finished: Path) -> None:
    yaozarrs.validate_zarr_store(str(finished))
    if (finished / "labels").exists():
        yaozarrs.validate_zarr_store(str(finished / "labels"))
        yaozarrs.validate_zarr_store(str(finished / "labels" / "classes"))


def test_labels_have_as_many_levels_as_the_image(tmp_path: Path) -> None:
    write_map(tmp_path / "m.zarr", VARIANTS["labels"])
    group = zarr.open_group(tmp_path / "m.zarr", mode="r")
    image = Image.from_zarr(group)
    labels = ImageLabel.from_zarr(group["labels/classes"])  # type: ignore[arg-type]  # a group
    counts = [len(g.ome_attributes.multiscales[0].datasets) for g in (image, labels)]
    assert counts == [3, 3]


@given(
    st.integers(1, 64),
    st.integers(-500, 500),
    st.sampled_from([0.25, 0.5, 2.0]),
    st.integers(1, 5000),
)
def test_each_level_lies_where_its_first_pixel_lies(
    stride: int, offset: int, mpp: float, size: int
) -> None:
    spec = a_spec(
        (size, 1), mpp=(mpp, 1.0), stride=(Fraction(stride),) * 2, offset=(float(offset), 0.0)
    )
    for level in map_levels(spec):
        scale, translation = level_transform(spec, level)
        # Brute force: the input px that pixel 0 and pixel 1 of this level cover.
        cell = stride * level.factor
        first = np.mean(np.arange(offset, offset + cell))
        second = np.mean(np.arange(offset + cell, offset + 2 * cell))
        assert translation[0] == mpp * first
        assert scale[0] == mpp * (second - first)


def test_an_enlarging_model_has_pixels_inside_an_input_pixel() -> None:
    # Two map px per input px of 1 um: their centres lie a quarter px left and right of its own.
    spec = a_spec(stride=(Fraction(1, 2),) * 2, mpp=(1.0, 1.0))
    assert level_transform(spec, map_levels(spec)[0]) == ((0.5, 0.5), (-0.25, -0.25))
    assert level_transform(spec, map_levels(spec)[1]) == ((1.0, 1.0), (0.0, 0.0))


def test_the_transformations_written_are_those_of_the_levels(tmp_path: Path) -> None:
    spec = VARIANTS["strided"]
    write_map(tmp_path / "m.zarr", spec)
    ome: Any = zarr.open_group(tmp_path / "m.zarr", mode="r").attrs["ome"]
    for dataset, level in zip(ome["multiscales"][0]["datasets"], map_levels(spec), strict=True):
        scale, translation = level_transform(spec, level)
        assert dataset["coordinateTransformations"] == [
            {"type": "scale", "scale": [1.0, *scale]},
            {"type": "translation", "translation": [0.0, *translation]},
        ]


@pytest.mark.parametrize(("mpp", "unit"), [((0.5, 0.5), "micrometer"), (None, None)])
def test_space_has_a_unit_only_when_mpp_is_known(
    mpp: tuple[float, float] | None, unit: str | None, tmp_path: Path
) -> None:
    write_map(tmp_path / "m.zarr", a_spec(mpp=mpp))
    ome: Any = zarr.open_group(tmp_path / "m.zarr", mode="r").attrs["ome"]
    assert [axis.get("unit") for axis in ome["multiscales"][0]["axes"]] == [None, unit, unit]


@pytest.mark.parametrize(("dtype", "top"), [("uint8", 255), ("float32", 1)])
def test_channels_have_names_colours_and_windows(dtype: str, top: int, tmp_path: Path) -> None:
    write_map(tmp_path / "m.zarr", a_spec(dtype=dtype))
    ome: Any = zarr.open_group(tmp_path / "m.zarr", mode="r").attrs["ome"]
    channels = ome["omero"]["channels"]
    assert [c["label"] for c in channels] == ["background", "tissue", "nuclei"]
    assert {c["window"]["end"] for c in channels} == {top}
    assert all(len(c["color"]) == 6 for c in channels)


def test_provenance_is_stored_and_read_back(tmp_path: Path) -> None:
    spec = a_spec((10, 10))
    create_map(tmp_path / "m.zarr", spec)
    status = write_level_0(tmp_path / "m.zarr", spec, some_values(spec))
    given = {"stride": Fraction(1, 4), "halo": (np.int64(3), 4), "where": Path("a"), "x": None}
    finish_map(tmp_path / "m.zarr", spec, given, status=status)
    stored = open_map(tmp_path / "m.zarr")
    assert stored.provenance == {"stride": "1/4", "halo": [3, 4], "where": "a", "x": None}
    assert stored.spec == spec


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"model": object()}, "model is a object"),
        ({"a": [{"b": float("nan")}]}, r"a\[0\].b is nan"),
        ({"map": 1}, "must not use the keys"),
    ],
)
def test_provenance_that_json_cannot_hold_is_refused_before_anything_is_written(
    value: dict[str, Any], message: str, tmp_path: Path
) -> None:
    spec = a_spec((10, 10))
    create_map(tmp_path / "m.zarr", spec)
    status = write_level_0(tmp_path / "m.zarr", spec, some_values(spec))
    with pytest.raises(ValueError, match=message):
        finish_map(tmp_path / "m.zarr", spec, value, status=status)
    assert not (tmp_path / "m.zarr" / "zarr.json").exists()


def test_a_map_with_an_absent_chunk_cannot_be_finished(tmp_path: Path) -> None:
    spec = a_spec((100, 100), chunk=64)
    create_map(tmp_path / "m.zarr", spec)
    status = write_level_0(tmp_path / "m.zarr", spec, some_values(spec))
    status[1, 0] = ChunkStatus.ABSENT
    with pytest.raises(RunError, match=r"1 of 4 chunks were not computed, the first at y 64, x 0"):
        finish_map(tmp_path / "m.zarr", spec, {}, status=status)


@pytest.mark.parametrize("lost", ["0/c/0/1/1", "1/c/0/1/0", "labels/classes/1/c/0/0"])
def test_a_map_with_a_lost_shard_cannot_be_finished(lost: str, tmp_path: Path) -> None:
    spec = a_spec()
    write_map(tmp_path / "m.zarr", spec)
    (tmp_path / "m.zarr" / "zarr.json").unlink()
    (tmp_path / "m.zarr" / lost).unlink()
    status = np.full(spec.status_shape, ChunkStatus.COMPUTED, np.uint8)
    with pytest.raises(RunError, match=f"1 of .* shards .* missing, the first is .*{lost}"):
        finish_map(tmp_path / "m.zarr", spec, {}, status=status)


def test_failed_and_background_chunks_do_not_hinder_finishing(tmp_path: Path) -> None:
    spec = a_spec()
    status = empty_status(spec)
    status[:2] = ChunkStatus.BACKGROUND
    status[2:] = ChunkStatus.FAILED
    write_map(tmp_path / "m.zarr", spec, status=status)
    np.testing.assert_array_equal(open_map(tmp_path / "m.zarr").status, status)


def test_an_unfinished_map_cannot_be_opened(tmp_path: Path) -> None:
    create_map(tmp_path / "m.zarr", a_spec())
    with pytest.raises(SlideError, match="its run did not finish"):
        open_map(tmp_path / "m.zarr")


def test_a_foreign_group_cannot_be_opened(tmp_path: Path) -> None:
    zarr.create_group(tmp_path / "g.zarr")
    with pytest.raises(SlideError, match="gigafcn did not write it"):
        open_map(tmp_path / "g.zarr")


def test_a_map_without_one_of_its_arrays_cannot_be_opened(tmp_path: Path) -> None:
    write_map(tmp_path / "m.zarr", a_spec())
    (tmp_path / "m.zarr" / "1" / "zarr.json").unlink()
    with pytest.raises(SlideError, match="cannot be opened"):
        open_map(tmp_path / "m.zarr")


def test_a_missing_map_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(SlideError, match="does not exist"):
        open_map(tmp_path / "m.zarr")


def spec_of(path: Path) -> MapSpec:
    """Spec stored in a finished map."""
    return open_map(path).spec


@pytest.mark.parametrize("name", VARIANTS)
def test_the_spec_is_read_back_from_the_map(name: str, tmp_path: Path) -> None:
    write_map(tmp_path / "m.zarr", VARIANTS[name])
    assert spec_of(tmp_path / "m.zarr") == VARIANTS[name]
