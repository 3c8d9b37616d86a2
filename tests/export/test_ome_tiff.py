"""The exported OME-TIFF holds the map's pixels, pyramid, names and place."""

from __future__ import annotations

import tracemalloc
from fractions import Fraction
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import numpy as np
import openslide
import pytest
import tifffile

from gigafcn.errors import UsageError
from gigafcn.export import export_map, ome_tiff
from gigafcn.output import open_map
from gigafcn.slide import open_slide
from tests.export.maps import LARGE, blobs, one_hot, write_scores

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A map of three levels with values that do not repeat."""
    scores = np.random.default_rng(0).integers(0, 256, (3, *LARGE), np.uint8)
    path = tmp_path_factory.mktemp("maps") / "large.zarr"
    return write_scores(path, scores, mpp=(0.5, 0.25), offset=(8.0, 4.0))


@pytest.fixture(scope="module")
def exported(large: Path) -> Path:
    return export_map(large, "ome-tiff").path


def described(path: Path, tag: str) -> list[dict[str, str]]:
    """Attributes of all OME elements of a kind."""
    with tifffile.TiffFile(path) as tif:
        assert tif.ome_metadata is not None
        root = ElementTree.fromstring(tif.ome_metadata)
    return [dict(e.attrib) for e in root.iter() if e.tag.endswith(f"}}{tag}")]


def test_every_level_equals_that_of_the_map(large: Path, exported: Path) -> None:
    stored = open_map(large)
    with tifffile.TiffFile(exported) as tif:
        (series,) = tif.series
        assert series.axes == "CYX"
        assert [level.shape for level in series.levels] == [(3, *k.shape) for k in stored.levels]
        for level, array in zip(series.levels, stored.scores, strict=True):
            np.testing.assert_array_equal(level.asarray(), array[...])


def test_it_is_tiled_deflated_and_its_levels_are_subifds(exported: Path) -> None:
    with tifffile.TiffFile(exported) as tif:
        page = tif.pages.first
        assert page.tile == (512, 512)
        assert page.compression == tifffile.COMPRESSION.ADOBE_DEFLATE
        assert len(tif.pages) == 3
        assert page.subifds is not None
        assert len(page.subifds) == 2
        assert not tif.is_bigtiff


def test_pixel_size_and_place_are_those_of_the_map(exported: Path) -> None:
    (pixels,) = described(exported, "Pixels")
    assert (pixels["PhysicalSizeX"], pixels["PhysicalSizeXUnit"]) == ("0.25", "µm")
    assert (pixels["PhysicalSizeY"], pixels["PhysicalSizeYUnit"]) == ("0.5", "µm")
    planes = described(exported, "Plane")
    assert [(p["PositionX"], p["PositionY"]) for p in planes] == [("1.0", "4.0")] * 3


def test_channels_have_the_names_and_colours_of_the_classes(exported: Path) -> None:
    channels = described(exported, "Channel")
    assert [c["Name"] for c in channels] == ["background", "tissue", "nuclei"]
    assert int(channels[1]["Color"]) % 2**32 == 0x0B9E8EFF


def test_gigafcn_reads_it_back(exported: Path) -> None:
    slide = open_slide(exported)
    assert (slide.channel_names, slide.mpp) == (("background", "tissue", "nuclei"), (0.5, 0.25))
    assert [level.shape for level in slide.levels] == [(1100, 1300), (550, 650), (275, 325)]
    slide.close()


def test_openslide_reads_its_first_channel_with_its_pixel_size(large: Path, exported: Path) -> None:
    with openslide.OpenSlide(exported) as slide:
        assert slide.dimensions == (1300, 1100)
        assert float(slide.properties["openslide.mpp-x"]) == pytest.approx(0.25)
        pixels = np.asarray(slide.read_region((1000, 900), 0, (300, 200)))[..., 0]
    expected = np.asarray(open_map(large).scores[0][0, 900:1100, 1000:1300])
    np.testing.assert_array_equal(pixels, expected)


def test_labels_alone_or_beside_the_probabilities(large: Path) -> None:
    labels = np.asarray(open_map(large).labels[0][...])
    alone = export_map(large, "ome-tiff", large.with_name("l.ome.tiff"), content="labels")
    both = export_map(large, "ome-tiff", large.with_name("b.ome.tiff"), content="both")
    with tifffile.TiffFile(alone.path) as tif:
        np.testing.assert_array_equal(tif.series[0].levels[0].asarray(), labels)
    with tifffile.TiffFile(both.path) as tif:
        assert [series.axes for series in tif.series] == ["CYX", "YX"]
        assert [len(series.levels) for series in tif.series] == [3, 3]
        np.testing.assert_array_equal(tif.series[1].asarray(), labels)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_floats_keep_their_values_and_nan_where_nothing_was_computed(
    tmp_path: Path, dtype: str
) -> None:
    scores = np.random.default_rng(0).random((2, 128, 100)).astype(dtype)
    status = np.array([[1, 2], [1, 1]], np.uint8)
    path = write_scores(
        tmp_path / "m.zarr", scores, status=status, classes=("a", "b"), labels=False
    )
    found = tifffile.imread(export_map(path, "ome-tiff").path)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, np.asarray(open_map(path).scores[0][...], np.float32))
    assert np.isnan(found[:, :64, 64:]).all()


def test_without_a_pixel_size_none_is_claimed(tmp_path: Path) -> None:
    path = write_scores(
        tmp_path / "m.zarr", one_hot(np.zeros((64, 64))), mpp=None, stride=(Fraction(4),) * 2
    )
    exported = export_map(path, "ome-tiff").path
    assert not any("Physical" in name for name in described(exported, "Pixels")[0])
    assert described(exported, "Plane")[0]["PositionXUnit"] == "pixel"


def test_the_same_map_gives_the_same_file(large: Path, exported: Path) -> None:
    again = export_map(large, "ome-tiff", large.with_name("again.ome.tiff")).path
    assert again.read_bytes() == exported.read_bytes()


def test_what_might_not_fit_four_gigabytes_becomes_bigtiff(
    large: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ome_tiff, "_MOST_CLASSIC_BYTES", 1000)
    path = export_map(large, "ome-tiff", large.with_name("big.ome.tiff")).path
    with tifffile.TiffFile(path) as tif:
        assert tif.is_bigtiff


def test_the_map_is_never_in_memory(tmp_path: Path) -> None:
    labels = np.tile(blobs((512, 512)), (4, 4))
    path = write_scores(tmp_path / "m.zarr", one_hot(labels), chunk=256, shard=512)
    tracemalloc.start()
    export_map(path, "ome-tiff")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # The map has 16.5 MB in three levels; 16 tiles of 0.26 MB wait to be compressed, or written.
    assert peak < 9e6


def test_labels_that_are_not_there_are_refused(tmp_path: Path) -> None:
    spec: dict[str, Any] = {"classes": ("a", "b"), "labels": False}
    path = write_scores(tmp_path / "m.zarr", np.zeros((2, 64, 64), np.uint8), **spec)
    with pytest.raises(UsageError, match="stores no labels; export its probabilities"):
        export_map(path, "ome-tiff", content="labels")
