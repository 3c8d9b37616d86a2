"""What stands on disk after a run: valid OME-Zarr, its making written down, nobody named."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import ome_zarr_models
import pytest
import tifffile
import yaozarrs
import zarr
from ome_zarr_models.v05 import Image
from PIL import Image as Picture

import gigafcn
from gigafcn.engine.reading import PaddedImage
from gigafcn.engine.whole import whole_run
from gigafcn.plan.run_plan import RunPlan
from tests.run.small_nets import Skip, random_numbers
from tests.run.whole import scores_of, small_image

if TYPE_CHECKING:
    from pathlib import Path

    from gigafcn import Result

PATIENT = "DOE^JANE 1957-03-04"


@pytest.fixture(scope="module")
def slide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A TIFF whose free text names a patient."""
    path = tmp_path_factory.mktemp("slide") / "case.tif"
    tifffile.imwrite(
        path,
        small_image(517, 613, top=256),
        tile=(64, 64),
        photometric="rgb",
        description=PATIENT,
        software=PATIENT,
        extratags=[(315, "s", 0, PATIENT, True)],
        resolution=(40_000, 20_000),
        resolutionunit="CENTIMETER",
        metadata=None,
    )
    return path


@pytest.fixture(scope="module")
def result(slide: Path, tmp_path_factory: pytest.TempPathFactory) -> Result:
    path = tmp_path_factory.mktemp("map") / "case.zarr"
    options: dict[str, Any] = {"tile": 256, "dtype": "float32", "device": "cpu"}
    return gigafcn.infer(slide, random_numbers(Skip()), path, classes=("a", "b", "c"), **options)


@pytest.fixture(scope="module")
def document(result: Result) -> dict[str, Any]:
    attributes: dict[str, Any] = json.loads((result.path / "zarr.json").read_text())["attributes"]
    return attributes


def test_two_validators_accept_the_map(result: Result) -> None:
    assert isinstance(ome_zarr_models.open_ome_zarr(zarr.open_group(result.path, mode="r")), Image)
    yaozarrs.validate_zarr_store(str(result.path))
    yaozarrs.validate_zarr_store(str(result.path / "labels"))


def test_the_scale_is_that_of_the_slide(document: dict[str, Any]) -> None:
    levels = document["ome"]["multiscales"][0]["datasets"]
    scales = [level["coordinateTransformations"][0]["scale"] for level in levels]
    # 40 000 px per cm across are 0.25 um, 20 000 down 0.5 um.
    assert scales[:2] == [[1.0, 0.5, 0.25], [1.0, 1.0, 0.5]]


def test_slide_and_model_are_known_by_their_fingerprints(
    slide: Path, document: dict[str, Any]
) -> None:
    made = document["gigafcn"]
    assert made["slide"]["name"] == "case"
    assert made["slide"]["shape"] == [517, 613]
    assert made["slide"]["fingerprint"] == gigafcn.open_slide(slide).fingerprint()
    digest = hashlib.sha256()
    for name, tensor in sorted(random_numbers(Skip()).state_dict().items()):
        digest.update(name.encode() + tensor.numpy().tobytes())
    assert made["model"]["weights_sha256"] == digest.hexdigest()


def test_mode_halo_certificate_and_versions_are_written(document: dict[str, Any]) -> None:
    made = document["gigafcn"]
    assert made["mode"] == made["certificate"]["mode"] == "exact"
    assert made["certificate"]["tiles"] == 9
    assert made["halo"] == list(gigafcn.analyze(random_numbers(Skip())).halo)
    assert {"gigafcn", "torch", "zarr", "python"} <= made["versions"].keys()


def test_the_plan_written_is_the_plan_that_ran(
    slide: Path, result: Result, document: dict[str, Any]
) -> None:
    plan = RunPlan.from_json(document["gigafcn"]["plan"])
    image = PaddedImage(gigafcn.open_slide(slide), plan.level, plan.channels, plan.geometry)
    expected = whole_run(random_numbers(Skip()), image, plan)[0].numpy()
    # Float32 rounds to 2**-24 at each of some tens of terms.
    np.testing.assert_allclose(scores_of(result.path), expected, atol=1e-6)


def test_every_chunk_is_computed(result: Result) -> None:
    status = gigafcn.open_map(result.path).status
    assert status.shape == (3, 3)
    assert (status == 1).all()


def test_the_pyramid_ends_small(result: Result) -> None:
    stored = gigafcn.open_map(result.path)
    assert [array.shape for array in stored.scores] == [(3, 517, 613), (3, 259, 307)]
    assert [array.shape for array in stored.labels] == [(517, 613), (259, 307)]


def test_free_text_of_the_slide_is_nowhere(result: Result) -> None:
    for file in [*result.path.rglob("*"), result.summary["picture"]]:
        if file.is_file():
            assert b"JANE" not in file.read_bytes()


def test_a_picture_stands_beside_the_map(result: Result) -> None:
    with Picture.open(result.path.with_suffix(".png")) as picture:
        assert picture.width == 1500


def test_the_result_says_what_was_done(result: Result) -> None:
    assert result.shape == (3, 517, 613)
    assert result.certificate["class"] == "structural+measured"
    assert result.summary["pixels"] == 517 * 613
    assert result.summary["bottleneck"] in ("reading", "computing", "storing")
    assert 0 < result.summary["bottleneck_share"] <= 1
    assert result.seconds > 0
