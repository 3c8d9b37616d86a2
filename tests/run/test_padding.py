"""What the model sees: the padded image or the image itself, each against the module.

Whole numbers must be equal bit for bit.  Sizes are odd, and tiles smaller than the map.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import zarr

import gigafcn
from gigafcn.errors import UsageError
from tests.run.sized_nets import (
    RESIZED,
    WITH_PERIOD,
    WITHOUT_PERIOD,
    PadsItself,
    RefusesMultiplesOf,
    ValidAndSkipped,
    ceil_quarter,
)
from tests.run.small_nets import Skip, random_numbers, whole_numbers
from tests.run.whole import grown, mirrored, run_whole, scores_of, small_image

if TYPE_CHECKING:
    from pathlib import Path

EXACTLY: dict[str, Any] = {"scale": 1.0, "activation": "none", "dtype": "float32", "tile": 128}
SIZES = ((261, 331), (37, 530), (256, 320))


def geometry_of(path: Path) -> dict[str, Any]:
    attributes: Any = zarr.open_group(path, mode="r").attrs["gigafcn"]
    geometry: dict[str, Any] = attributes["plan"]["geometry"]
    return geometry


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", WITHOUT_PERIOD)
def test_a_net_without_a_period_sees_the_image_itself(
    name: str, size: tuple[int, int], tmp_path: Path
) -> None:
    net, image = whole_numbers(WITHOUT_PERIOD[name]()), small_image(*size)
    result = gigafcn.infer(image, net, tmp_path / "m.zarr", **EXACTLY)
    found = geometry_of(result.path)
    assert (found["pad"], found["padded"], found["stride"]) == ("none", list(size), ["1", "1"])
    expected = run_whole(net, image)
    assert expected.shape[1:] == size
    np.testing.assert_array_equal(scores_of(result.path), expected)


@pytest.mark.parametrize("name", RESIZED)
def test_its_bilinear_resizes_are_exact_in_strips_regions_and_workers(
    name: str, tmp_path: Path
) -> None:
    net, image = random_numbers(RESIZED[name]("bilinear")), small_image(301, 403)
    options: dict[str, Any] = {**EXACTLY, "precision": "fp64", "tile": 192, "strip": 40}
    expected = run_whole(net, image)
    workers = 2 if name == "valid, then resized" else None
    result = gigafcn.infer(image, net, tmp_path / "m.zarr", workers=workers, **options)
    # Computed in fp64 and stored in float32.
    bound = 2.0**-24 * np.abs(expected).max()
    np.testing.assert_allclose(scores_of(result.path), expected, rtol=0, atol=bound)
    part = gigafcn.infer(image, net, tmp_path / "p.zarr", region=(130, 197, 301, 403), **options)
    np.testing.assert_array_equal(scores_of(part.path), scores_of(result.path)[:, 130:301, 197:403])


@pytest.mark.parametrize("pad", [None, "period", "none"])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", WITH_PERIOD)
def test_a_net_with_a_period_sees_the_padded_image_or_as_asked_the_image_itself(
    name: str, size: tuple[int, int], pad: str | None, tmp_path: Path
) -> None:
    make, period, stride = WITH_PERIOD[name]
    net, image = whole_numbers(make()), small_image(*size)
    result = gigafcn.infer(image, net, tmp_path / "m.zarr", pad=pad, **EXACTLY)
    found = geometry_of(result.path)
    if pad == "none":
        expected = run_whole(net, image)
        assert (found["pad"], found["padded"]) == ("none", list(size))
    else:
        whole = [-(-n // p) * p for n, p in zip(size, period, strict=True)]
        rows, columns = (-(-n // stride) for n in size)
        expected = run_whole(net, grown(image, (whole[0], whole[1])))[:, :rows, :columns]
        assert (found["pad"], found["padded"]) == ("period", whole)
    np.testing.assert_array_equal(scores_of(result.path), expected)


@pytest.mark.parametrize("border", ["cover", "valid"])
def test_a_net_that_loses_a_margin_and_has_no_period_is_mirrored_by_what_it_loses(
    border: str, tmp_path: Path
) -> None:
    net, image = whole_numbers(ValidAndSkipped()), small_image(261, 331)
    result = gigafcn.infer(image, net, tmp_path / "m.zarr", border=border, **EXACTLY)
    expected = run_whole(net, mirrored(image, 2) if border == "cover" else image)
    assert expected.shape[1:] == ((261, 331) if border == "cover" else (257, 327))
    np.testing.assert_array_equal(scores_of(result.path), expected)


def test_padding_where_there_is_no_period_is_refused_by_name(tmp_path: Path) -> None:
    net = whole_numbers(WITHOUT_PERIOD["ceil stem, resized"]())
    with pytest.raises(UsageError, match="pad period: the model has no period"):
        gigafcn.infer(small_image(61, 61), net, tmp_path / "m.zarr", pad="period", **EXACTLY)


def test_no_padding_where_the_model_does_not_take_the_image_is_refused_by_name(
    tmp_path: Path,
) -> None:
    net = whole_numbers(RefusesMultiplesOf(61))
    with pytest.raises(UsageError, match=r"pad none: .*height 61 is a multiple of 61"):
        gigafcn.infer(small_image(61, 62), net, tmp_path / "m.zarr", pad="none", **EXACTLY)


def test_a_model_that_fails_on_the_padded_image_sees_the_image_itself(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    net, image = whole_numbers(RefusesMultiplesOf(44)), small_image(131, 133)  # padded: 132
    result = gigafcn.infer(image, net, tmp_path / "m.zarr", **EXACTLY)
    np.testing.assert_array_equal(scores_of(result.path), run_whole(net, image))
    assert "does not take the padded image" in caplog.text
    assert "height 132 is a multiple of 44" in caplog.text


def test_a_model_that_pads_on_both_sides_can_be_asked_to_see_the_padded_image(
    tmp_path: Path,
) -> None:
    net, image = whole_numbers(PadsItself(centred=True)), small_image(61, 61)
    result = gigafcn.infer(image, net, tmp_path / "m.zarr", pad="period", **EXACTLY)
    expected = run_whole(net, grown(image, (64, 64)))[:, :61, :61]
    np.testing.assert_array_equal(scores_of(result.path), expected)


def test_a_map_px_more_at_the_end_is_kept_only_where_nothing_is_padded(tmp_path: Path) -> None:
    # Two pools that round up give 65 px for 256; the last lies behind the image.
    net, image = whole_numbers(ceil_quarter()), small_image(256, 256)
    padded = gigafcn.infer(image, net, tmp_path / "p.zarr", **EXACTLY)
    itself = gigafcn.infer(image, net, tmp_path / "n.zarr", pad="none", **EXACTLY)
    assert (padded.shape[1:], itself.shape[1:]) == ((64, 64), (65, 65))


def test_sizes_that_are_multiples_are_the_same_either_way(tmp_path: Path) -> None:
    net, image = whole_numbers(Skip(factor=4)), small_image(64, 96)
    itself, padded = (
        scores_of(gigafcn.infer(image, net, tmp_path / f"{pad}.zarr", pad=pad, **EXACTLY).path)
        for pad in ("none", "period")
    )
    np.testing.assert_array_equal(itself, padded)
