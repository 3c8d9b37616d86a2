"""Systems of the zoo through the whole program: by name, on images, on one that fits no memory."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import zarr

import gigafcn
from gigafcn.errors import ModelError
from gigafcn.model.zoo import ZOO, build, untrained
from gigafcn.model.zoo.plain import PixelClassifier
from gigafcn.plan.projection import BASE_BYTES
from gigafcn.train.demonstration_slide import write_demonstration_slide
from tests.commands import gigafcn as command
from tests.run.whole import mirrored, padded, run_whole, scores_of, small_image

if TYPE_CHECKING:
    from pathlib import Path

LOGITS: dict[str, Any] = {"activation": "none", "dtype": "float32", "precision": "fp64"}
ROUNDING = 1e-6
"""Scores are stored in float32."""

HUGE = 128_000


def test_a_zoo_name_loads_a_net_that_says_it_is_untrained(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING):
        model = gigafcn.load_model("zoo:unet/16")
    assert "zoo:unet/16 is untrained" in caplog.text
    assert (model.channels, model.source) == (1, "zoo:unet/16")


@pytest.mark.parametrize(
    ("name", "said"), [("zoo:resnet", "no system 'resnet'"), ("zoo:unet/3", "not '3'")]
)
def test_what_is_not_in_the_zoo_is_refused_with_what_is(name: str, said: str) -> None:
    with pytest.raises(ModelError, match=said):
        gigafcn.load_model(name)


@pytest.mark.dask
def test_the_command_line_maps_a_slide_with_a_system_by_name(tmp_path: Path) -> None:
    write_demonstration_slide(tmp_path / "slide.tif", size=512, seed=1)
    (tmp_path / "here").mkdir()
    said = command(
        "infer", "../slide.tif", "--model", "zoo:fcn8s/16", "-o", "m.zarr", cwd=tmp_path / "here"
    )
    assert said.code == 0, said.err
    assert "zoo:fcn8s/16 is untrained" in said.err
    assert scores_of(tmp_path / "here" / "m.zarr").shape == (21, 512, 512)


@pytest.mark.dask
def test_inspect_shows_the_layers_by_the_papers_names(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    said = command("inspect", "zoo:fcn8s/16", cwd=tmp_path / "here")
    assert said.code == 0, said.err
    for figure in ("stage5.conv5_3", "score_pool4", "404 x 404", "245, 245, 245, 245 px"):
        assert figure in said.out


def test_the_u_nets_overlap_tile_covers_the_image_by_mirroring_it(tmp_path: Path) -> None:
    net, image = build("unet/16"), small_image(100, 116, channels=1)
    result = gigafcn.infer(image, net, tmp_path / "m.zarr", tile=64, **LOGITS)
    expected = run_whole(net, mirrored(image, 92), scale=1 / 255)
    assert result.shape == expected.shape == (2, 100, 116)
    np.testing.assert_allclose(scores_of(result.path), expected, rtol=ROUNDING, atol=ROUNDING)


def test_every_pixel_of_an_image_is_classified_by_the_crop_around_it(tmp_path: Path) -> None:
    single, image = untrained(PixelClassifier), small_image(37, 43)
    result = gigafcn.infer(image, build("pixel_classifier"), tmp_path / "m.zarr", **LOGITS)
    scores, around = scores_of(result.path), mirrored(image, 15)
    assert result.shape == (3, 37, 43)
    for y, x in ((0, 0), (18, 20), (36, 42), (3, 40)):
        crop = run_whole(single, around[y : y + 31, x : x + 31], scale=1 / 255)
        np.testing.assert_allclose(scores[:, y, x], crop[:, 0, 0], rtol=ROUNDING, atol=ROUNDING)


def test_a_dense_vgg_has_an_answer_for_each_224_px_crop_at_steps_of_32(tmp_path: Path) -> None:
    net, image = build("vgg16_dense/16"), small_image(320, 288)
    result = gigafcn.infer(image, net, tmp_path / "m.zarr", border="valid", **LOGITS)
    expected = run_whole(net, image, scale=1 / 255)
    assert result.shape == (1000, 4, 3)
    np.testing.assert_allclose(scores_of(result.path), expected, rtol=ROUNDING, atol=ROUNDING)


@pytest.mark.parametrize("name", ["image_to_image", "fcn16s", "deeplab_largefov"])
def test_odd_images_are_padded_to_the_period(name: str, tmp_path: Path) -> None:
    net, image = build(f"{name}/16"), small_image(83, 117)
    result = gigafcn.infer(image, net, tmp_path / "m.zarr", tile=64, **LOGITS)
    expected = run_whole(net, padded(image, ZOO[name].period), scale=1 / 255)[:, :83, :117]
    largest = float(np.abs(expected).max())
    np.testing.assert_allclose(scores_of(result.path), expected, atol=ROUNDING * largest)


@pytest.fixture(scope="module")
def huge(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An OME-Zarr image of 128000 x 128000 px of which only a few chunks are stored."""
    path = tmp_path_factory.mktemp("slides") / "huge.zarr"
    group = zarr.create_group(path)
    chunk: dict[str, Any] = {"chunks": (512, 512, 3), "dtype": "uint8", "fill_value": 230}
    array = group.create_array("0", shape=(HUGE, HUGE, 3), **chunk)
    group.create_array("1", shape=(HUGE // 64, HUGE // 64, 3), **chunk)
    random = np.random.default_rng(0)
    array[64_000:64_128, 60_000:61_024] = random.integers(0, 256, (128, 1024, 3), np.uint8)
    axes = [{"name": "y", "type": "space"}, {"name": "x", "type": "space"}]
    levels = [
        {"path": name, "coordinateTransformations": [{"type": "scale", "scale": [px, px, 1]}]}
        for name, px in (("0", 1), ("1", 64))
    ]
    image: Any = {"axes": [*axes, {"name": "c", "type": "channel"}], "datasets": levels}
    group.attrs["ome"] = {"version": "0.5", "multiscales": [image]}
    return path


@pytest.mark.parametrize("name", ["image_to_image", "image_to_image_strided"])
def test_an_image_that_fits_no_memory_is_planned(name: str, huge: Path) -> None:
    memory = BASE_BYTES + (324 << 20)
    report = gigafcn.plan_run(huge, f"zoo:{name}", memory=memory)
    assert report.map == (3, HUGE, HUGE)
    assert report.tiles == -(-HUGE // report.tile[0]) * -(-HUGE // report.tile[1]) > 9
    assert report.memory_bytes <= memory
    # Three channels of float32.
    assert report.disk_bytes >= HUGE * HUGE * 3 * 4
    assert report.waste < 1.1


def test_a_strip_of_an_image_that_fits_no_memory_is_mapped(huge: Path, tmp_path: Path) -> None:
    strip = (64_032, 0, 64_064, HUGE)
    result = gigafcn.infer(huge, "zoo:image_to_image", tmp_path / "m.zarr", region=strip)
    assert result.shape == (3, 32, HUGE)
    # The part that holds more than the fill value, with a margin beyond the halo of 9 px.
    array: Any = zarr.open_group(huge)["0"]
    around = np.asarray(array[64_000:64_096, 59_968:61_056])
    expected = run_whole(build("image_to_image"), around, scale=1 / 255)[:, 32:64, 16:-16]
    found = np.asarray(gigafcn.open_map(result.path).scores[0][:, :, 59_984:61_040])
    # Rounding of the sweep in float32.
    np.testing.assert_allclose(found, expected, atol=1e-5 * float(np.abs(expected).max()))
    assert expected.std() > 0.01
