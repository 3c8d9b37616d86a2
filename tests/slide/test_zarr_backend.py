"""Zarr arrays and OME-Zarr images of every layout read like the array they hold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import zarr

from gigafcn.errors import RunError, SlideError
from gigafcn.geometry import Box
from gigafcn.slide import open_slide
from gigafcn.slide.zarr import ZarrSlide

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("layout", ["yx", "yxc", "cyx", "tczyx"])
def test_plain_arrays_of_any_axis_order_are_read(
    layout: str, zarr_format: Any, tmp_path: Path, make_pixels: Any, reads_like: Any
) -> None:
    pixels = make_pixels(130, 97, 1 if layout == "yx" else 3, dtype="uint16")
    stored = {
        "yx": pixels[..., 0],
        "yxc": pixels,
        "cyx": np.moveaxis(pixels, -1, 0),
        "tczyx": np.moveaxis(pixels, -1, 0)[np.newaxis, :, np.newaxis],
    }[layout]
    named = layout == "tczyx"
    options: dict[str, Any] = (
        {"dimension_names": list(layout)} if named and zarr_format == 3 else {}
    )
    array = zarr.create_array(
        tmp_path / "a.zarr", shape=stored.shape, dtype=stored.dtype, zarr_format=zarr_format,
        chunks=tuple(min(32, size) for size in stored.shape), **options,
    )  # fmt: skip
    array[...] = stored
    if named and zarr_format == 2:
        array.attrs["_ARRAY_DIMENSIONS"] = list(layout)
    reads_like(open_slide(tmp_path / "a.zarr"), pixels)


def test_sharded_arrays_are_read_by_inner_chunk(make_pixels: Any, reads_like: Any) -> None:
    pixels = make_pixels(3, 200, 300)
    array = zarr.create_array({}, data=pixels, chunks=(3, 32, 32), shards=(3, 128, 128))
    slide = ZarrSlide(array)
    reads_like(slide, np.moveaxis(pixels, 0, -1))
    slide.cache.clear()
    before = slide.cache.decoded
    slide.read(Box(0, 0, 10, 10))
    assert slide.cache.decoded == before + 1


def test_big_endian_values_come_out_native(make_pixels: Any, reads_like: Any) -> None:
    pixels = make_pixels(40, 50, dtype="uint16")
    array = zarr.create_array({}, data=pixels.astype(">u2"), zarr_format=2)
    reads_like(ZarrSlide(array), pixels[..., np.newaxis])


def write_image(
    path: Path, levels: list[Any], version: str, *, unit: str | None = "micrometer"
) -> Any:
    axes = [{"name": name, "type": "time" if name == "t" else "space"} for name in "tczyx"]
    for axis in axes[2:]:
        axis |= {"unit": unit} if unit else {}
    datasets = [
        {
            "path": str(number),
            "coordinateTransformations": [
                {"type": "scale", "scale": [1, 1, 1, 0.25 * 2**number, 0.5 * 2**number]}
            ],
        }
        for number in range(len(levels))
    ]
    image = {"axes": axes, "datasets": datasets, "version": version}
    meta = {"multiscales": [image], "omero": {"channels": [{"label": c} for c in ("H", "E", "D")]}}
    group = zarr.create_group(
        path, zarr_format=2 if version == "0.4" else 3,
        attributes=meta if version == "0.4" else {"ome": {"version": version, **meta}},
    )  # fmt: skip
    for number, level in enumerate(levels):
        group.create_array(
            str(number), data=np.moveaxis(level, -1, 0)[None, :, None], chunks=(1, 1, 1, 40, 40)
        )
    return group


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_every_level_of_an_ome_zarr_image_is_read(
    version: str, tmp_path: Path, make_pixels: Any, reads_like: Any
) -> None:
    levels = [make_pixels(201 // f, 155 // f, 3, seed=f) for f in (1, 2, 4)]
    write_image(tmp_path / "case.ome.zarr", levels, version)
    slide = open_slide(tmp_path / "case.ome.zarr")
    assert slide.name == "case"
    assert slide.mpp == (0.25, 0.5)
    assert slide.channel_names == ("H", "E", "D")
    assert [level.downsample for level in slide.levels] == [(1, 1), (2, 2), (4, 4)]
    for number, pixels in enumerate(levels):
        reads_like(slide, pixels, level=number, boxes=5)


def test_a_group_in_memory_is_read(make_pixels: Any, reads_like: Any) -> None:
    pixels = make_pixels(60, 50, 3)
    slide = open_slide(write_image({}, [pixels], "0.5"))  # type: ignore[arg-type]  # a store too
    assert slide.source is None
    reads_like(slide, pixels)


def test_a_local_array_knows_where_it_is(tmp_path: Path, make_pixels: Any) -> None:
    group = write_image(tmp_path / "a.zarr", [make_pixels(60, 50, 3)], "0.5")
    slide = open_slide(group["0"])
    assert slide.source == str(tmp_path / "a.zarr" / "0")


def test_the_first_image_of_a_bioformats2raw_store_is_read(
    tmp_path: Path, make_pixels: Any, reads_like: Any
) -> None:
    pixels = make_pixels(60, 50, 3)
    zarr.create_group(tmp_path / "a.zarr", zarr_format=2, attributes={"bioformats2raw.layout": 3})
    write_image(tmp_path / "a.zarr" / "0", [pixels], "0.4")
    reads_like(open_slide(tmp_path / "a.zarr"), pixels)


def test_a_scale_without_unit_is_no_pixel_size(tmp_path: Path, make_pixels: Any) -> None:
    write_image(tmp_path / "a.zarr", [make_pixels(60, 50, 3)], "0.5", unit=None)
    assert open_slide(tmp_path / "a.zarr").mpp is None


def test_absent_chunks_hold_the_fill_value(tmp_path: Path) -> None:
    zarr.create_array(tmp_path / "a.zarr", shape=(100, 100), dtype="u1", fill_value=7)
    assert (open_slide(tmp_path / "a.zarr").read(Box(0, 0, 9, 9)) == 7).all()


@pytest.mark.parametrize(
    ("shape", "names", "reason"),
    [
        ((40, 500, 600), None, "neither"),
        ((4, 3, 50, 60), ["z", "c", "y", "x"], "4 planes along z"),
        ((50, 60), ["a", "b"], "not y, x"),
        ((5,), None, "neither"),
    ],
)
def test_axes_that_are_not_told_are_refused(
    shape: tuple[int, ...], names: list[str] | None, reason: str
) -> None:
    array = zarr.create_array({}, shape=shape, dtype="u1", dimension_names=names)
    with pytest.raises(SlideError, match=reason):
        open_slide(array)


def test_giant_chunks_are_refused() -> None:
    array = zarr.create_array({}, shape=(1 << 20, 1 << 20), dtype="u1", chunks=(1 << 18, 1 << 18))
    with pytest.raises(SlideError, match="chunks of 65536 MiB"):
        open_slide(array)


@pytest.mark.parametrize(
    ("multiscales", "reason"),
    [
        ([{"datasets": [{"path": "0"}]}], "damaged OME-Zarr metadata"),
        ([{"axes": ["y", "x"], "datasets": [{"path": "9"}]}], "lists a level '9'"),
        ([{"axes": ["y", "x"], "datasets": []}], "lists no levels"),
        ([], "without an OME-Zarr image"),
    ],
)
def test_groups_that_hold_no_whole_image_are_refused(
    multiscales: list[Any], reason: str, tmp_path: Path
) -> None:
    zarr.create_group(tmp_path / "a.zarr", attributes={"ome": {"multiscales": multiscales}})
    with pytest.raises(SlideError, match=reason):
        open_slide(tmp_path / "a.zarr")


def test_a_damaged_chunk_names_store_level_and_box(tmp_path: Path, make_pixels: Any) -> None:
    zarr.create_array(tmp_path / "a.zarr", data=make_pixels(64, 64), chunks=(32, 32))
    (tmp_path / "a.zarr" / "c" / "1" / "1").write_bytes(b"not a chunk")
    slide = open_slide(tmp_path / "a.zarr")
    slide.read(Box(0, 0, 32, 64))
    with pytest.raises(RunError, match=r"a\.zarr, level 0, box \(30, 30, 40, 40\)"):
        slide.read(Box(30, 30, 40, 40))


def test_the_fingerprint_follows_the_pixels(tmp_path: Path, make_pixels: Any) -> None:
    pixels = make_pixels(64, 64)
    array = zarr.create_array(tmp_path / "a.zarr", data=pixels, chunks=(32, 32))
    first = open_slide(tmp_path / "a.zarr").fingerprint()
    assert open_slide(tmp_path / "a.zarr").fingerprint() == first
    array[63, 63] = pixels[63, 63] ^ 1
    assert open_slide(tmp_path / "a.zarr").fingerprint() != first
