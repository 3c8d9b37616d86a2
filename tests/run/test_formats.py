"""Whatever a file's format and compression, its map is that of its pixels, each decoded once."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
import zarr
from PIL import Image

import gigafcn
from tests.run.small_nets import Skip, whole_numbers
from tests.run.whole import padded, run_whole, scores_of
from tests.scanner_files import write_ndpi, write_scn, write_svs

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from torch import nn

SHAPE = (260, 300)
EXACTLY: dict[str, Any] = {"scale": 1.0, "activation": "none", "dtype": "float32"}
Write = tuple[str, dict[str, Any]]

TIFFS: dict[str, dict[str, Any]] = {
    "one strip": {},
    "strips, deflate": {"rowsperstrip": 33, "compression": "zlib"},
    "tiles, LZW": {"tile": (64, 48), "compression": "lzw"},
    "tiles, zstd, BigTIFF": {"tile": (64, 48), "compression": "zstd", "bigtiff": True},
    "tiles, JPEG": {"tile": (64, 48), "compression": "jpeg"},
    "tiles, JPEG 2000": {"tile": (64, 64), "compression": "jpeg2000"},
}


@pytest.fixture(scope="module")
def net() -> nn.Module:
    return whole_numbers(Skip())


def pixels_of(dtype: str = "uint8") -> Any:
    top = 256 if dtype == "uint8" else 60_000
    return np.random.default_rng(3).integers(0, top, (*SHAPE, 3)).astype(dtype)


def check(path: Path, expected: Any, net: nn.Module, **options: Any) -> None:
    """Compare the map of a file with the whole run on its pixels."""
    result = gigafcn.infer(path, net, path.with_name("map.zarr"), **(EXACTLY | options))
    height, width = expected.shape[:2]
    whole = run_whole(net, padded(expected, 2))[:, :height, :width]
    np.testing.assert_array_equal(scores_of(result.path), whole)


@pytest.mark.parametrize("layout", TIFFS)
def test_a_tiff_maps_like_its_pixels(layout: str, tmp_path: Path, net: nn.Module) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, pixels_of(), photometric="rgb", **TIFFS[layout])
    check(path, tifffile.imread(path), net)


@pytest.mark.parametrize(
    ("planar", "dtype"), [("contig", "uint16"), ("separate", "int16"), ("contig", "float32")]
)
def test_planes_apart_or_interleaved_and_any_type_map_alike(
    planar: str, dtype: str, tmp_path: Path, net: nn.Module
) -> None:
    path, pixels = tmp_path / "a.tif", pixels_of(dtype)
    stored = pixels if planar == "contig" else np.moveaxis(pixels, -1, 0)
    tifffile.imwrite(
        path, stored, photometric="minisblack", planarconfig=planar, tile=(64, 64),
        compression="zlib",
    )  # fmt: skip
    check(path, pixels, net)


@pytest.mark.parametrize("form", ["zarr 2", "zarr 3", "ome-zarr 0.4", "ome-zarr 0.5"])
def test_zarr_of_either_format_maps_like_its_pixels(
    form: str, tmp_path: Path, net: nn.Module
) -> None:
    path, pixels = tmp_path / "a.zarr", pixels_of("uint16")
    kind, version = form.split()
    number: Any = 2 if version in ("2", "0.4") else 3
    if kind == "zarr":
        zarr.create_array(str(path), data=pixels, chunks=(64, 64, 3), zarr_format=number)
    else:
        group = zarr.open_group(str(path), mode="w", zarr_format=number)
        data = np.moveaxis(pixels, -1, 0)[None, :, None]
        group.create_array("0", data=data, chunks=(1, 1, 1, 64, 64))
        scale = {"type": "scale", "scale": [1, 1, 1, 0.5, 0.5]}
        axes = [{"name": n} for n in "tcz"]
        axes += [{"name": n, "type": "space", "unit": "micrometer"} for n in "yx"]
        datasets = [{"path": "0", "coordinateTransformations": [scale]}]
        image: dict[str, Any] = {"axes": axes, "datasets": datasets, "version": version}
        group.attrs.update(
            {"multiscales": [image]}
            if number == 2
            else {"ome": {"version": version, "multiscales": [image]}}
        )
    check(path, pixels, net)
    said = gigafcn.open_map(tmp_path / "map.zarr").provenance["slide"]
    assert said["format"] == form
    assert said["mpp"] == (None if kind == "zarr" else [0.5, 0.5])


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_a_picture_maps_like_its_pixels(suffix: str, tmp_path: Path, net: nn.Module) -> None:
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(pixels_of()).save(path)
    check(path, np.asarray(Image.open(path)), net)


def test_a_scanners_files_map_like_their_pixels(tmp_path: Path, net: nn.Module) -> None:
    write_svs(tmp_path / "a.svs", pixels_of())
    check(tmp_path / "a.svs", tifffile.imread(tmp_path / "a.svs"), net)


@pytest.mark.parametrize("form", ["svs", "scn", "ndpi", "tiles", "strips", "planes", "zarr"])
def test_a_run_decodes_every_stored_tile_once(
    form: str, tmp_path: Path, net: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, pixels = tmp_path / f"a.{form}", pixels_of()
    apart: dict[str, Any] = {"planarconfig": "separate", "photometric": "rgb", "tile": (64, 64)}
    writers: dict[str, tuple[Callable[[], Any], int]] = {
        "svs": (lambda: write_svs(path, pixels), 3 * 3),
        # Where tiles lie anywhere, blocks of 512 px are what is decoded.
        "scn": (lambda: write_scn(path, pixels, (0, 0)), 1),
        "ndpi": (lambda: write_ndpi(path, pixels[:256, :256], restart=8), 2 * 2),
        "tiles": (lambda: write_tiff(path, pixels, tile=(64, 48)), 5 * 7),
        "strips": (lambda: write_tiff(path, pixels, rowsperstrip=33), 8),
        "planes": (lambda: write_tiff(path, np.moveaxis(pixels, -1, 0), **apart), 3 * 5 * 5),
        "zarr": (lambda: zarr.create_array(str(path), data=pixels, chunks=(50, 64, 3)), 6 * 5),
    }
    write, tiles = writers[form]
    write()
    slide: Any = gigafcn.open_slide(path)
    slide.cache.capacity_bytes = 0  # no more than one row of tiles
    counts: list[int] = []
    # Windows that are looked at before the run are no part of it.
    monkeypatch.setattr("gigafcn.run.checks.doubts", lambda _: ())

    def note(report: gigafcn.Progress) -> None:
        if report.stage == "compute":
            counts.append(slide.cache.decoded)

    gigafcn.infer(slide, net, tmp_path / "m.zarr", strip=50, verify=False, progress=note, **EXACTLY)
    assert counts[-1] == tiles


def write_tiff(path: Path, pixels: Any, **options: Any) -> None:
    """A TIFF of deflated tiles or strips."""
    tifffile.imwrite(path, pixels, **({"photometric": "rgb", "compression": "zlib"} | options))


def test_tiles_of_a_map_share_the_tiles_of_the_slide_at_their_borders(
    tmp_path: Path, net: nn.Module
) -> None:
    """Only what the halo of a map tile reaches is decoded for two map tiles."""
    path, pixels = tmp_path / "a.tif", np.tile(pixels_of(), (4, 4, 1))[:1024, :1024]
    write_tiff(path, pixels, tile=(64, 64))
    slide: Any = gigafcn.open_slide(path)
    counts: list[int] = []
    gigafcn.infer(
        slide, net, tmp_path / "m.zarr", tile=512, verify=False, **EXACTLY,
        progress=lambda report: counts.append(slide.cache.decoded),
    )  # fmt: skip
    assert math.prod((16, 16)) <= counts[-1] <= 4 * 9 * 9
