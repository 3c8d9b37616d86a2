"""Whatever an image is stored as, its map is that of its pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
import zarr
from PIL import Image
from torch import nn

import gigafcn
from gigafcn.errors import SlideError, UsageError
from tests.run.small_nets import Skip, random_numbers, whole_numbers
from tests.run.whole import padded, run_whole, scores_of, small_image

if TYPE_CHECKING:
    from pathlib import Path

    from tests.run.whole import Array

SHAPE = (301, 333)
EXACTLY: dict[str, Any] = {"scale": 1.0, "activation": "none", "dtype": "float32"}


def whole_map(net: nn.Module, image: Array, **options: Any) -> Array:
    """The whole run, cropped to the image."""
    return run_whole(net, padded(image, 2), **options)[:, : image.shape[0], : image.shape[1]]


def test_pixels_in_a_file_an_array_and_a_store_give_one_map(tmp_path: Path) -> None:
    image, net = small_image(*SHAPE), whole_numbers(Skip())
    png, store = tmp_path / "a.png", tmp_path / "b.zarr"
    Image.fromarray(image).save(png)
    zarr.create_array(str(store), data=image)
    expected = whole_map(net, image)
    sources: list[Any] = [png, str(store), zarr.array(image)]
    for number, source in enumerate(sources):
        result = gigafcn.infer(source, net, tmp_path / f"map{number}.zarr", **EXACTLY)
        np.testing.assert_array_equal(scores_of(result.path), expected)


def test_16_bit_values_are_scaled_by_their_full_range(tmp_path: Path) -> None:
    image, net = small_image(90, 70, dtype="uint16", top=65536), random_numbers(Skip())
    result = gigafcn.infer(image, net, tmp_path / "m.zarr", dtype="float32")
    expected = whole_map(net, image, activation="softmax", scale=1 / 65535)
    # float32 rounds to 2**-24 at each of some tens of terms.
    np.testing.assert_allclose(scores_of(result.path), expected, atol=1e-5)


def test_float_values_are_taken_as_they_are(tmp_path: Path) -> None:
    image, net = small_image(90, 70, dtype="float32"), whole_numbers(Skip())
    options: dict[str, Any] = {"activation": "none", "dtype": "float32"}
    result = gigafcn.infer(image, net, tmp_path / "m.zarr", **options)
    np.testing.assert_array_equal(scores_of(result.path), whole_map(net, image))


def test_a_grey_image_may_have_no_channel_axis(tmp_path: Path) -> None:
    image, net = small_image(90, 70, channels=1), whole_numbers(Skip(channels=1))
    result = gigafcn.infer(image[..., 0], net, tmp_path / "m.zarr", **EXACTLY)
    np.testing.assert_array_equal(scores_of(result.path), whole_map(net, image))


def test_channels_are_fed_in_the_order_asked_for(tmp_path: Path) -> None:
    image, net = small_image(90, 70, channels=5), whole_numbers(Skip())
    result = gigafcn.infer(image, net, tmp_path / "m.zarr", channels=(4, 0, 2), **EXACTLY)
    np.testing.assert_array_equal(scores_of(result.path), whole_map(net, image[..., [4, 0, 2]]))


def test_mean_and_std_are_applied_per_channel_after_the_scale(tmp_path: Path) -> None:
    image, net = small_image(90, 70), whole_numbers(Skip())
    # Powers of two, so that nothing is rounded.
    options = EXACTLY | {"scale": 0.5, "mean": (1.0, 2.0, 0.5), "std": (0.5, 1.0, 2.0)}
    result = gigafcn.infer(image, net, tmp_path / "m.zarr", **options)
    fed = (image * 0.5 - np.array([1.0, 2.0, 0.5])) / np.array([0.5, 1.0, 2.0])
    np.testing.assert_array_equal(scores_of(result.path), whole_map(net, fed))


def test_a_coarser_level_is_mapped_on_its_own_grid(tmp_path: Path) -> None:
    image, net = small_image(640, 512), whole_numbers(Skip())
    half = np.ascontiguousarray(image[::2, ::2])
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        writer.write(image, tile=(64, 64), photometric="rgb", subifds=1, metadata=None)
        writer.write(half, tile=(64, 64), photometric="rgb", subfiletype=1, metadata=None)
    result = gigafcn.infer(
        tmp_path / "a.tif", net, tmp_path / "m.zarr", level=1, slide_mpp=0.5, **EXACTLY
    )
    np.testing.assert_array_equal(scores_of(result.path), whole_map(net, half))
    assert gigafcn.open_map(result.path).spec.mpp == (1.0, 1.0)


def test_one_class_gets_a_sigmoid_and_no_labels(tmp_path: Path) -> None:
    image, net = small_image(90, 70), random_numbers(Skip(classes=1))
    result = gigafcn.infer(image, net, tmp_path / "m.zarr", dtype="float32")
    expected = whole_map(net, image, activation="sigmoid", scale=1 / 255)
    np.testing.assert_allclose(scores_of(result.path), expected, atol=1e-6)
    assert not gigafcn.open_map(result.path).labels


def test_a_net_that_ends_in_softmax_gets_no_second_one(tmp_path: Path) -> None:
    image, net = small_image(90, 70), random_numbers(Skip())
    result = gigafcn.infer(image, nn.Sequential(net, nn.Softmax(dim=1)), tmp_path / "m.zarr")
    expected = whole_map(net, image, activation="softmax", scale=1 / 255)
    assert np.abs(scores_of(result.path) / 255 - expected).max() <= 1 / 510 + 1e-6


@pytest.mark.parametrize("channels", [1, 4])
def test_an_image_with_other_channels_than_the_model_is_refused(
    channels: int, tmp_path: Path
) -> None:
    image = small_image(20, 20, channels=channels)
    match = rf"gives {channels} channels?, model .* takes 3"
    with pytest.raises(SlideError, match=match):
        gigafcn.infer(image, whole_numbers(Skip()), tmp_path / "m.zarr")
    assert list(tmp_path.iterdir()) == []


def test_a_channel_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="has channels 0 to 2, not 3"):
        gigafcn.infer(
            small_image(9, 9), whole_numbers(Skip()), tmp_path / "m.zarr", channels=(0, 1, 3)
        )
