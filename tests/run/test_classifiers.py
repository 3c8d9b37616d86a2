"""A classifier of patches is mapped as a fully convolutional network, at its patches' places."""

from __future__ import annotations

import json
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from gigafcn import infer
from gigafcn.convert import convert
from gigafcn.errors import ModelError, SlideError, UsageError
from tests.convert.nets import HEADS, Gated, ResNet18, integers
from tests.convert.patchwise import patch_by_patch
from tests.nets import randomised
from tests.run.small_nets import quarter
from tests.run.whole import mirrored, scores_of, small_image

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

    from tests.run.whole import Array

PLAIN: dict[str, Any] = {"activation": "none", "scale": 1.0, "dtype": "float32"}
"""Scores as the net has them."""


def counting() -> nn.Module:
    """Whole numbers, patches of 28 px, stride 4, no padding; fp32 holds every sum exactly."""
    return integers(HEADS["flatten"](), top=1).float()


def patchwise(module: nn.Module, pixels: Array, patch: int, stride: int) -> Array:
    """Scores (c, y, x) for every patch inside the image."""
    image = torch.from_numpy(pixels.astype(np.float32)).permute(2, 0, 1).unsqueeze(0)
    result: Array = patch_by_patch(module, image, patch, stride).numpy()
    return result


def written(path: Path) -> dict[str, Any]:
    """What the map says about the run."""
    found: dict[str, Any] = attributes(path)["gigafcn"]
    return found


def attributes(path: Path) -> dict[str, Any]:
    """Those of a map's root."""
    found: dict[str, Any] = json.loads((path / "zarr.json").read_text())["attributes"]
    return found


def test_the_map_is_the_answer_for_every_patch_bit_for_bit(tmp_path: Path) -> None:
    net, image = counting(), small_image(133, 170)
    infer(image, net, tmp_path / "m.zarr", patch=28, tile=16, strip=8, **PLAIN)
    expected = patchwise(net, image, 28, 4)
    assert expected.shape == (4, 27, 36)
    np.testing.assert_array_equal(scores_of(tmp_path / "m.zarr"), expected)


def test_a_denser_map_is_the_answer_for_more_patches(tmp_path: Path) -> None:
    net, image = counting(), small_image(61, 50)
    infer(image, net, tmp_path / "m.zarr", patch=28, output_stride=2, **PLAIN)
    np.testing.assert_array_equal(scores_of(tmp_path / "m.zarr"), patchwise(net, image, 28, 2))


def test_worker_processes_map_what_this_process_maps(tmp_path: Path) -> None:
    net, image = counting(), small_image(80, 75)
    infer(image, net, tmp_path / "m.zarr", patch=28, workers=1, **PLAIN)
    np.testing.assert_array_equal(scores_of(tmp_path / "m.zarr"), patchwise(net, image, 28, 4))


def test_it_equals_patch_mode_at_the_same_step(tmp_path: Path) -> None:
    net, image = counting(), small_image(60, 71)
    for border in ("valid", "cover"):
        infer(image, net, tmp_path / "a.zarr", patch=28, border=border, overwrite=True, **PLAIN)
        infer(
            image, net, tmp_path / "b.zarr", mode="patch", window=28, step=4, border=border,
            overwrite=True, **PLAIN,
        )  # fmt: skip
        np.testing.assert_array_equal(
            scores_of(tmp_path / "a.zarr"), scores_of(tmp_path / "b.zarr")
        )
        places = [attributes(tmp_path / name)["ome"] for name in ("a.zarr", "b.zarr")]
        assert places[0] == places[1]


@pytest.mark.parametrize(
    ("patch", "stride", "offset"), [(28, 4, 12.0), (28, 1, 13.5), (29, 4, 12.5)]
)
def test_a_cell_lies_around_the_middle_of_its_patch(
    patch: int, stride: int, offset: float, tmp_path: Path
) -> None:
    # 29 px of which the net leaves the last unused.
    net, image = counting(), small_image(60, 71)
    infer(
        image, net, tmp_path / "m.zarr", patch=patch, output_stride=stride, slide_mpp=0.5, **PLAIN
    )
    geometry = written(tmp_path / "m.zarr")["plan"]["geometry"]
    assert [float(Fraction(o)) for o in geometry["offset"]] == [offset, offset]
    assert geometry["shape"] == [(60 - patch) // stride + 1, (71 - patch) // stride + 1]
    level = attributes(tmp_path / "m.zarr")["ome"]["multiscales"][0]
    scale, shift = level["datasets"][0]["coordinateTransformations"]
    assert scale["scale"][1:] == [0.5 * stride] * 2
    # The middle of patch 0, pixel 0 being at 0: (patch - 1) / 2 px.
    assert shift["translation"][1:] == pytest.approx([0.5 * (patch - 1) / 2] * 2)


def test_cover_mirrors_the_image_so_that_cells_cover_it(tmp_path: Path) -> None:
    net, image = counting(), small_image(61, 50)
    infer(image, net, tmp_path / "m.zarr", patch=28, border="cover", **PLAIN)
    scores = scores_of(tmp_path / "m.zarr")
    assert scores.shape == (4, 16, 13)
    # 12 px of margin on each side; what lies beyond whole cells is mirrored further.
    expected = patchwise(net, mirrored(image, 15)[3:, 3:], 28, 4)
    np.testing.assert_array_equal(scores, expected[:, :16, :13])
    assert written(tmp_path / "m.zarr")["plan"]["geometry"]["offset"] == ["0", "0"]


def test_a_region_is_a_part_of_the_full_map(tmp_path: Path) -> None:
    net, image = counting(), small_image(90, 101)
    infer(image, net, tmp_path / "m.zarr", patch=28, region=(20, 30, 60, 90), **PLAIN)
    # Cells begin at 12 px and are 4 px wide: rows 2 to 11, columns 4 to 19 touch the region.
    np.testing.assert_array_equal(
        scores_of(tmp_path / "m.zarr"), patchwise(net, image, 28, 4)[:, 2:12, 4:20]
    )


def test_a_classifier_that_pads_is_mapped_as_its_converted_network_and_says_so(
    tmp_path: Path,
) -> None:
    net, image = randomised(ResNet18()), small_image(150, 201)
    infer(image, net, tmp_path / "m.zarr", patch=100, output_stride=16, **PLAIN)
    dense = convert(net, 100, output_stride=16).module.double()
    # The next size in which patches end at the edge, by repeating it.
    grown = np.pad(image, ((0, 14), (0, 11), (0, 0)), mode="edge").astype(np.float64)
    with torch.inference_mode():
        expected = dense(torch.from_numpy(grown).permute(2, 0, 1).unsqueeze(0))[0, :, :4, :7]
    given = scores_of(tmp_path / "m.zarr")
    # fp32 against fp64, some 20 layers deep.
    np.testing.assert_allclose(given, expected.numpy(), atol=1e-4 * float(expected.abs().max()))
    converted = written(tmp_path / "m.zarr")["converted"]
    assert (converted["patch"], converted["output_stride"]) == ([100, 100], [16, 16])
    assert converted["pads"] is True
    assert converted["layers"][-1] == "fc: linear 32 to 5 is a convolution 1 x 1"


def test_the_patch_is_guessed_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    net = randomised(HEADS["flatten"]())
    with caplog.at_level("INFO", logger="gigafcn"):
        infer(small_image(40, 40), net, tmp_path / "m.zarr")
    assert "classifies patches of 28 x 28 px (guessed" in caplog.text
    assert "a map px every 4 x 4 px; it does not pad" in caplog.text


def test_provenance_names_the_weights_as_they_were_loaded(tmp_path: Path) -> None:
    net = randomised(HEADS["flatten, channels last"]())
    infer(small_image(40, 40), net, tmp_path / "a.zarr", patch=28)
    infer(small_image(40, 40), net, tmp_path / "b.zarr", mode="patch", window=28)
    models = [written(tmp_path / name)["model"] for name in ("a.zarr", "b.zarr")]
    assert models[0]["weights_sha256"] == models[1]["weights_sha256"]


def test_an_image_smaller_than_a_patch_needs_the_covering_border(tmp_path: Path) -> None:
    net, image = counting(), small_image(20, 40)
    with pytest.raises(SlideError, match="the image is 20 px along y, smaller than a patch of 28"):
        infer(image, net, tmp_path / "m.zarr", patch=28)
    infer(image, net, tmp_path / "m.zarr", patch=28, border="cover", **PLAIN)
    assert scores_of(tmp_path / "m.zarr").shape == (4, 5, 10)


def test_a_patch_smaller_than_the_stride_is_mapped_too(tmp_path: Path) -> None:
    net, image = randomised(ResNet18()), small_image(100, 130)
    infer(image, net, tmp_path / "m.zarr", patch=28, **PLAIN)
    geometry = written(tmp_path / "m.zarr")["plan"]["geometry"]
    assert (geometry["shape"], geometry["offset"]) == ([3, 4], ["-2", "-2"])


def test_a_classifier_that_cannot_be_converted_is_sent_to_patch_mode(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"whole patch .* --mode patch --window 224"):
        infer(small_image(40, 40), randomised(Gated()), tmp_path / "m.zarr")
    assert not (tmp_path / "m.zarr").exists()


@pytest.mark.parametrize("option", [{"patch": 28}, {"output_stride": 2}])
def test_options_of_classifiers_are_refused_for_other_models(
    option: dict[str, int], tmp_path: Path
) -> None:
    with pytest.raises((UsageError, ModelError), match=r"classifier(s)? of patches"):
        infer(small_image(40, 40), quarter(), tmp_path / "m.zarr", **option)  # type: ignore[arg-type]  # pairs by name


def test_options_of_classifiers_are_for_exact_mode(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="patch 28 is for mode exact"):
        infer(small_image(40, 40), counting(), tmp_path / "m.zarr", mode="patch", patch=28)
