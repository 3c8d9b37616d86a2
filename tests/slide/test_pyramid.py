"""A level's px are as large as its size says, or as the file says where rounding explains both."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
import zarr

from gigafcn.slide import open_slide
from gigafcn.slide.pyramid import fits, is_reduced

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from gigafcn.slide.protocol import Level


def ome_zarr(
    path: Path, shapes: Sequence[tuple[int, int]], scales: Sequence[Any], **more: Any
) -> Path:
    """An OME-Zarr 0.4 image of (y, x) levels; a scale is a number, a pair or None."""
    group = zarr.open_group(path, mode="w", zarr_format=2)
    datasets: list[Any] = []
    for number, (shape, scale) in enumerate(zip(shapes, scales, strict=True)):
        group.create_array(
            str(number), data=np.full(shape, number, np.uint8), chunks=(min(64, shape[0]), 64)
        )
        dataset: dict[str, Any] = {"path": str(number)}
        if scale is not None:
            pair = list(scale) if isinstance(scale, tuple) else [scale, scale]
            dataset["coordinateTransformations"] = [{"type": "scale", "scale": pair}]
        datasets.append(dataset)
    unit = {"unit": more.get("unit", "micrometer")}
    axes: list[Any] = [
        {"name": name, "type": "space"} | (unit if unit["unit"] else {}) for name in "yx"
    ]
    image = {"version": "0.4", "axes": axes, "datasets": datasets}
    group.attrs["multiscales"] = [image]
    return path


def levels_of(path: Path, **options: Any) -> tuple[Level, ...]:
    slide = open_slide(path, **options)
    slide.close()
    return slide.levels


def test_a_stated_factor_holds_as_far_as_rounding_explains_the_size(tmp_path: Path) -> None:
    for size in (250, 251):  # 1001 rounded down and up
        path = ome_zarr(tmp_path / f"{size}.zarr", [(1001, 800), (size, 200)], [0.25, 1.0])
        assert levels_of(path)[1].downsample == (4.0, 4.0)
        assert levels_of(path)[1].stated is None
    stretched = (1001 / 250 * 0.25, 1.0)  # as ome-zarr-py writes
    path = ome_zarr(tmp_path / "py.zarr", [(1001, 800), (250, 200)], [0.25, stretched])
    assert levels_of(path)[1].downsample == pytest.approx((4.004, 4.0))


def test_a_factor_that_no_rounding_explains_stays_open_until_it_is_decided(tmp_path: Path) -> None:
    shapes = [(800, 1200), (200, 300), (50, 75)]
    path = ome_zarr(tmp_path / "a.zarr", shapes, [0.253, 0.506, 1.012])
    assert [(at.downsample, at.stated) for at in levels_of(path)] == [
        ((1.0, 1.0), None), ((4.0, 4.0), (2.0, 2.0)), ((16.0, 16.0), (4.0, 4.0)),
    ]  # fmt: skip
    by_size = levels_of(path, levels_from="sizes")
    assert [(at.downsample[0], at.stated) for at in by_size] == [(1, None), (4, None), (16, None)]
    said = levels_of(path, levels_from="metadata")
    assert [(at.downsample[0], at.stated) for at in said] == [(1, None), (2, None), (4, None)]


def test_the_border_is_one_px_of_the_level(tmp_path: Path) -> None:
    inside = ome_zarr(tmp_path / "a.zarr", [(1003, 1003), (250, 250)], [1, 4])
    beyond = ome_zarr(tmp_path / "b.zarr", [(1004, 1004), (250, 250)], [1, 4])
    assert levels_of(inside)[1].stated is None
    assert levels_of(beyond)[1].stated == (4.0, 4.0)


def test_a_pyramid_reduced_along_one_axis_is_read_as_it_says(tmp_path: Path) -> None:
    path = ome_zarr(tmp_path / "a.zarr", [(400, 400), (200, 400)], [0.5, (1.0, 0.5)])
    assert levels_of(path)[1].downsample == (2.0, 1.0)
    wrong = ome_zarr(tmp_path / "b.zarr", [(400, 400), (200, 400)], [0.5, 1.0])
    assert levels_of(wrong)[1].stated == (2.0, 2.0)


@pytest.mark.parametrize("unit", ["pixel", None])
def test_scales_in_px_are_factors_and_no_pixel_size(unit: str | None, tmp_path: Path) -> None:
    path = ome_zarr(tmp_path / "a.zarr", [(400, 400), (100, 100)], [1, 4], unit=unit)
    slide = open_slide(path)
    assert slide.mpp is None
    assert slide.levels[1].downsample == (4.0, 4.0)


def test_levels_in_another_order_are_read_finest_first(tmp_path: Path) -> None:
    path = ome_zarr(tmp_path / "a.zarr", [(50, 75), (800, 1200), (200, 300)], [4.0, 0.25, 1.0])
    slide = open_slide(path)
    assert [at.shape for at in slide.levels] == [(800, 1200), (200, 300), (50, 75)]
    assert [at.downsample[0] for at in slide.levels] == [1, 4, 16]
    assert slide.mpp == (0.25, 0.25)


def test_one_scale_for_the_whole_image_says_nothing_of_its_levels(tmp_path: Path) -> None:
    path = ome_zarr(tmp_path / "a.zarr", [(400, 400), (100, 100)], [None, None])
    group = zarr.open_group(path, mode="r+")
    image: Any = group.attrs["multiscales"]
    image[0]["coordinateTransformations"] = [{"type": "scale", "scale": [0.5, 0.5]}]
    group.attrs["multiscales"] = image
    slide = open_slide(path)
    assert slide.mpp == (0.5, 0.5)
    assert slide.levels[1].downsample == (4.0, 4.0)


def test_a_level_without_scale_that_shows_something_else_is_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = ome_zarr(tmp_path / "a.zarr", [(400, 400), (100, 180)], [None, None])
    assert [at.shape for at in levels_of(path)] == [(400, 400)]
    assert "level 1 of unstated scale is no smaller version" in caplog.text


def tiff(path: Path, levels: Sequence[tuple[tuple[int, int], float]], *, sub: bool) -> Path:
    """A pyramid of (shape, px per cm) levels, in SubIFDs or as reduced pages."""
    with tifffile.TiffWriter(path) as tif:
        for number, (shape, resolution) in enumerate(levels):
            first: dict[str, Any] = {"subifds": len(levels) - 1} if sub and number == 0 else {}
            tif.write(
                np.full((*shape, 3), number, np.uint8), photometric="rgb", tile=(64, 64),
                resolution=(resolution, resolution), resolutionunit="CENTIMETER", metadata=None,
                subfiletype=int(number > 0), **first,
            )  # fmt: skip
    return path


@pytest.mark.parametrize("sub", [True, False])
def test_tags_of_a_tiffs_level_that_contradict_its_size_leave_it_open(
    sub: bool, tmp_path: Path
) -> None:
    wrong = [((800, 1200), 40_000), ((200, 300), 20_000)]
    path = tiff(tmp_path / "a.tif", wrong, sub=sub)
    level = levels_of(path)[1]
    assert (level.downsample, level.stated) == ((4.0, 4.0), (2.0, 2.0))
    assert levels_of(path, levels_from="metadata")[1].downsample == (2.0, 2.0)


@pytest.mark.parametrize("sub", [True, False])
@pytest.mark.parametrize(
    "tags", [(40_000, 10_000), (40_000, 40_000), (39_526, 9882), (2470, 618), (40_000, 72)]
)
def test_tags_that_are_rounded_repeated_or_absurd_contradict_nothing(
    tags: tuple[int, int], sub: bool, tmp_path: Path
) -> None:
    levels = [((803, 1201), tags[0]), ((200, 300), tags[1])]
    level = levels_of(tiff(tmp_path / "a.tif", levels, sub=sub))[1]
    assert (level.downsample, level.stated) == ((4.0, 4.0), None)


def test_a_sub_directory_of_another_shape_is_no_level(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with tifffile.TiffWriter(tmp_path / "a.ome.tif") as tif:
        tif.write(np.zeros((400, 400), np.uint8), subifds=1, tile=(64, 64))
        tif.write(np.zeros((100, 190), np.uint8), subfiletype=1, tile=(64, 64))
    assert [at.shape for at in levels_of(tmp_path / "a.ome.tif")] == [(400, 400)]
    assert "its level of 100 x 190 px (y, x) is no smaller version" in caplog.text


def test_a_tiled_page_of_another_shape_is_no_level_of_a_scanners_file(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sizes = "400x400 [0,0 400x400] (64x64) JPEG/RGB Q=90|AppMag = 20|MPP = 0.5"
    with tifffile.TiffWriter(tmp_path / "a.svs") as tif:
        for number, shape in enumerate([(400, 400), (100, 100), (60, 190)]):
            text = {"description": f"Aperio Image Library v11.2.1\r\n{sizes}"} if not number else {}
            tif.write(
                np.full((*shape, 3), number, np.uint8), tile=(64, 64), photometric="rgb",
                compression="jpeg", metadata=None, **text,  # type: ignore[arg-type]
            )  # fmt: skip
    slide = open_slide(tmp_path / "a.svs")
    assert slide.traits.format == "openslide aperio"
    assert [at.shape for at in slide.levels] == [(400, 400), (100, 100)]
    assert "level 2 of 60 x 190 px (y, x) is no smaller version" in caplog.text


def test_every_way_of_rounding_is_a_reduced_version() -> None:
    random = np.random.default_rng(0)
    for _ in range(2000):
        base = [int(n) for n in random.integers(500, 200_000, 2)]
        factor = float(random.choice([2, 3, 4, 8, 16, 32, 2.5, 1.5]))
        ways = [np.floor, np.ceil, np.round]
        shape = [int(random.choice(ways)(n / factor)) for n in base]  # type: ignore[arg-type]
        assert fits((base[0], base[1]), (shape[0], shape[1]), (factor, factor))
        assert is_reduced((base[0], base[1]), (shape[0], shape[1]))
