"""Pixel sizes come from the right place, in micrometres, and nonsense counts as unknown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile

from gigafcn.slide import open_slide
from gigafcn.slide.mpp import (
    in_micrometres,
    mpp_of_properties,
    parse_number,
    plausible_mpp,
)

if TYPE_CHECKING:
    from pathlib import Path

PIXELS = np.zeros((32, 40), np.uint8)


@pytest.mark.parametrize(
    ("x", "unit", "y", "expected"),
    [
        (0.5, "µm", 0.4, (0.4, 0.5)),
        (500.0, "nm", 400.0, (0.4, 0.5)),
        (0.0005, "mm", 0.0004, (0.4, 0.5)),
        (1.0, "pixel", 1.0, None),
        (500.0, "µm", 400.0, None),
    ],
)
def test_ome_physical_sizes_are_converted(
    x: float, unit: str, y: float, expected: tuple[float, float] | None, tmp_path: Path
) -> None:
    metadata = {"axes": "YX", "PhysicalSizeX": x, "PhysicalSizeY": y}
    metadata |= {"PhysicalSizeXUnit": unit, "PhysicalSizeYUnit": unit}
    tifffile.imwrite(tmp_path / "a.ome.tif", PIXELS, metadata=metadata)
    assert open_slide(tmp_path / "a.ome.tif").mpp == (expected and pytest.approx(expected))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"resolution": (20_000, 25_000), "resolutionunit": "CENTIMETER"}, (0.4, 0.5)),
        ({"resolution": (50_800, 63_500), "resolutionunit": "INCH"}, (0.4, 0.5)),
        ({"resolution": (72, 72), "resolutionunit": "INCH"}, None),
        ({"resolution": (20_000, 25_000), "resolutionunit": "NONE"}, None),
        ({}, None),
        ({"imagej": True, "resolution": (2, 2.5), "metadata": {"unit": "um"}}, (0.4, 0.5)),
        ({"description": "Aperio x|MPP = 0.2527|Left = 3", "metadata": None}, (0.2527, 0.2527)),
        ({"description": "Aperio x|MPP = 0,2527|Left = 3", "metadata": None}, (0.2527, 0.2527)),
    ],
)
def test_tags_and_descriptions_state_the_pixel_size(
    options: dict[str, Any], expected: tuple[float, float] | None, tmp_path: Path
) -> None:
    tifffile.imwrite(tmp_path / "a.tif", PIXELS, **options)
    # Resolutions are stored as fractions of 32-bit integers.
    assert open_slide(tmp_path / "a.tif").mpp == (expected and pytest.approx(expected, rel=1e-6))


def test_ome_channel_names_are_kept(tmp_path: Path) -> None:
    metadata = {"axes": "CYX", "Channel": {"Name": ["DAPI", "CD3"]}}
    tifffile.imwrite(tmp_path / "a.ome.tif", np.stack([PIXELS] * 2), metadata=metadata)
    assert open_slide(tmp_path / "a.ome.tif").channel_names == ("DAPI", "CD3")


@pytest.mark.parametrize("text", ["0.25", "0,25", " 0.25 ", 0.25])
def test_numbers_may_have_a_decimal_comma(text: object) -> None:
    assert parse_number(text) == 0.25


@pytest.mark.parametrize("text", [None, "", "abc", "nan", "inf", "1,000.5"])
def test_what_is_no_number_is_none(text: object) -> None:
    assert parse_number(text) is None


def test_an_unknown_unit_is_none() -> None:
    assert in_micrometres("1", "furlong") is None


@pytest.mark.parametrize("size", [0.049, 20.1, 0.0, -1.0, None])
def test_implausible_sizes_are_none(size: float | None) -> None:
    assert plausible_mpp(size, 0.5) is None
    assert plausible_mpp(0.5, size) is None


@pytest.mark.parametrize(
    ("properties", "expected"),
    [
        ({"openslide.mpp-x": "0.5", "openslide.mpp-y": "0.4", "aperio.MPP": "1"}, (0.4, 0.5)),
        ({"openslide.mpp-x": "352.8", "openslide.mpp-y": "352.8", "aperio.MPP": "0,5"}, (0.5, 0.5)),
        (
            {
                "tiff.XResolution": "20000",
                "tiff.YResolution": "25000",
                "tiff.ResolutionUnit": "centimeter",
            },
            (0.4, 0.5),
        ),
        ({"tiff.XResolution": "0", "tiff.YResolution": "1", "tiff.ResolutionUnit": "inch"}, None),
        ({"tiff.XResolution": "20000", "tiff.YResolution": "20000"}, None),
        ({}, None),
    ],
)
def test_a_scanner_s_slide_is_asked_in_order_for_what_can_be_believed(
    properties: dict[str, str], expected: tuple[float, float] | None
) -> None:
    assert mpp_of_properties(properties) == expected
