"""A map lies over its image: one marked px lands on one place, whoever writes and whoever reads."""

from __future__ import annotations

import zipfile
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr
from torch import nn

import gigafcn
from gigafcn.errors import UsageError
from gigafcn.geometry import Box
from gigafcn.output import map_levels, open_map
from gigafcn.output.metadata import level_transform
from gigafcn.slide.opening import open_slide
from tests.output.maps import a_spec
from tests.run.small_nets import whole_numbers

MPP = 0.25
WRITTEN = Path(__file__).parents[1] / "data" / "ome_zarr"
PLAIN: dict[str, Any] = {"scale": 1.0, "activation": "none", "dtype": "float32", "verify": False}


class Same(nn.Module):
    """Every px of the image, unchanged."""

    def forward(self, x: Any) -> Any:
        return x * 1.0


@pytest.fixture
def pyramid(tmp_path: Path) -> Path:
    """A TIFF of 0.25 µm/px whose second level holds means of 4 x 4 px, its third of 16 x 16."""
    path = tmp_path / "pyramid.tif"
    base = np.random.default_rng(0).integers(0, 255, (1024, 1536, 3), dtype=np.uint8)
    options: dict[str, Any] = {"tile": (128, 128), "photometric": "rgb", "metadata": None}
    with tifffile.TiffWriter(path) as writer:
        writer.write(base, resolution=(40000, 40000), resolutionunit="CENTIMETER", **options)
        for n in (4, 16):
            means = base.reshape(1024 // n, n, 1536 // n, n, 3).mean((1, 3)).astype(np.uint8)
            writer.write(means, subfiletype=1, **options)
    return path


def transforms(path: Path, number: int = 0) -> tuple[list[float], list[float]]:
    """Scale and translation (y, x) as they stand in the file."""
    ome: Any = zarr.open_group(path, mode="r").attrs["ome"]
    scale, moved = ome["multiscales"][0]["datasets"][number]["coordinateTransformations"]
    return scale["scale"][-2:], moved["translation"][-2:]


WAYS: dict[str, tuple[dict[str, Any], int, tuple[int, int]]] = {
    "level 0": ({}, 1, (0, 0)),
    "level 1": ({"level": 1}, 4, (0, 0)),
    "level 2": ({"level": 2}, 16, (0, 0)),
    "level by mpp": ({"mpp": 1.0}, 4, (0, 0)),
    "resampled": ({"mpp": 0.5}, 2, (0, 0)),
    "resampled from level 1": ({"mpp": 2.0, "level": 1}, 8, (0, 0)),
    "means": ({"save_mpp": 1.0}, 4, (0, 0)),
    "means of level 1": ({"level": 1, "save_mpp": 2.0}, 8, (0, 0)),
    "a region of level 1": ({"level": 1, "region": (100, 204, 900, 1000)}, 4, (100, 204)),
    "a region of level 2": ({"level": 2, "region": (100, 204, 900, 1000)}, 16, (96, 192)),
    "a region resampled": ({"mpp": 0.5, "region": (101, 205, 900, 1000)}, 2, (100, 204)),
}
"""Options, level-0 px per px of the map, level-0 px of its corner."""


@pytest.mark.parametrize("way", WAYS)
def test_each_level_of_a_map_is_placed_by_the_centre_of_its_first_px(
    way: str, pyramid: Path, tmp_path: Path
) -> None:
    options, size, corner = WAYS[way]
    path = tmp_path / "m.zarr"
    gigafcn.infer(pyramid, Same(), path, **PLAIN | options)
    for number, level in enumerate(open_map(path).levels):
        covered = size * level.factor
        scale, moved = transforms(path, number)
        assert scale == [covered * MPP] * 2
        # The centre of the first px of level 0 is 0; that of what covers d px (d - 1) / 2 px on.
        assert moved == [(at + (covered - 1) / 2) * MPP for at in corner]


def test_a_coarser_net_on_a_coarser_level_adds_both_halves(pyramid: Path, tmp_path: Path) -> None:
    path = tmp_path / "m.zarr"
    net = whole_numbers(nn.Conv2d(3, 2, 3, stride=2, padding=1))
    gigafcn.infer(pyramid, net, path, level=1, **PLAIN)
    assert transforms(path) == ([2.0, 2.0], [(8 - 1) / 2 * MPP] * 2)


def test_without_a_px_size_level_0_is_the_measure(tmp_path: Path) -> None:
    base = np.zeros((256, 320, 3), np.uint8)
    base[::3] = 9
    slide, path = tmp_path / "s.tif", tmp_path / "m.zarr"
    with tifffile.TiffWriter(slide) as writer:
        for number, picture in enumerate((base, base[::4, ::4])):
            writer.write(
                picture, tile=(64, 64), photometric="rgb", metadata=None, subfiletype=number
            )
    gigafcn.infer(slide, Same(), path, level=1, **PLAIN)
    assert transforms(path) == ([4.0, 4.0], [1.5, 1.5])


def test_resampled_sizes_that_are_rounded_keep_both_edges(tmp_path: Path) -> None:
    image, path = np.random.default_rng(0).integers(0, 255, (101, 200, 3), np.uint8), tmp_path / "m"
    gigafcn.infer(image, Same(), path, mpp=0.4, slide_mpp=0.263, **PLAIN)
    scale, moved = transforms(path)
    for axis, (stored, n) in enumerate(((101, 66), (200, 132))):
        size = Fraction("0.263") * stored / n
        first, last = Fraction(moved[axis]), Fraction(moved[axis]) + (n - 1) * Fraction(scale[axis])
        # From the corner of the slide's first px, half a px before its centre, to its far corner.
        assert float(first - size / 2) == pytest.approx(-0.263 / 2, abs=1e-12)
        assert float(last + size / 2) == pytest.approx((stored - 0.5) * 0.263, abs=1e-12)


def test_a_map_of_an_earlier_version_keeps_its_place() -> None:
    spec = a_spec(stride=(Fraction(4),) * 2, mpp=(0.5, 0.5))
    old = {key: value for key, value in spec.to_json().items() if key != "place"}
    read = type(spec).from_json(old)
    assert level_transform(read, map_levels(read)[0]) == ((2.0, 2.0), (0.75, 0.75))


ELSEWHERE: dict[str, tuple[list[Any], list[Any], str | None]] = {
    "level 0": (
        [{"type": "scale", "scale": [1, 0.25, 0.5]},
         {"type": "translation", "translation": [0, 100, 30]}], [], "micrometer",
    ),
    "the whole": (
        [{"type": "scale", "scale": [1, 0.25, 0.5]}],
        [{"type": "scale", "scale": [1, 1, 1]},
         {"type": "translation", "translation": [0, 100, 30]}], "micrometer",
    ),
    "both, the whole stretching": (
        [{"type": "scale", "scale": [1, 0.125, 0.25]},
         {"type": "translation", "translation": [0, 40, 10]}],
        [{"type": "scale", "scale": [1, 2, 2]},
         {"type": "translation", "translation": [0, 20, 10]}], "micrometer",
    ),
    "nanometres": (
        [{"type": "scale", "scale": [1, 250, 500]},
         {"type": "translation", "translation": [0, 100_000, 30_000]}], [], "nanometer",
    ),
    "millimetres": (
        [{"type": "scale", "scale": [1, 0.00025, 0.0005]},
         {"type": "translation", "translation": [0, 0.1, 0.03]}], [], "millimeter",
    ),
}  # fmt: skip
"""Transformations of level 0 and of the whole image, and the unit: all the same place."""


def write_image(path: Path, base: Any, image: list[Any], unit: str | None, count: int = 1) -> None:
    """An OME-Zarr 0.4 image of (c, y, x) with levels of half the size each."""
    group = zarr.open_group(path, mode="w", zarr_format=2)
    picture = np.moveaxis(np.random.default_rng(0).integers(0, 255, (256, 320, 3), np.uint8), 2, 0)
    for number in range(count):
        part = picture[:, :: 2**number, :: 2**number]
        group.create_array(str(number), data=part, chunks=(3, 64, 64))
    datasets = base if count > 1 else [base]
    space = {"type": "space", **({} if unit is None else {"unit": unit})}
    group.attrs["multiscales"] = [
        {
            "version": "0.4",
            "axes": [{"name": "c", "type": "channel"}, {"name": "y", **space},
                     {"name": "x", **space}],
            "datasets": [
                {"path": str(n), "coordinateTransformations": t} for n, t in enumerate(datasets)
            ],
            **({"coordinateTransformations": image} if image else {}),
        }
    ]  # fmt: skip


@pytest.mark.parametrize("how", ELSEWHERE)
def test_the_map_of_an_image_that_lies_elsewhere_lies_there_too(how: str, tmp_path: Path) -> None:
    own, whole, unit = ELSEWHERE[how]
    write_image(tmp_path / "s.zarr", own, whole, unit)
    path = tmp_path / "m.zarr"
    gigafcn.infer(tmp_path / "s.zarr", Same(), path, **PLAIN)
    scale, moved = transforms(path)
    assert scale == pytest.approx([0.25, 0.5], rel=1e-15)
    assert moved == pytest.approx([100.0, 30.0], rel=1e-15)
    path = tmp_path / "part.zarr"
    gigafcn.infer(tmp_path / "s.zarr", Same(), path, region=(64, 32, 128, 160), **PLAIN)
    assert transforms(path)[1] == pytest.approx([100 + 64 * 0.25, 30 + 32 * 0.5], rel=1e-15)


def test_a_map_of_a_map_lies_over_both(tmp_path: Path) -> None:
    own, whole, unit = ELSEWHERE["level 0"]
    write_image(tmp_path / "s.zarr", own, whole, unit)
    net = whole_numbers(nn.Conv2d(3, 3, 3, stride=2, padding=1))
    gigafcn.infer(tmp_path / "s.zarr", net, tmp_path / "m.zarr", region=(64, 32, 256, 320), **PLAIN)
    gigafcn.infer(tmp_path / "m.zarr", Same(), tmp_path / "n.zarr", **PLAIN)
    assert transforms(tmp_path / "n.zarr") == transforms(tmp_path / "m.zarr")
    assert transforms(tmp_path / "m.zarr")[1] == [100 + 64.5 * 0.25, 30 + 32.5 * 0.5]


def test_what_counts_in_units_of_its_own_is_mapped_in_them(tmp_path: Path) -> None:
    own = [
        {"type": "scale", "scale": [1, 2.0, 3.0]},
        {"type": "translation", "translation": [0, 10, 20]},
    ]
    write_image(tmp_path / "s.zarr", own, [], None)
    gigafcn.infer(tmp_path / "s.zarr", Same(), tmp_path / "m.zarr", **PLAIN)
    assert transforms(tmp_path / "m.zarr") == ([2.0, 3.0], [10.0, 20.0])
    ome: Any = zarr.open_group(tmp_path / "m.zarr", mode="r").attrs["ome"]
    assert [axis.get("unit") for axis in ome["multiscales"][0]["axes"]] == [None] * 3
    # A px size that the user gives stretches what the file counts in.
    gigafcn.infer(tmp_path / "s.zarr", Same(), tmp_path / "g.zarr", slide_mpp=0.5, **PLAIN)
    moved = transforms(tmp_path / "g.zarr")[1]
    assert moved == pytest.approx([10 / 2 * 0.5, 20 / 3 * 0.5], rel=1e-15)


def levels_at(*moved: tuple[float, float]) -> list[Any]:
    """Transformations of levels of half the size each, of 0.25 µm/px, at some places."""
    return [
        [{"type": "scale", "scale": [1, 0.25 * 2**n, 0.25 * 2**n]},
         {"type": "translation", "translation": [0, *at]}]
        for n, at in enumerate(moved)
    ]  # fmt: skip


@pytest.mark.parametrize("half", [0.0, 0.125])
def test_whether_levels_are_placed_by_corner_or_centre_moves_nothing(
    half: float, tmp_path: Path
) -> None:
    write_image(tmp_path / "s.zarr", levels_at((7, 9), (7 + half, 9 + half)), [], "micrometer", 2)
    gigafcn.infer(tmp_path / "s.zarr", Same(), tmp_path / "m.zarr", level=1, **PLAIN)
    assert transforms(tmp_path / "m.zarr") == ([0.5, 0.5], [7.125, 9.125])


def test_a_level_that_lies_elsewhere_is_left_out_with_a_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    places = levels_at((0, 0), (0.125, 0.125), (0.375, 20.0))
    write_image(tmp_path / "s.zarr", places, [], "micrometer", 3)
    slide = open_slide(tmp_path / "s.zarr")
    assert len(slide.levels) == 2
    assert slide.read(Box(0, 0, 1, 1), 1).shape == (1, 1, 3)
    assert "level 2 lies 20 micrometer from level 0 along x, 20 of its px" in caplog.text


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize("writer", ["ngff_zarr", "ome_zarr_py"])
def test_what_writers_write_lies_at_one_place_at_every_level(
    writer: str, version: str, tmp_path: Path
) -> None:
    # ngff-zarr places levels by centres, in µm; ome-zarr-py's user all of them alike, in nm.
    name = f"{writer}_{version}"
    with zipfile.ZipFile(WRITTEN / f"{name}.zip") as packed:
        packed.extractall(tmp_path)
    slide = tmp_path / f"{name}.zarr"
    for level, size in enumerate((1, 2, 4)):
        path = tmp_path / f"{level}.zarr"
        gigafcn.infer(slide, Same(), path, level=level, **PLAIN)
        scale, moved = transforms(path)
        assert scale == pytest.approx([0.25 * size, 0.5 * size], rel=1e-12)
        half = (size - 1) / 2
        assert moved == pytest.approx([100 + half * 0.25, 30 + half * 0.5], rel=1e-12)


def test_axes_of_a_stack_keep_their_numbers_apart(tmp_path: Path) -> None:
    group = zarr.open_group(tmp_path / "s.zarr", mode="w", zarr_format=2)
    group.create_array(
        "0", data=np.ones((1, 3, 1, 64, 80), np.uint8) * np.arange(80, dtype=np.uint8)
    )
    space = {"type": "space", "unit": "micrometer"}
    axes: list[Any] = [
        {"name": "t", "type": "time"}, {"name": "c", "type": "channel"}, {"name": "z", **space},
        {"name": "y", **space}, {"name": "x", **space},
    ]  # fmt: skip
    own = [
        {"type": "scale", "scale": [1, 1, 3, 0.25, 0.5]},
        {"type": "translation", "translation": [5, 6, 7, 8, 9]},
    ]
    datasets: Any = [{"path": "0", "coordinateTransformations": own}]
    group.attrs["multiscales"] = [{"axes": axes, "datasets": datasets}]
    gigafcn.infer(tmp_path / "s.zarr", Same(), tmp_path / "m.zarr", **PLAIN)
    assert transforms(tmp_path / "m.zarr") == ([0.25, 0.5], [8.0, 9.0])


def test_a_transformation_that_is_not_followed_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    turn = {"type": "rotation", "rotation": [[1, 0, 0], [0, 0, 1], [0, 1, 0]]}
    write_image(tmp_path / "s.zarr", levels_at((0, 0))[0], [turn], "micrometer")
    open_slide(tmp_path / "s.zarr")
    assert "'rotation'" in caplog.text


def test_a_slide_that_was_moved_since_is_no_finished_run(tmp_path: Path) -> None:
    own, _, unit = ELSEWHERE["the whole"]
    for moved in (100, 101):
        whole = [{"type": "translation", "translation": [0, moved, 30]}]
        write_image(tmp_path / "s.zarr", own, whole, unit)
        if moved == 100:
            gigafcn.infer(tmp_path / "s.zarr", Same(), tmp_path / "m.zarr", **PLAIN)
    with pytest.raises(UsageError, match="place was"):
        gigafcn.infer(tmp_path / "s.zarr", Same(), tmp_path / "m.zarr", **PLAIN)


def test_spatialdata_lists_a_place_for_each_coordinate_system(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # By SpatialData's text: transformations side by side, each to a system of its own.
    own = [{"type": "scale", "scale": [1, 0.25, 0.5]}]
    affine = [[1, 0, 0, 0], [0, 2, 0, 100], [0, 0, 2, 30]]
    whole = [
        {"type": "affine", "affine": affine, "output": {"name": "global"}},
        {"type": "translation", "translation": [0, 7, 7], "output": {"name": "other"}},
    ]
    write_image(tmp_path / "s.zarr", own, whole, "micrometer")
    gigafcn.infer(tmp_path / "s.zarr", Same(), tmp_path / "m.zarr", **PLAIN)
    assert transforms(tmp_path / "m.zarr") == ([0.5, 1.0], [100.0, 30.0])
    assert "several coordinate systems; 'global' counts" in caplog.text
