"""Of several images in a file the scan is read, and label, macro and overview never are."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
import zarr
from yaozarrs import v05
from yaozarrs.write.v05 import Bf2RawBuilder

from gigafcn.errors import QuestionError, SlideError, UsageError
from gigafcn.geometry import Box
from gigafcn.slide import open_slide
from gigafcn.slide.images import kind_of
from gigafcn.slide.opening import image_numbers, open_mask

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gigafcn.slide import Slide

BIO_FORMATS = Path(__file__).parents[1] / "data" / "bioformats"
PATIENT = "DOE JANE 1960"

Image = tuple[str, tuple[int, int], float | None]
"""Name, px (y, x) and micrometres per px."""

SCANNED: list[Image] = [
    ("label image", (90, 120), None),
    ("macro image", (70, 200), None),
    ("Series 0", (64, 96), 0.25),
]
"""As Bio-Formats names those of an SVS; the scan is the smallest."""


def pixels_of(number: int, shape: tuple[int, int]) -> Any:
    return np.random.default_rng(number).integers(0, 256, (*shape, 3), np.uint8)


def ome_tiff(path: Path, images: Sequence[Image]) -> Path:
    with tifffile.TiffWriter(path) as tif:
        for number, (name, shape, um) in enumerate(images):
            size = {} if um is None else {"PhysicalSizeX": um, "PhysicalSizeY": um}
            metadata = {"axes": "YXS", "Name": name, **size}
            tif.write(pixels_of(number, shape), photometric="rgb", metadata=metadata)
    return path


def raw_zarr(path: Path, images: Sequence[Image], *, xml: bool = True) -> Path:
    """As bioformats2raw writes: groups 0, 1, ..., with names in OME/METADATA.ome.xml."""
    named = "".join(f'<Image ID="Image:{n}" Name="{one[0]}"/>' for n, one in enumerate(images))
    schema = "http://www.openmicroscopy.org/Schemas/OME/2016-06"
    text = f'<OME xmlns="{schema}">{named}</OME>' if xml else None
    builder = Bf2RawBuilder(path, ome_xml=text, writer="zarr")
    for number, (_, shape, um) in enumerate(images):
        space: dict[str, Any] = {} if um is None else {"unit": "micrometer"}
        axes = [v05.ChannelAxis(name="c"), *(v05.SpaceAxis(name=n, **space) for n in "yx")]
        scale = v05.ScaleTransformation(scale=[1.0, um or 1.0, um or 1.0])
        dataset = v05.Dataset(path="0", coordinateTransformations=[scale])
        image = v05.Image(multiscales=[v05.Multiscale(axes=axes, datasets=[dataset])])
        pixels = np.moveaxis(pixels_of(number, shape), -1, 0)
        builder.write_image(str(number), image, [pixels])
    return path


def written(kind: str, folder: Path, images: Sequence[Image]) -> Path:
    if kind == "ome-tiff":
        return ome_tiff(folder / "a.ome.tif", images)
    return raw_zarr(folder / "a.zarr", images)


def whole(slide: Slide) -> Any:
    return slide.read(Box.whole(slide.levels[0].shape))


KINDS = pytest.mark.parametrize("kind", ["ome-tiff", "bioformats2raw"])


@KINDS
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
def test_the_one_scan_is_read_wherever_it_stands(
    kind: str, order: tuple[int, ...], tmp_path: Path
) -> None:
    path = written(kind, tmp_path, [SCANNED[n] for n in order])
    slide, number = open_slide(path), order.index(2)
    np.testing.assert_array_equal(whole(slide), pixels_of(number, (64, 96)))
    assert slide.mpp == (0.25, 0.25)
    assert slide.traits.image == number
    np.testing.assert_array_equal(whole(open_slide(path, image=number)), whole(slide))


@KINDS
def test_of_several_scans_the_user_says_which(kind: str, tmp_path: Path) -> None:
    scans: list[Image] = [("liver", (64, 96), 0.25), ("kidney", (80, 50), 0.5)]
    path = written(kind, tmp_path, [*SCANNED[:2], *scans])
    with pytest.raises(QuestionError, match="holds 2 images") as asked:
        open_slide(path)
    assert [(one.flag, one.value, one.meaning) for one in asked.value.answers] == [
        ("--image", "2", "64 x 96 px (y, x), 0.25 x 0.25 µm/px, named liver"),
        ("--image", "3", "80 x 50 px (y, x), 0.5 x 0.5 µm/px, named kidney"),
    ]
    assert image_numbers(path, {}) == [2, 3]
    for number, (_, shape, um) in enumerate(scans, start=2):
        slide = open_slide(path, image=number)
        np.testing.assert_array_equal(whole(slide), pixels_of(number, shape))
        assert slide.mpp == (um, um)


@KINDS
def test_what_is_no_scan_is_not_read_when_asked_for_either(kind: str, tmp_path: Path) -> None:
    path = written(kind, tmp_path, SCANNED)
    with pytest.raises(UsageError, match="image 0 is a label, which may show a patient's name"):
        open_slide(path, image=0)
    with pytest.raises(UsageError, match="has no image 7; its images are 2"):
        open_slide(path, image=7)


@KINDS
def test_a_file_of_nothing_but_labels_is_refused(kind: str, tmp_path: Path) -> None:
    with pytest.raises(SlideError, match="no scan but its label and its macro"):
        open_slide(written(kind, tmp_path, SCANNED[:2]))


@KINDS
def test_nothing_that_a_label_is_called_is_said(
    kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    images: list[Image] = [(f"{PATIENT} label", (90, 120), None), *SCANNED[1:]]
    path = written(kind, tmp_path, images)
    said = [str(open_slide(path).traits)]
    for wrong in (0, 9):
        with pytest.raises(UsageError) as refused:
            open_slide(path, image=wrong)
        said.append(str(refused.value))
    (tmp_path / "b").mkdir()
    with pytest.raises(QuestionError) as asked:
        open_slide(written(kind, tmp_path / "b", [*images, ("kidney", (80, 50), 0.5)]))
    assert PATIENT not in caplog.text + "".join(said) + str(asked.value)
    assert "image 2 is read, not its label and its macro" in caplog.text


def test_images_without_names_are_all_that_may_be_meant(tmp_path: Path) -> None:
    path = raw_zarr(tmp_path / "a.zarr", SCANNED, xml=False)
    with pytest.raises(QuestionError, match="holds 3 images"):
        open_slide(path)


@pytest.mark.parametrize("version", [2, 3])
def test_an_older_layout_without_a_list_of_series_is_read_by_its_numbers(
    version: Any, tmp_path: Path
) -> None:
    """Layout imitated from bioformats2raw 0.6 and 0.9 with label, overview and scan."""
    root = zarr.open_group(tmp_path / "a.zarr", mode="w", zarr_format=version)
    root.attrs["bioformats2raw.layout"] = 3
    (tmp_path / "a.zarr" / "OME").mkdir()
    names = ("label image", "overview image", "case.mrxs")
    xml = "".join(f'<Image ID="Image:{n}" Name="{name}"/>' for n, name in enumerate(names))
    text = f'<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06">{xml}</OME>'
    (tmp_path / "a.zarr" / "OME" / "METADATA.ome.xml").write_text(text)
    axes = [{"name": n, "type": "space"} for n in "yx"]
    for number in range(3):
        group = root.create_group(str(number))
        group.create_array("0", data=np.full((40, 50), number, np.uint8))
        scale = [{"type": "scale", "scale": [1, 1]}]
        datasets = [{"path": "0", "coordinateTransformations": scale}]
        group.attrs["multiscales"] = [{"axes": axes, "version": "0.4", "datasets": datasets}]  # type: ignore[dict-item]
    assert (whole(open_slide(tmp_path / "a.zarr")) == 2).all()
    assert (whole(open_slide(tmp_path / "a.zarr" / "2")) == 2).all()
    with pytest.raises(SlideError, match="is a label, which may show a patient's name"):
        open_slide(tmp_path / "a.zarr" / "0")


def test_several_images_of_one_group_are_told_apart(tmp_path: Path) -> None:
    group = zarr.create_group(tmp_path / "a.zarr", zarr_format=2)
    axes = [{"name": n, "type": "space", "unit": "micrometer"} for n in "yx"]
    images: Any = []
    for number, name in enumerate(("overview", "raw", "deconvolved")):
        group.create_array(name, data=np.full((40 + number, 50), number, np.uint8))
        scale = [{"type": "scale", "scale": [0.5, 0.5]}]
        datasets = [{"path": name, "coordinateTransformations": scale}]
        images.append({"axes": axes, "version": "0.4", "name": name, "datasets": datasets})
    group.attrs["multiscales"] = images
    with pytest.raises(QuestionError, match="holds 2 images") as asked:
        open_slide(tmp_path / "a.zarr")
    assert [one.value for one in asked.value.answers] == ["1", "2"]
    assert (whole(open_slide(tmp_path / "a.zarr", image=2)) == 2).all()
    group.attrs["multiscales"] = images[:2]
    assert (whole(open_slide(tmp_path / "a.zarr")) == 1).all()


def test_a_plate_is_refused_with_what_to_name(tmp_path: Path) -> None:
    plate = {"rows": [{"name": "A"}], "columns": [{"name": "1"}], "version": "0.4"}
    attributes: dict[str, Any] = {"plate": plate, "bioformats2raw.layout": 3}
    zarr.create_group(tmp_path / "a.zarr", zarr_format=2, attributes=attributes)
    with pytest.raises(
        SlideError, match="is a plate or well, not an image; give the path of one of its fields"
    ):
        open_slide(tmp_path / "a.zarr")


def test_a_slide_of_bio_formats_is_read_with_its_pyramid() -> None:
    slide = open_slide(BIO_FORMATS / "slide.ome.tiff")
    y, x = np.mgrid[:48, :64]
    expected = np.stack([y * 5 % 256, x * 5 % 256, np.full_like(x, 2)], -1).astype(np.uint8)
    np.testing.assert_array_equal(whole(slide), expected)
    assert slide.mpp == (0.25, 0.25)
    assert [at.downsample for at in slide.levels] == [(1.0, 1.0), (2.0, 2.0)]


def test_a_slide_that_is_open_has_the_image_that_it_was_opened_with(tmp_path: Path) -> None:
    slide = open_slide(ome_tiff(tmp_path / "a.ome.tif", SCANNED))
    assert open_slide(slide, image=2) is slide
    with pytest.raises(UsageError, match="is open with another image than 1"):
        open_slide(slide, image=1)


def test_a_mask_may_be_called_a_label(tmp_path: Path) -> None:
    path = ome_tiff(tmp_path / "a.ome.tif", [("label", (64, 96), None)])
    with pytest.raises(SlideError, match="holds no scan"):
        open_slide(path)
    assert open_mask(path).levels[0].shape == (64, 96)
    with pytest.raises(SlideError, match="holds 3 images; a mask is a file with one"):
        open_mask(ome_tiff(tmp_path / "b.ome.tif", SCANNED))


TILED: dict[str, Any] = {"tile": (64, 64), "photometric": "rgb", "metadata": None}


def test_pages_of_other_sizes_are_other_images(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as tif:
        tif.write(pixels_of(0, (200, 150)), **TILED)
        tif.write(pixels_of(1, (100, 75)), subfiletype=1, **TILED)
        tif.write(pixels_of(2, (300, 160)), resolution=(40_000, 40_000), resolutionunit=3, **TILED)
        tif.write(pixels_of(3, (75, 40)), subfiletype=1, **TILED)
    with pytest.raises(QuestionError, match="holds 2 images") as asked:
        open_slide(tmp_path / "a.tif")
    assert [one.value for one in asked.value.answers] == ["0", "2"]
    first, second = (open_slide(tmp_path / "a.tif", image=n) for n in (0, 2))
    assert [at.shape for at in first.levels] == [(200, 150), (100, 75)]
    assert [at.shape for at in second.levels] == [(300, 160), (75, 40)]
    assert (first.mpp, second.mpp) == (None, (0.25, 0.25))
    np.testing.assert_array_equal(whole(second), pixels_of(2, (300, 160)))


@pytest.mark.parametrize("text", ["Aperio Image Library v11.2\r\nlabel 387x463", "Macro"])
def test_pages_that_say_that_they_are_labels_are_none(text: str, tmp_path: Path) -> None:
    """Layout imitated from Aperio, without its mark on the first page."""
    with tifffile.TiffWriter(tmp_path / "a.tif") as tif:
        tif.write(pixels_of(1, (200, 150)), **TILED)
        tif.write(pixels_of(0, (300, 400)), description=text, **TILED)
    np.testing.assert_array_equal(whole(open_slide(tmp_path / "a.tif")), pixels_of(1, (200, 150)))


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("label image", "label"), ("macro mask image", "macro"), ("Overview", "overview"),
        ("CMU-1.svs - label", "label"), ("case.svs [macro]", "macro"), ("LABELIMAGE", "label"),
        ("SlidePreview", "overview"), ("thumbnail image", "thumbnail"), ("Label #2", "label"),
        ("thumb", "thumbnail"),
        ("label_1", "label"), (f"label: {PATIENT}", "label"), (f"{PATIENT} macro", "macro"),
        ("Series 0", None), ("", None), ("case 7.svs", None), ("label-free imaging", None),
        ("macrophages", None), ("label retaining cells", None), ("Labelled nuclei", None),
        ("relabel", None), ("40x_01", None),
    ],
)  # fmt: skip
def test_kinds_are_known_by_whole_words(name: str, kind: str | None) -> None:
    assert kind_of(name) == kind
