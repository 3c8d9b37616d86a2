"""Slides from and maps to a bucket, of a server that fails now and then."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
import pytest
import tifffile

import gigafcn
from gigafcn.cli import main
from gigafcn.errors import SlideError
from gigafcn.geometry import Box
from gigafcn.storage.url_path import place_of
from tests.run.test_resume import mapped, objects, unfinished
from tests.storage.bucket_server import SECRET, Faults, failing, pointed_at, s3_server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """URL of an S3 server, to which this process's credentials lead."""
    with s3_server() as url, pointed_at(url):
        yield url


def stored(url: str) -> dict[str, bytes]:
    """Every object of a map in a bucket but the root document, by key within the map."""
    root = place_of(url)
    skipped = f"{root}/zarr.json"
    return {
        str(path).removeprefix(f"{root}/"): path.read_bytes()
        for path in root.rglob("*")
        if str(path) != skipped
    }


def test_a_map_in_a_bucket_has_the_bytes_of_one_on_a_disk_though_the_store_fails(
    server: str, tmp_path: Path
) -> None:
    mapped(tmp_path / "m.zarr")
    faults = Faults(0.05, seed=3)
    with failing(server, faults) as url, pointed_at(url):
        result = mapped(place_of("s3://bucket/a/m.zarr"))
        assert gigafcn.check("s3://bucket/a/m.zarr").is_sound
    assert stored("s3://bucket/a/m.zarr") == objects(tmp_path / "m.zarr")
    assert str(result.summary["picture"]) == "s3://bucket/a/m.png"
    assert result.summary["picture"].read_bytes().startswith(b"\x89PNG")
    assert sum(faults.injected.values()) >= 5
    assert not place_of("s3://bucket/a/m.zarr.run/lock").exists()


def test_a_run_into_a_bucket_is_gone_on_with_and_repaired(server: str, tmp_path: Path) -> None:
    mapped(tmp_path / "m.zarr")
    place = place_of("s3://bucket/b/m.zarr")
    unfinished(place)
    assert mapped(place).summary["tiles_found"] >= 4
    assert mapped(place).summary["finished_before"]
    shard = place / "0/c/0/1/1"
    shard.write_bytes(shard.read_bytes()[:-1])
    (place / "labels/classes/0/c/0/0").unlink()
    found = gigafcn.check(place)
    assert (found.differing, found.missing) == (("0/c/0/1/1",), ("labels/classes/0/c/0/0",))
    assert mapped(place, overwrite=True).shape == (3, 517, 613)
    assert stored("s3://bucket/b/m.zarr") == objects(tmp_path / "m.zarr")


def tiff(path: str, description: str | None = None) -> None:
    """Put a tiled TIFF into the bucket."""
    content = io.BytesIO()
    tifffile.imwrite(
        content,
        pixels(),
        tile=(128, 128),
        photometric="rgb",
        compression="zlib",
        description=description,
    )
    place_of(path).write_bytes(content.getvalue())


def pixels() -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """A slide."""
    return np.random.default_rng(0).integers(0, 256, (300, 420, 3), np.uint8)


def test_a_tiff_and_a_zarr_image_are_read_where_they_are(server: str) -> None:
    tiff("s3://bucket/in/case.tif")
    faults = Faults(0.1, seed=4)
    box = Box(90, 100, 200, 333)
    with failing(server, faults) as url, pointed_at(url):
        slide = gigafcn.open_slide("s3://bucket/in/case.tif")
        assert (slide.read(box) == pixels()[90:200, 100:333]).all()
        assert slide.name == "case"
        mapped(place_of("s3://bucket/in/other.zarr"))
        again = gigafcn.open_slide("s3://bucket/in/other.zarr")
        assert again.levels[0].shape == (517, 613)
        assert again.read(box).shape == (110, 233, 3)
    assert slide.source == "s3://bucket/in/case.tif"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("none.tif", "no such object"),
        ("scan.svs", "which OpenSlide reads; from a bucket .* copy it to a local disk first"),
        ("picture.png", "neither a TIFF nor a Zarr image; .* copy it to a local disk first"),
    ],
)
def test_what_is_not_read_from_a_bucket_is_refused_with_the_remedy(
    name: str, message: str, server: str
) -> None:
    tiff("s3://bucket/bad/scan.svs", "Aperio Image Library v1\r\n300x420")
    place_of("s3://bucket/bad/picture.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(99))
    with pytest.raises(SlideError, match=message):
        gigafcn.open_slide(f"s3://bucket/bad/{name}")


@pytest.mark.dask
def test_worker_processes_find_their_own_credentials_and_none_are_written(
    server: str, capsys: pytest.CaptureFixture[str]
) -> None:
    tiff("s3://bucket/w/case.tif")
    words = ["infer", "s3://bucket/w/case.tif", "-m", "demonstration", "-o", "s3://bucket/w/maps"]
    assert main([*words, "--tile", "256", "--workers", "1", "--no-verify"]) == 0
    told = capsys.readouterr()
    assert "s3://bucket/w/maps/case.zarr, picture s3://bucket/w/maps/case.png" in told.out
    written = [path.read_bytes() for path in place_of("s3://bucket").rglob("*")]
    assert not any(SECRET.encode() in content for content in written)
    assert SECRET not in told.out + told.err
    left = {p.name for p in place_of("s3://bucket/w/maps").iterdir()}
    assert left == {"case.zarr", "case.zarr.run", "case.png"}
