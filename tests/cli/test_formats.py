"""Planes, channels, scanned areas and places of an image, as a user asks for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
import zarr
from PIL import Image, ImageCms

import gigafcn as library
from tests.cli.refusals import MODEL, refused
from tests.commands import gigafcn
from tests.scanner_files import MARGIN, write_ndpi, write_scn

if TYPE_CHECKING:
    from pathlib import Path

SHAPE = (140, 170)


def stack(folder: Path, name: str) -> Any:
    """An image of 2 times, 3 depths and 4 channels, 16 bit."""
    shape = (2, 3, 4, *SHAPE)
    pixels = np.random.default_rng(1).integers(0, 65536, shape, np.uint16)
    if name.endswith(".zarr"):
        zarr.create_array(
            str(folder / name), data=pixels, chunks=(1, 1, 1, 64, 64),
            dimension_names=("t", "z", "c", "y", "x"),
        )  # fmt: skip
    else:
        metadata = {"axes": "TZCYX", "Channel": {"Name": ["DAPI", "CD3", "CD8", "PanCK"]}}
        tifffile.imwrite(
            folder / name, pixels, tile=(64, 64), compression="zlib", metadata=metadata, ome=True
        )
    return pixels


def scores(folder: Path, name: str) -> Any:
    return np.asarray(library.open_map(folder / f"{name}.zarr").scores[0])


@pytest.mark.parametrize("name", ["a.ome.tif", "b.zarr"])
def test_a_plane_of_a_stack_is_mapped_like_the_plane_alone(name: str, folder: Path) -> None:
    pixels = stack(folder, name)
    stem = name.split(".")[0]
    words = ("--channels", "2,0,3", "--plane", "t=1,z=2", "-o", f"{stem}.map.zarr")
    assert gigafcn("infer", name, *MODEL, *words, cwd=folder).code == 0
    alone = np.ascontiguousarray(np.moveaxis(pixels[1, 2][[2, 0, 3]], 0, -1))
    np.save(folder / "alone.npy", alone)
    tifffile.imwrite(folder / "alone.tif", alone, photometric="rgb")
    assert gigafcn("infer", "alone.tif", *MODEL, cwd=folder).code == 0
    np.testing.assert_array_equal(scores(folder, f"{stem}.map"), scores(folder, "alone"))
    said = library.open_map(folder / f"{stem}.map.zarr").provenance["slide"]
    assert said["plane"] == {"t": 1, "z": 2}


@pytest.mark.parametrize("name", ["a.ome.tif", "b.zarr"])
def test_a_stack_is_refused_with_the_planes_there_are(name: str, folder: Path) -> None:
    stack(folder, name)
    words = ("infer", name, *MODEL, "-o", "map.zarr")
    message = refused(3, *words, cwd=folder)
    assert "--plane t=0 to t=1" in message
    message = refused(3, *words, "--plane", "t=0", cwd=folder)
    assert "--plane z=0 to z=2" in message
    message = refused(2, *words, "--plane", "t=0,z=3", cwd=folder)
    assert "has no plane z=3; planes by axis beside y and x: t: 2, z: 3" in message
    message = refused(2, *words, "--plane", "depth", cwd=folder)
    assert message == "--plane: expected an index per axis like t=0,z=2, got 'depth'"


def test_an_image_without_a_stack_has_plane_0_alone(folder: Path) -> None:
    assert gigafcn("infer", "slide.tif", *MODEL, "--plane", "z=0", cwd=folder).code == 0
    message = refused(2, "infer", "slide.tif", *MODEL, "-o", "b", "--plane", "z=1", cwd=folder)
    assert "slide.tif has no plane z=1" in message


def test_channels_are_chosen_by_name_and_scaled_each_by_itself(folder: Path) -> None:
    pixels = stack(folder, "a.ome.tif")[0, 1]
    words = ("--plane", "t=0,z=1", "--channels", "cd8,0,PanCK", "--scale", "0.5,0.25,0.125")
    raw = ("--activation", "none", "--dtype", "float32")
    ended = gigafcn("infer", "a.ome.tif", *MODEL, *words, *raw, cwd=folder)
    assert ended.code == 0, ended.err
    # Powers of two: nothing is rounded.
    scaled = np.moveaxis(pixels[[2, 0, 3]], 0, -1) * np.array([0.5, 0.25, 0.125], np.float32)
    tifffile.imwrite(folder / "scaled.tif", scaled.astype(np.float32), photometric="rgb")
    assert gigafcn("infer", "scaled.tif", *MODEL, *raw, cwd=folder).code == 0
    np.testing.assert_array_equal(scores(folder, "a"), scores(folder, "scaled"))
    said = library.open_map(folder / "a.zarr").provenance["slide"]
    assert said["channels"] == ["CD8", "DAPI", "PanCK"]
    unnamed = gigafcn("infer", "a.ome.tif", *MODEL, *words, "--deidentify", "-o", "d/", cwd=folder)
    assert unnamed.code == 0
    (store,) = (folder / "d").glob("*.zarr")
    assert "channels" not in library.open_map(store).provenance["slide"]


@pytest.mark.parametrize(
    ("channels", "reason"),
    [
        ("DAPI,CD4,CD8", "no channel named 'CD4'; its channels are 0 DAPI, 1 CD3, 2 CD8, 3 PanCK"),
        ("0,1,4", "has channels 0 to 3, not 4"),
    ],
)
def test_a_channel_that_is_not_there_is_refused_with_those_that_are(
    channels: str, reason: str, folder: Path
) -> None:
    stack(folder, "a.ome.tif")
    words = ("infer", "a.ome.tif", *MODEL, "--plane", "t=0,z=0", "--channels", channels)
    assert reason in refused(2, *words, cwd=folder)


def test_as_many_scales_as_channels_are_needed(folder: Path) -> None:
    message = refused(2, "infer", "slide.tif", *MODEL, "--scale", "1,2", cwd=folder)
    assert message == "scale has 2 numbers for 3 channels"


def test_the_scanned_area_is_mapped_and_lies_where_it_was_scanned(folder: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (300, 280, 3), np.uint8)
    write_scn(folder / "a.scn", pixels, at=(64, 48))
    ended = gigafcn("infer", "a.scn", *MODEL, cwd=folder)
    assert ended.code == 0
    assert "the scanned area is mapped, 300 x 280 px from y 64, x 48 on" in ended.err
    part = library.open_map(folder / "a.zarr")
    assert part.spec.shape == (300, 280)
    assert part.spec.offset == (64.0, 48.0)
    assert part.provenance["slide"]["bounds"] == [64, 48, 364, 328]
    root = zarr.open_group(str(folder / "a.zarr"), mode="r").attrs["ome"]
    moved = root["multiscales"][0]["datasets"][0]["coordinateTransformations"][1]  # type: ignore[index, call-overload]
    assert moved == {"type": "translation", "translation": [0.0, 32.0, 24.0]}
    words = ("--no-crop", "-o", "whole.zarr")
    assert gigafcn("infer", "a.scn", *MODEL, *words, cwd=folder).code == 0
    whole = library.open_map(folder / "whole.zarr")
    assert whole.spec.shape == (300 + 64 + MARGIN, 280 + 48 + MARGIN)
    assert whole.provenance["reading"]["gap_px"] == 564 * 528 - 300 * 280
    assert part.provenance["reading"]["gap_px"] == 0
    np.testing.assert_array_equal(part.scores[0], whole.scores[0][:, 64:364, 48:328])


def test_a_colour_profile_is_ignored_and_that_is_recorded(folder: Path) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    pixels = np.asarray(tifffile.imread(folder / "slide.tif"))
    Image.fromarray(pixels).save(folder / "with.png", icc_profile=profile)
    tifffile.imwrite(
        folder / "with.tif", pixels, photometric="rgb", iccprofile=profile, compression="zlib"
    )
    for name in ("with.png", "with.tif", "slide.tif"):
        words = ("infer", name, *MODEL, "-o", f"{name}.zarr")
        assert gigafcn(*words, cwd=folder).code == 0
        said = library.open_map(folder / f"{name}.zarr").provenance["slide"]["icc_profile"]
        assert said == ("ignored" if name.startswith("with") else None)
        np.testing.assert_array_equal(scores(folder, name), scores(folder, "with.png"))


def test_an_ndpi_without_restart_markers_is_refused_with_a_way_out(folder: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (256, 256, 3), np.uint8)
    write_ndpi(folder / "a.ndpi", pixels, declared=(20_000, 18_000))
    message = refused(3, "infer", "a.ndpi", *MODEL, cwd=folder)
    assert "an NDPI without restart markers is one such tile" in message
    assert "vips tiffsave" in message


def test_an_orientation_is_said_and_applied_when_asked_for(folder: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (96, 130, 3), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(folder / "photo.png", exif=exif)
    ended = gigafcn("infer", "photo.png", *MODEL, "-o", "a.zarr", cwd=folder)
    assert ended.code == 0
    (line,) = [line for line in ended.err.splitlines() if "orientation 6" in line]
    assert "taken as stored: --orient turns it" in line
    assert gigafcn("infer", "photo.png", *MODEL, "--orient", "-o", "b.zarr", cwd=folder).code == 0
    Image.fromarray(np.rot90(pixels, -1)).save(folder / "upright.png")
    assert gigafcn("infer", "upright.png", *MODEL, "-o", "c.zarr", cwd=folder).code == 0
    assert scores(folder, "a").shape[1:] == (96, 130)
    np.testing.assert_array_equal(scores(folder, "b"), scores(folder, "c"))
    # The slide below an exported picture is turned too, or its size would not fit.
    words = ("--to", "png", "--slide", "photo.png", "--class", "class 1", "-o", "heat.png")
    assert gigafcn("export", "b.zarr", *words, cwd=folder).code == 0
    ended = gigafcn("export", "b.zarr", "--to", "geojson", "-o", "b.geojson", cwd=folder)
    assert "turned picture (--orient)" in ended.err
