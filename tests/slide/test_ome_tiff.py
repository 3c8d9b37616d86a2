"""Pixel size and channel names come from the Image that owns the planes which are read."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile

from gigafcn.geometry import Box
from gigafcn.slide import open_slide

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gigafcn.slide import Slide

BIO_FORMATS = Path(__file__).parents[1] / "data" / "bioformats"
OTHER = "urn:uuid:00000000-0000-0000-0000-000000000001"
HEAD = (
    '<?xml version="1.0" encoding="UTF-8"?>'
    '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"{uuid}>{images}</OME>'
)


def image_xml(
    number: int, shape: tuple[int, int], names: Sequence[str], data: str, **pixels: Any
) -> str:
    """An Image element as in the OME schema of 2016-06."""
    channels = "".join(
        f'<Channel ID="Channel:{number}:{i}" Name="{name}" SamplesPerPixel="1"/>'
        for i, name in enumerate(names)
    )
    size, unit = pixels.get("size", 0.25), pixels.get("unit", "µm")
    of = "" if unit is None else f' PhysicalSizeXUnit="{unit}" PhysicalSizeYUnit="{unit}"'
    order, depth = pixels.get("order", "XYCZT"), pixels.get("depth", 1)
    return (
        f'<Image ID="Image:{number}"><Pixels ID="Pixels:{number}" DimensionOrder="{order}" '
        f'Type="uint8" SizeX="{shape[1]}" SizeY="{shape[0]}" SizeC="{len(names)}" SizeZ="{depth}" '
        f'SizeT="1" PhysicalSizeX="{size}" PhysicalSizeY="{size}"{of}>{channels}{data}'
        f"</Pixels></Image>"
    )


def write(path: Path, planes: Any, images: Sequence[str], uuid: str | None = None) -> Path:
    """Write planes as pages, the first with OME-XML of these Images."""
    named = "" if uuid is None else f' UUID="{uuid}"'
    text = HEAD.format(uuid=named, images="".join(images)).encode()
    with tifffile.TiffWriter(path) as tif:
        for number, plane in enumerate(planes):
            first: dict[str, Any] = {"description": text} if number == 0 else {}
            tif.write(
                plane, photometric="minisblack", metadata=None, contiguous=False,
                tile=(32, 32), **first,
            )  # fmt: skip
    return path


def planes_of(data: str, count: int) -> str:
    return "".join(f'<TiffData IFD="{i}" FirstC="{i}" PlaneCount="1">{data}</TiffData>'
                   for i in range(count))  # fmt: skip


def whole(slide: Slide) -> Any:
    return slide.read(Box.whole(slide.levels[0].shape))


@pytest.mark.parametrize("without", ["<MetadataOnly/>", ""])
def test_an_image_without_planes_says_nothing_of_the_others(
    without: str, tmp_path: Path, make_pixels: Any
) -> None:
    planes = make_pixels(2, 64, 96)
    images = [
        image_xml(0, (10, 9), ("DAPI", "CD3"), without, size=2),
        image_xml(1, (64, 96), ("CD8", "PanCK"), planes_of("", 2)),
    ]
    slide = open_slide(write(tmp_path / "a.ome.tif", planes, images))
    assert slide.mpp == (0.25, 0.25)
    assert slide.channel_names == ("CD8", "PanCK")
    np.testing.assert_array_equal(whole(slide), np.moveaxis(planes, 0, -1))


def test_an_image_whose_planes_lie_in_another_file_says_nothing_of_this_one(
    tmp_path: Path, make_pixels: Any
) -> None:
    planes = make_pixels(2, 64, 96)
    there = f'<UUID FileName="b.ome.tif">{OTHER}</UUID>'
    here = '<UUID FileName="a.ome.tif">urn:uuid:a</UUID>'
    images = [
        image_xml(0, (64, 96), ("DAPI", "CD3"), planes_of(there, 2), size=2),
        image_xml(1, (64, 96), ("CD8", "PanCK"), planes_of(here, 2)),
    ]
    path = write(tmp_path / "renamed.ome.tif", planes, images, "urn:uuid:a")
    slide = open_slide(path)
    assert (slide.mpp, slide.channel_names) == ((0.25, 0.25), ("CD8", "PanCK"))
    np.testing.assert_array_equal(whole(slide), np.moveaxis(planes, 0, -1))


def test_a_file_whose_uuid_was_changed_is_known_by_its_name(
    tmp_path: Path, make_pixels: Any
) -> None:
    planes = make_pixels(2, 64, 96)
    there = f'<UUID FileName="b.ome.tif">{OTHER}</UUID>'
    here = '<UUID FileName="a.ome.tif">urn:uuid:before</UUID>'
    images = [
        image_xml(0, (64, 96), ("DAPI", "CD3"), planes_of(there, 2), size=2),
        image_xml(1, (64, 96), ("CD8", "PanCK"), planes_of(here, 2)),
    ]
    slide = open_slide(write(tmp_path / "a.ome.tif", planes, images, "urn:uuid:after"))
    assert (slide.mpp, slide.channel_names) == ((0.25, 0.25), ("CD8", "PanCK"))


def test_a_file_without_uuid_is_known_when_it_was_renamed(tmp_path: Path, make_pixels: Any) -> None:
    planes = make_pixels(2, 64, 96)
    data = planes_of(f'<UUID FileName="before.ome.tif">{OTHER}</UUID>', 2)
    path = write(tmp_path / "a.ome.tif", planes, [image_xml(0, (64, 96), ("CD8", "CD3"), data)])
    slide = open_slide(path)
    assert (slide.mpp, slide.channel_names) == ((0.25, 0.25), ("CD8", "CD3"))


@pytest.mark.parametrize(
    ("size", "unit", "mpp"),
    [
        (0.5, None, 0.5), (0.5, "µm", 0.5), (500, "nm", 0.5), (0.0005, "mm", 0.5),
        (0.5, "pixel", None), (0.5, "reference frame", None),
    ],
)  # fmt: skip
def test_physical_sizes_have_their_unit(
    size: float, unit: str | None, mpp: float | None, tmp_path: Path, make_pixels: Any
) -> None:
    pixels = make_pixels(1, 64, 96)
    images = [image_xml(0, (64, 96), ("CD8",), planes_of("", 1), size=size, unit=unit)]
    found = open_slide(write(tmp_path / "a.ome.tif", pixels, images)).mpp
    assert found == (None if mpp is None else pytest.approx((mpp, mpp)))


@pytest.mark.parametrize("order", ["XYCZT", "XYZCT", "XYZTC", "XYTCZ"])
def test_pages_are_channels_and_planes_in_the_order_that_is_stated(
    order: str, tmp_path: Path, make_pixels: Any
) -> None:
    names, stack = ("CD8", "CD3", "DAPI"), make_pixels(2, 3, 64, 96)  # z, c, y, x
    fastest = stack if order.index("C") < order.index("Z") else stack.swapaxes(0, 1)
    images = [image_xml(0, (64, 96), names, "<TiffData/>", order=order, depth=2)]
    path = write(tmp_path / "a.ome.tif", fastest.reshape(6, 64, 96), images)
    slide = open_slide(path, plane={"z": 1})
    assert slide.channel_names == names
    np.testing.assert_array_equal(whole(slide), np.moveaxis(stack[1], 0, -1))


def plane(z: int, c: int) -> Any:
    """What was given to Bio-Formats as plane z of channel c."""
    y, x = np.mgrid[:33, :42]
    return (1000 * z + 100 * c + y + x).astype(np.uint16)


def test_one_file_of_a_set_of_bio_formats_has_the_channel_that_it_holds() -> None:
    slide = open_slide(BIO_FORMATS / "channel1.ome.tiff", plane={"z": 1})
    assert slide.channel_names == ("CD3",)
    assert slide.mpp == pytest.approx((0.4, 0.5))
    np.testing.assert_array_equal(whole(slide)[..., 0], plane(1, 1))


def test_a_companion_file_describes_the_planes_of_a_file_that_says_nothing() -> None:
    slide = open_slide(BIO_FORMATS / "plate_c2.ome.tiff", plane={"z": 1})
    assert slide.channel_names == ("CD8",)
    assert slide.mpp == pytest.approx((0.4, 0.5))
    np.testing.assert_array_equal(whole(slide)[..., 0], plane(1, 2))


def test_without_its_companion_a_file_has_what_its_own_tags_say(tmp_path: Path) -> None:
    path = shutil.copy(BIO_FORMATS / "plate_c2.ome.tiff", tmp_path)
    slide = open_slide(path, plane={"i": 1})
    assert slide.mpp == pytest.approx((0.4, 0.5), rel=1e-6)  # tags hold fractions of whole numbers
    assert slide.channel_names == ("grey",)


def test_samples_that_are_interleaved_have_the_size_of_their_image(
    tmp_path: Path, make_pixels: Any
) -> None:
    with tifffile.TiffWriter(tmp_path / "a.ome.tif") as tif:
        pixels = make_pixels(64, 96, 3)
        tif.write(
            pixels, photometric="rgb", tile=(32, 32),
            metadata={"axes": "YXS", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.25},
        )  # fmt: skip
    slide = open_slide(tmp_path / "a.ome.tif")
    assert (slide.mpp, slide.channel_names) == ((0.25, 0.5), ("red", "green", "blue"))
    np.testing.assert_array_equal(whole(slide), pixels)
