"""A slide is mapped at its model's resolution: on one global grid, whatever the tiles."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
import zarr
from torch import nn

import gigafcn
from gigafcn.cli.reporting import closing_line
from gigafcn.engine.reading import PaddedImage
from gigafcn.errors import SlideError, UsageError
from gigafcn.geometry import Box
from gigafcn.output import open_map
from gigafcn.output.placing import downsample
from gigafcn.plan.map_geometry import map_geometry
from gigafcn.slide.array import ArraySlide
from gigafcn.slide.marks import Mark
from tests.run.small_nets import EXACT, Skip, random_numbers, whole_numbers
from tests.run.whole import padded, resized, run_whole, scores_of, small_image

if TYPE_CHECKING:
    from fractions import Fraction
    from pathlib import Path

    from gigafcn.slide.marks import Reading

LOGITS: dict[str, Any] = {"scale": 1 / 255, "activation": "none", "dtype": "float32"}
SIXTEEN: dict[str, Any] = {"scale": 1.0, "activation": "none", "dtype": "float32"}

RATIOS = {
    "0.25 to 0.5": (0.25, 0.5, {}, (571, 644), (286, 322)),
    "0.499 to 0.5, any difference": (0.499, 0.5, {"mpp_tolerance": 0.0}, (271, 301), (270, 300)),
    "0.499 to 0.5": (0.499, 0.5, {}, (271, 301), (271, 301)),
    "0.263 to 0.4": (0.263, 0.4, {}, (421, 500), (277, 329)),
    "x finer than y": ((0.4, 0.25), 0.5, {}, (301, 561), (241, 280)),
    "enlarged": (0.5, 0.4, {}, (231, 241), (289, 301)),
}
"""Slide's mpp, model's, options, px of the slide, px of the model's image."""


@pytest.mark.parametrize("name", RATIOS)
def test_the_map_of_a_resampled_slide_equals_the_whole_run(name: str, tmp_path: Path) -> None:
    own, wanted, options, shape, expected_shape = RATIOS[name]
    net, image = random_numbers(Skip()), small_image(*shape, top=256)
    given = LOGITS | options | {"mpp": wanted, "slide_mpp": own}
    result = gigafcn.infer(image, net, tmp_path / "m.zarr", tile=256, strip=37, **given)
    assert result.shape == (3, *expected_shape)
    seen = resized(image, expected_shape)
    height, width = expected_shape
    expected = run_whole(net, padded(seen, 2), scale=1 / 255)[:, :height, :width]
    # Resampled and computed in float32, against float64: some 20 roundings of values near 1.
    np.testing.assert_allclose(scores_of(result.path), expected, atol=2e-5)


@pytest.mark.parametrize("name", RATIOS)
def test_tiles_and_strips_do_not_change_a_bit_of_what_the_model_sees(name: str) -> None:
    _, _, _, shape, target = RATIOS[name]
    image = small_image(*shape, top=256)
    one = (1, 1)
    geometry = map_geometry(target, period=(2, 2), stride=_ones(), lost=(0, 0), used=one)
    source = PaddedImage(ArraySlide(image), 0, (2, 0), geometry)
    whole = source.read(Box.whole(geometry.padded))
    assert whole.dtype == (np.uint8 if shape == target else np.float32)
    look, top = source.looker(), 0
    for bottom in (1, 2, 39, 103, 104, 219, geometry.padded[0]):
        box = Box(top, 57, bottom, 200)
        np.testing.assert_array_equal(look(box).pixels, whole[top:bottom, 57:200])
        top = bottom
    np.testing.assert_array_equal(source.read(Box(88, 9, 89, 10)), whole[88:89, 9:10])


def _ones() -> tuple[Fraction, Fraction]:
    return gigafcn.analyze(nn.Conv2d(3, 1, 1)).stride


def test_halving_whole_numbers_is_exact_bit_for_bit(tmp_path: Path) -> None:
    # Weights of 1/8 and 3/8 of multiples of 64 are whole, so nothing is rounded anywhere but at
    # the slide's edge, where weights are sevenths; the net sees no further than 20 px.
    net = whole_numbers(Skip())
    image = small_image(614, 1060, dtype="uint16") * 64
    maps = []
    for number, tile in enumerate((256, (512, 256), 4096)):
        path = tmp_path / f"{number}.zarr"
        given = SIXTEEN | {"tile": tile, "strip": 31 + number, "mpp": 0.5, "slide_mpp": 0.25}
        gigafcn.infer(image, net, path, **given)
        maps.append(scores_of(path)[:, 20:-20, 20:-20])
    np.testing.assert_array_equal(maps[0], maps[1])
    np.testing.assert_array_equal(maps[0], maps[2])
    expected = run_whole(net, padded(resized(image, (307, 530)), 2))[:, 20:287, 20:510]
    np.testing.assert_array_equal(maps[0], expected)


@pytest.mark.parametrize("name", ["0.25 to 0.5", "0.263 to 0.4", "enlarged"])
def test_a_region_is_the_same_part_of_the_resampled_map(name: str, tmp_path: Path) -> None:
    own, wanted, _, shape, target = RATIOS[name]
    image, net = small_image(*shape, dtype="float32"), whole_numbers(Skip())
    region = (101, 60, 170, 203)
    given = SIXTEEN | {"mpp": wanted, "slide_mpp": own, "precision": "fp64"}
    gigafcn.infer(image, net, tmp_path / "full.zarr", **given)
    part = gigafcn.infer(image, net, tmp_path / "part.zarr", region=region, **given)
    ratio = [n / m for n, m in zip(shape, target, strict=True)]
    y0, x0 = (int(region[a] / ratio[a]) for a in (0, 1))
    y1, x1 = (int(np.ceil(region[a + 2] / ratio[a])) for a in (0, 1))
    assert part.shape == (3, y1 - y0, x1 - x0)
    # What the model sees is the same to the last bit; fp64 sums of it may round differently.
    full = scores_of(tmp_path / "full.zarr")[:, y0:y1, x0:x1]
    np.testing.assert_allclose(scores_of(part.path), full, rtol=1e-6, atol=1e-5)


def test_scale_and_place_are_exact_on_the_models_grid(tmp_path: Path) -> None:
    net, path = whole_numbers(EXACT["quarter"][0]()), tmp_path / "m.zarr"
    gigafcn.infer(small_image(200, 402), net, path, mpp=0.5, slide_mpp=0.25, **LOGITS)
    ome: Any = zarr.open_group(path, mode="r").attrs["ome"]
    first = ome["multiscales"][0]["datasets"][0]["coordinateTransformations"]
    assert first[0]["scale"] == [1.0, 2.0, 2.0]
    # A px of the map covers 8 px of level 0; its centre is 3.5 of them from that of the first.
    assert first[1]["translation"] == [0.0, 0.875, 0.875]


def test_rounded_sizes_scale_so_that_the_map_ends_where_the_slide_does(tmp_path: Path) -> None:
    net, path = whole_numbers(nn.Conv2d(3, 2, 1)), tmp_path / "m.zarr"
    gigafcn.infer(small_image(101, 200), net, path, mpp=0.4, slide_mpp=0.263, **LOGITS)
    stored = open_map(path)
    assert stored.spec.shape == (66, 132)  # 101 * 0.263 / 0.4 = 66.4, 131.5
    assert stored.spec.mpp == pytest.approx((0.263 * 101 / 66, 0.263 * 200 / 132), rel=1e-15)
    assert downsample(stored) == (101 / 66, 200 / 132)


def test_what_was_done_is_recorded(tmp_path: Path) -> None:
    net = whole_numbers(nn.Conv2d(3, 2, 1))
    options = LOGITS | {"mpp": 0.5}
    for own, resampled in ((0.25, True), (0.497, False)):
        path = tmp_path / f"{own}.zarr"
        gigafcn.infer(small_image(100, 80), net, path, slide_mpp=own, **options)
        said = open_map(path).provenance["resolution"]
        assert said["resampled"] is resampled
        assert "0.5 µm/px" in said["reason"]
        assert said["stored"] == [100, 80]


@pytest.fixture
def pyramid(tmp_path: Path) -> Path:
    """A TIFF of 0.25 µm/px whose level 1 and 2 are other pictures: 4 and 16 times smaller."""
    path = tmp_path / "p.ome.tif"
    pages = [np.full((512 // f, 1024 // f, 3), value, np.uint8) for f, value in LEVELS.items()]
    pages[0][-1, -1] += 1  # an image of one value would be refused
    with tifffile.TiffWriter(path) as writer:
        metadata = {"axes": "YXS", "PhysicalSizeX": 0.25, "PhysicalSizeY": 0.25}
        writer.write(pages[0], subifds=2, tile=(64, 64), photometric="rgb", metadata=metadata)
        for page in pages[1:]:
            writer.write(page, subfiletype=1, tile=(64, 64), photometric="rgb")
    return path


LEVELS = {1: 10, 4: 40, 16: 160}


@pytest.mark.parametrize(
    ("options", "value", "shape"),
    [
        ({"mpp": 0.5}, 10, (256, 512)),
        ({"mpp": 0.98}, 10, (131, 261)),
        ({"mpp": 0.99}, 40, (128, 256)),
        ({"mpp": 2.0}, 40, (64, 128)),
        ({"mpp": 4.0}, 160, (32, 64)),
        ({"mpp": 8.0}, 160, (16, 32)),
        ({"mpp": 0.125}, 10, (1024, 2048)),
        ({"mpp": 2.0, "level": 0}, 10, (64, 128)),
        ({"level": 1}, 40, (128, 256)),
        ({}, 10, (512, 1024)),
        ({"mpp": 0.5, "slide_mpp": 0.5}, 10, (512, 1024)),
    ],
)
def test_the_nearest_finer_level_is_read(
    options: dict[str, Any], value: int, shape: tuple[int, int], pyramid: Path, tmp_path: Path
) -> None:
    copy = nn.Conv2d(3, 1, 1, bias=False)
    nn.init.constant_(copy.weight, 1.0)
    given = options | {"activation": "none", "dtype": "float32", "scale": 1.0}
    result = gigafcn.infer(pyramid, copy, tmp_path / "m.zarr", **given)
    assert result.shape[1:] == shape
    # Weights of float32 add up to 1 to within some roundings.
    away_from_the_odd_px = scores_of(result.path)[:, :-4, :-4]
    np.testing.assert_allclose(away_from_the_odd_px, 3 * value, rtol=1e-6)


def test_without_an_mpp_level_0_is_mapped_and_that_is_said(tmp_path: Path) -> None:
    path = tmp_path / "m.zarr"
    result = gigafcn.infer(small_image(60, 50), random_numbers(Skip()), path)
    assert "level 0 as it is: model Skip states no mpp" in closing_line(result)
    assert open_map(path).provenance["resolution"]["reason"] == "model Skip states no mpp"


def test_a_slide_of_unknown_resolution_is_refused_unless_told(tmp_path: Path) -> None:
    net, image = random_numbers(Skip()), small_image(60, 50)
    with pytest.raises(SlideError, match=r"0\.5 µm/px are wanted.*--slide-mpp UM, or --level 0"):
        gigafcn.infer(image, net, tmp_path / "m.zarr", mpp=0.5)
    assert not list(tmp_path.iterdir())
    assert gigafcn.plan_run(image, net, mpp=0.5, slide_mpp=0.25).image == (30, 25)


@pytest.mark.parametrize(("own", "wanted"), [(250.0, 0.5), (0.25, 0.0005), (0.00025, 0.5)])
def test_resolutions_in_another_unit_are_refused(own: float, wanted: float) -> None:
    with pytest.raises(SlideError, match=r"check --mpp and --slide-mpp, in µm/px"):
        gigafcn.plan_run(small_image(60, 50), random_numbers(Skip()), mpp=wanted, slide_mpp=own)


def test_enlarging_is_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    gigafcn.plan_run(small_image(60, 50), random_numbers(Skip()), mpp=0.25, slide_mpp=0.5)
    assert "enlarged, which adds no detail" in caplog.text


@pytest.mark.parametrize("options", [{"mpp": 0.0}, {"mpp": (0.5, -1)}, {"mpp_tolerance": -0.1}])
def test_values_that_no_slide_could_make_right_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="must be"):
        gigafcn.plan_run(small_image(60, 50), random_numbers(Skip()), **options)


def test_no_stored_pixel_is_read_twice_within_a_sweep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = np.zeros((571, 644), int)
    plain = ArraySlide.look

    def noting(slide: ArraySlide, box: Box, *rest: Any) -> Reading:
        counts[box.y0 : box.y1, box.x0 : box.x1] += 1
        return plain(slide, box, *rest)

    slide = ArraySlide(small_image(571, 644), mpp=(0.25, 0.25))
    request = {"mpp": 0.5, "tile": 4096, "strip": 16, "verify": False} | LOGITS
    monkeypatch.setattr("gigafcn.run.mapping.draw_picture", lambda *_: None)
    # Windows that are looked at before the run are no part of the sweep.
    monkeypatch.setattr("gigafcn.run.checks.doubts", lambda _: ())
    monkeypatch.setattr(ArraySlide, "look", noting)
    gigafcn.infer(slide, random_numbers(Skip()), tmp_path / "m.zarr", **request)
    assert counts.max() == counts.min() == 1


@pytest.mark.parametrize("mode", ["blend", "patch"])
def test_windows_of_blend_and_patch_lie_on_the_resampled_image(mode: str, tmp_path: Path) -> None:
    net = random_numbers(Skip()) if mode == "blend" else _classifier()
    image = small_image(301, 420, top=256)
    given = LOGITS | {"mode": mode, "window": 64}
    path = tmp_path / "m.zarr"
    gigafcn.infer(image, net, path, mpp=0.4, slide_mpp=0.263, tile=256, **given)
    seen = resized(image, (198, 276)).astype(np.float32)
    gigafcn.infer(seen, net, tmp_path / "n.zarr", **given)
    np.testing.assert_allclose(scores_of(path), scores_of(tmp_path / "n.zarr"), atol=2e-5)


def _classifier() -> nn.Module:
    return random_numbers(
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    )


def test_holes_of_the_slide_are_marked_on_the_resampled_image() -> None:
    image = small_image(200, 120, dtype="float32")
    image[81:84, 30:34] = np.nan
    geometry = map_geometry((100, 60), period=(1, 1), stride=_ones(), lost=(0, 0), used=(1, 1))
    source = PaddedImage(ArraySlide(image), 0, (0, 1, 2), geometry)
    marks = source.look(Box.whole((100, 60))).marks
    expected = np.zeros((100, 60), np.uint8)
    # Px i reads stored px 2 i - 1 to 2 i + 2.
    expected[40:43, 14:18] = Mark.NO_DATA
    assert marks is not None
    np.testing.assert_array_equal(marks, expected)
    look = source.looker()
    parts = [look(Box(a, 0, b, 60)).marks for a, b in ((0, 41), (41, 100))]
    np.testing.assert_array_equal(np.concatenate([p for p in parts if p is not None]), expected)
