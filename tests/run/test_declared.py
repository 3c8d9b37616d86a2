"""What an image declares to be empty is mapped as "no data", and alpha is no colour."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import rasterio
from PIL import Image

import gigafcn
from gigafcn.cli.reporting import closing_line
from gigafcn.errors import SlideError
from gigafcn.output import open_map
from gigafcn.output.store import ChunkStatus
from tests.run.small_nets import Skip, whole_numbers
from tests.run.whole import padded, run_whole, scores_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")

EXACTLY: dict[str, Any] = {
    "scale": 1.0, "activation": "none", "dtype": "float32", "verify": False,
}  # fmt: skip
HEIGHT, WIDTH = 300, 600
COLOURS = np.random.default_rng(0).integers(1, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8)
HELD = np.full((HEIGHT, WIDTH), 255, np.uint8)
HELD[:, :256] = HELD[40:50, 300:500] = 0


def raster(path: Path, *, alpha: str | None = None, internal: bool = True) -> Path:
    """Colours with alpha, or with a mask within or beside the file."""
    pixels = COLOURS if alpha is None else np.dstack([COLOURS, HELD])
    profile: dict[str, Any] = {"driver": "GTiff", "height": HEIGHT, "width": WIDTH}
    profile |= {"count": pixels.shape[2], "dtype": "uint8", "photometric": "RGB"}
    profile |= {} if alpha is None else {"alpha": alpha}
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=internal),
        rasterio.open(path, "w", **profile) as file,
    ):
        file.write(np.moveaxis(pixels, -1, 0))
        if alpha is None:
            file.write_mask(HELD)
    return path


def picture(path: Path) -> Path:
    Image.fromarray(np.dstack([COLOURS, HELD])).save(path)
    return path


WRITERS: dict[str, Callable[[Path], Path]] = {
    "internal.tif": raster,
    "beside.tif": lambda path: raster(path, internal=False),
    "alpha.tif": lambda path: raster(path, alpha="YES"),
    "picture.png": picture,
}


@pytest.mark.parametrize("name", WRITERS)
def test_declared_px_show_the_background_and_are_counted(name: str, tmp_path: Path) -> None:
    path, net = WRITERS[name](tmp_path / name), whole_numbers(Skip())
    result = gigafcn.infer(path, net, tmp_path / "m.zarr", tile=256, **EXACTLY)
    seen = np.where(HELD[..., None] > 0, COLOURS, np.uint8(255))
    expected = run_whole(net, padded(seen, 2))[:, :HEIGHT, :WIDTH]
    stored = open_map(result.path)
    status = np.full((2, 3), ChunkStatus.COMPUTED)
    status[:, 0] = ChunkStatus.BACKGROUND
    np.testing.assert_array_equal(stored.status, status)
    np.testing.assert_array_equal(scores_of(result.path)[:, :, 256:], expected[:, :, 256:])
    assert stored.provenance["reading"]["no_data_px"] == (HELD == 0).sum()
    assert stored.provenance["slide"]["channels"] == ["red", "green", "blue"]
    assert f"{(HELD == 0).sum()} px of the image hold no data" in closing_line(result)


def test_alpha_is_fed_to_the_model_only_when_channels_name_it(tmp_path: Path) -> None:
    path = raster(tmp_path / "a.tif", alpha="YES")
    with pytest.raises(SlideError, match=r"3 channels beside alpha, channel 3, .* takes 4"):
        gigafcn.infer(path, whole_numbers(Skip(4)), tmp_path / "m.zarr", **EXACTLY)
    net = whole_numbers(Skip(4))
    named = gigafcn.infer(path, net, tmp_path / "n.zarr", channels=[0, 1, 2, "alpha"], **EXACTLY)
    seen = np.dstack([np.where(HELD[..., None] > 0, COLOURS, np.uint8(255)), HELD])
    expected = run_whole(net, padded(seen, 2))[:, :HEIGHT, :WIDTH]
    np.testing.assert_array_equal(scores_of(named.path)[:, :, 256:], expected[:, :, 256:])


def test_an_unspecified_fourth_band_is_fed_as_before(tmp_path: Path) -> None:
    path, net = raster(tmp_path / "a.tif", alpha="NO"), whole_numbers(Skip(4))
    result = gigafcn.infer(path, net, tmp_path / "m.zarr", **EXACTLY)
    expected = run_whole(net, padded(np.dstack([COLOURS, HELD]), 2))[:, :HEIGHT, :WIDTH]
    np.testing.assert_array_equal(scores_of(result.path), expected)
    assert open_map(result.path).provenance["reading"]["no_data_px"] == 0
