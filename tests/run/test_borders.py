"""Nets that lose a margin: the image is mirrored outward, or the smaller map says where it lies.

Expected numbers are those of the U-Net paper: 572 px in, 388 px out, so 184 px are lost, 92 a side.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import zarr
from torch import nn

import gigafcn
from gigafcn.errors import ModelError, SlideError
from tests.run.small_nets import ValidUNet, random_numbers, whole_numbers
from tests.run.whole import grown, mirrored, padded, run_whole, scores_of, small_image

if TYPE_CHECKING:
    from pathlib import Path

EXACTLY: dict[str, Any] = {"scale": 1.0, "activation": "none", "dtype": "float32"}
LOGITS: dict[str, Any] = {"activation": "none", "dtype": "float32", "precision": "fp64"}


def shrinking() -> nn.Module:
    """Loses 3 px above and left, 3 px below and right; keeps no period."""
    return nn.Sequential(nn.Conv2d(3, 4, 5), nn.ReLU(), nn.Conv2d(4, 2, 3))


def test_the_u_net_of_2015_covers_the_image_by_mirroring_it(tmp_path: Path) -> None:
    net = random_numbers(ValidUNet())
    # 301 + 184 and 303 + 184 px need 7 and 5 more, which the last map px of a period depend on.
    image = small_image(301, 303)
    result = gigafcn.infer(image, net, tmp_path / "m.zarr", tile=256, **LOGITS)
    fed = grown(mirrored(image, 92), (492, 492))
    expected = run_whole(net, fed, scale=1 / 255)[:, :301, :303]
    assert result.shape == (2, 301, 303)
    # Computed in fp64 and stored in float32.
    scale = np.abs(expected).max()
    np.testing.assert_allclose(scores_of(result.path), expected, atol=2.0**-24 * scale)


def test_valid_borders_write_the_smaller_map_with_its_offset(tmp_path: Path) -> None:
    net = random_numbers(ValidUNet())
    image = small_image(300, 341)
    path = tmp_path / "m.zarr"
    result = gigafcn.infer(image, net, path, border="valid", slide_mpp=0.5, tile=256, **LOGITS)
    # 300 is 572 less 17 periods of 16 px; 348 is the next such size after 341.
    fed = grown(image, (300, 348))
    expected = run_whole(net, fed, scale=1 / 255)[:, : 300 - 184, : 341 - 184]
    assert result.shape == (2, 116, 157)
    scale = np.abs(expected).max()
    np.testing.assert_allclose(scores_of(path), expected, atol=2.0**-24 * scale)
    ome: Any = zarr.open_group(path, mode="r").attrs["ome"]
    transformations = ome["multiscales"][0]["datasets"][0]["coordinateTransformations"]
    # Map px 0 lies on image px 92, whose centre is 92 px from that of px 0.
    assert transformations == [
        {"type": "scale", "scale": [1.0, 0.5, 0.5]},
        {"type": "translation", "translation": [0.0, 46.0, 46.0]},
    ]


def test_a_mirror_repeats_when_the_margin_exceeds_the_image(tmp_path: Path) -> None:
    net = random_numbers(ValidUNet())
    image = small_image(5, 1)
    result = gigafcn.infer(image, net, tmp_path / "m.zarr", **LOGITS)
    fed = grown(mirrored(image, 92), (204, 188))
    expected = run_whole(net, fed, scale=1 / 255)[:, :5, :1]
    np.testing.assert_allclose(scores_of(result.path), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("border", ["cover", "valid"])
def test_a_net_that_shrinks_by_plain_convolutions_is_exact(border: str, tmp_path: Path) -> None:
    net = whole_numbers(shrinking())
    image = small_image(281, 300)
    result = gigafcn.infer(image, net, tmp_path / "m.zarr", border=border, tile=256, **EXACTLY)
    fed = mirrored(image, 3) if border == "cover" else image
    np.testing.assert_array_equal(scores_of(result.path), run_whole(net, fed))


def test_an_image_smaller_than_the_lost_margin_has_no_valid_map(tmp_path: Path) -> None:
    with pytest.raises(SlideError, match=r"5 px along y, the model loses 6 px there.*cover"):
        gigafcn.infer(
            small_image(5, 90), whole_numbers(shrinking()), tmp_path / "m.zarr", border="valid"
        )
    assert list(tmp_path.iterdir()) == []


def test_only_the_axis_that_loses_a_margin_is_mirrored(tmp_path: Path) -> None:
    net = whole_numbers(nn.Sequential(nn.Conv2d(3, 2, (5, 3), padding=(0, 1)), nn.AvgPool2d(4)))
    image = small_image(29, 30) * 16
    result = gigafcn.infer(image, net, tmp_path / "m.zarr", **EXACTLY)
    fed = np.pad(image, ((2, 2), (0, 0), (0, 0)), mode="reflect")
    expected = run_whole(net, grown(fed, (36, 32)))
    assert result.shape == (2, 8, 8)
    np.testing.assert_array_equal(scores_of(result.path), expected)


def test_a_net_whose_map_is_larger_than_its_image_is_refused(tmp_path: Path) -> None:
    net = whole_numbers(nn.Conv2d(3, 2, 3, padding=2))
    with pytest.raises(ModelError, match=r"2 px larger than its image along y.*crop it inside"):
        gigafcn.infer(small_image(30, 30), net, tmp_path / "m.zarr")


def test_size_preserving_nets_repeat_the_edge_to_whole_periods(tmp_path: Path) -> None:
    net = whole_numbers(nn.Sequential(nn.AvgPool2d(4), nn.Conv2d(3, 2, 1)))
    image = small_image(9, 10) * 16
    result = gigafcn.infer(image, net, tmp_path / "m.zarr", **EXACTLY)
    np.testing.assert_array_equal(scores_of(result.path), run_whole(net, padded(image, 4)))
