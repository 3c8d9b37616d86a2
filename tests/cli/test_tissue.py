"""Resolution and tissue from the command line, on small files; what is wrong is said in a line."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
import tifffile
from PIL import Image

from gigafcn.output import open_map
from tests.cli.refusals import MODEL, refused
from tests.commands import gigafcn

if TYPE_CHECKING:
    from pathlib import Path

SQUARE = [[(10, 10), (60, 10), (60, 60), (10, 60), (10, 10)]]


def refused_request(folder: Path, *words: str, code: int = 2) -> str:
    """Error of an infer that cannot be carried out."""
    return refused(code, "infer", "slide.tif", *MODEL, *words, cwd=folder)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "is not JSON|are not JSON"),
        ('{"type": "FeatureCollection", "features": []}', "holds no polygon"),
        (
            json.dumps({"type": "Polygon", "coordinates": [[(9e4, 9e4), (9e4, 1e5), (1e5, 1e5)]]}),
            "cannot be read|lie outside slide of 300 x 420 px",
        ),
    ],
)
def test_bad_polygons_are_refused(folder: Path, content: str, words: str) -> None:
    (folder / "bad.geojson").write_text(content)
    message = refused_request(folder, "--tissue", "bad.geojson")
    assert any(word in message for word in words.split("|")), message


def test_a_tissue_file_that_is_not_there_is_refused(folder: Path) -> None:
    assert "atuo: no such file" in refused_request(folder, "--tissue", "atuo")


def test_a_mask_of_another_shape_is_refused(folder: Path) -> None:
    Image.fromarray(np.ones((100, 100), np.uint8)).save(folder / "mask.png")
    assert "has another shape than slide" in refused_request(folder, "--tissue", "mask.png")


def test_polygons_are_mapped_and_the_rest_is_left_out(folder: Path) -> None:
    area = {"type": "Polygon", "coordinates": SQUARE}
    (folder / "a.geojson").write_text(json.dumps({"type": "Feature", "geometry": area}))
    done = gigafcn("infer", "slide.tif", *MODEL, "--tissue", "a.geojson", cwd=folder)
    assert done.code == 0, done.err
    assert open_map(folder / "slide.zarr").status.tolist() == [[1, 2], [2, 2]]
    assert "left out as background" in done.out
    again = gigafcn("infer", "slide.tif", *MODEL, "--tissue", "a.geojson", cwd=folder)
    assert "finished before" in again.out
    plan = gigafcn("plan", "slide.tif", *MODEL, "--tissue", "a.geojson", cwd=folder)
    assert "25% of the chunks" in plan.out


@pytest.mark.parametrize(
    ("name", "options", "sizes"),
    [
        ("a.tif", {"resolution": (40_000, 40_000), "resolutionunit": "CENTIMETER"}, (150, 210)),
        ("b.tif", {"description": "Aperio Fake |AppMag = 40|MPP = 0,25"}, (150, 210)),
        (
            "c.ome.tif",
            {"metadata": {"axes": "YXS", "PhysicalSizeX": 250, "PhysicalSizeXUnit": "nm",
                          "PhysicalSizeY": 0.2, "PhysicalSizeYUnit": "µm"}},
            (120, 210),
        ),
    ],
)  # fmt: skip
def test_the_slide_s_own_pixel_size_is_brought_to_the_model_s(
    folder: Path, name: str, options: dict[str, object], sizes: tuple[int, int]
) -> None:
    pixels = tifffile.imread(folder / "slide.tif")
    tifffile.imwrite(folder / name, pixels, photometric="rgb", **options)  # type: ignore[arg-type]  # as each case has them
    done = gigafcn("infer", name, *MODEL, "--mpp", "0.5", "-o", "m.zarr", cwd=folder)
    assert done.code == 0, done.err
    stored = open_map(folder / "m.zarr")
    assert stored.spec.shape == sizes
    assert stored.spec.mpp == pytest.approx((0.5, 0.5))
    assert f"resampled from 300 x 420 to {sizes[0]} x {sizes[1]} px" in done.out


def test_nonsense_in_the_tags_is_refused_with_what_to_say(folder: Path) -> None:
    pixels = tifffile.imread(folder / "slide.tif")
    tifffile.imwrite(folder / "s.tif", pixels, resolution=(72, 72), resolutionunit="INCH")
    words = ("infer", "s.tif", *MODEL, "--mpp", "0.5")
    assert "give it with --slide-mpp UM, or --level 0" in refused(3, *words, cwd=folder)
    assert gigafcn(*words, "--slide-mpp", "0.5", cwd=folder).code == 0


@pytest.mark.parametrize("value", ["0", "-1", "half", "0.5,0.5,0.5"])
def test_a_pixel_size_that_is_none_is_refused(folder: Path, value: str) -> None:
    assert "mpp" in refused_request(folder, f"--mpp={value}")
