"""Blend and patch from the command line, and how they and their bad input are refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import tifffile
import zarr

from tests.cli.nets import classifier, normed
from tests.cli.refusals import refused
from tests.commands import gigafcn
from tests.run.whole import scores_of
from tests.run.windowed import monai_map, patch_map

if TYPE_CHECKING:
    from pathlib import Path

NORMED = ("-m", "nets.py:normed", "--trust")
CLASSIFIER = ("-m", "nets.py:classifier", "--trust")
LOGITS = ("--scale", "1", "--activation", "none", "--dtype", "float32")


def test_a_model_that_is_not_local_runs_in_blend(folder: Path) -> None:
    words = ("--mode", "blend", "--window", "96", "--blend-weights", "gaussian")
    done = gigafcn("infer", "slide.tif", *NORMED, *words, *LOGITS, cwd=folder)
    assert (done.code, done.err) == (0, "")
    assert ", mode blend 96/0.25 gaussian, model normed, bottleneck " in done.out
    assert (folder / "slide.png").exists()
    image = tifffile.imread(folder / "slide.tif")
    expected = monai_map(
        normed(), image, roi_size=(96, 96), sw_batch_size=1, overlap=0.25, mode="gaussian"
    )
    # Rounding of the norm's sums and of two convolutions.
    np.testing.assert_allclose(scores_of(folder / "slide.zarr"), expected, atol=1e-4)


def test_a_classifier_of_patches_runs_in_patch(folder: Path) -> None:
    words = ("--mode", "patch", "--window", "32,32", "--step", "20", "--batch", "3")
    done = gigafcn("infer", "slide.tif", *CLASSIFIER, *words, *LOGITS, cwd=folder)
    assert done.code == 0
    assert ", mode patch 32/20, model classifier" in done.out
    expected = patch_map(classifier(), tifffile.imread(folder / "slide.tif"), 32, 20)
    # Sums of 32 x 32 px of up to 255.
    np.testing.assert_allclose(scores_of(folder / "slide.zarr"), expected, rtol=1e-4, atol=1e-2)


def test_the_window_may_stand_in_a_file(folder: Path) -> None:
    (folder / "run.toml").write_text('mode = "blend"\nwindow = 64\noverlap = 0.5\n')
    done = gigafcn("infer", "slide.tif", *NORMED, "--config", "run.toml", cwd=folder)
    assert "mode blend 64/0.5 constant" in done.out
    told = zarr.open_group(folder / "slide.zarr", mode="r").attrs["gigafcn"]
    assert isinstance(told, dict)
    assert told["certificate"]["class"] == "approximate"
    assert told["windows"]["interval"] == [32, 32]


def test_a_plan_names_windows_waste_and_time(folder: Path) -> None:
    words = ("--mode", "blend", "--window", "100", "--batch", "2")
    done = gigafcn("plan", "slide.tif", *NORMED, *words, cwd=folder)
    assert done.code == 0
    lines = {line.split("  ")[0]: line for line in done.out.splitlines()}
    assert "24 of 100 x 100 px, every 75 x 75 px, weights constant" in lines["windows"]
    assert "2 windows" in lines["batch"]
    assert "each px is computed 1.90 times" in lines["waste"]
    assert "about " in lines["time"]


def test_a_model_that_is_not_local_is_refused_with_the_commands_that_would_run_it(
    folder: Path,
) -> None:
    message = refused(4, "infer", "slide.tif", *NORMED, cwd=folder)
    assert "instance_norm" in message
    command = f"gigafcn infer SLIDE -m {folder / 'nets.py'}:normed --trust"
    assert f"{command} --mode blend --window PX" in message
    assert f"{command} --mode patch --window PX --step PX" in message


@pytest.mark.parametrize(
    ("code", "words", "what"),
    [
        (2, (*NORMED, "--mode", "blend"), "give the patch size that it was trained on with --wi"),
        (2, (*NORMED, "--window", "64"), "window 64 is for mode blend and patch, not mode exact"),
        (2, (*NORMED, "--mode", "blend", "--overlap", "1"), "--overlap: expected less than 1"),
        (2, (*NORMED, "--mode", "blend", "--overlap", "-0.1"), "--overlap: must be at least 0"),
        (2, (*NORMED, "--mode", "tiles"), "--mode: 'tiles' is not one of 'exact', 'blend' or"),
        (2, (*NORMED, "--mode", "blend", "--window", "64", "--step", "8"), "step 8 is for mode pa"),
        (2, (*CLASSIFIER, "--mode", "patch", "--step", "0"), "--step: must be more than 0, got 0"),
        (2, (*NORMED, "--mode", "blend", "--batch", "0"), "--batch: must be more than 0, got 0"),
        (3, (*CLASSIFIER, "--mode", "patch", "--window", "301"), "300 px along y, smaller"),
        (4, (*CLASSIFIER, "--mode", "patch", "--window", "40"), "fails on an input of 1 x 3 x 40"),
        (4, (*CLASSIFIER, "--mode", "blend", "--window", "32"), "so there is nothing to blend"),
        (4, (*NORMED, "--mode", "patch", "--window", "32"), "so it is no classifier of patch"),
        (4, (*NORMED, "--mode", "blend", "--window", "32", "--output-name", "a"), "no output 'a'"),
        (5, ("-m", "nets.py:moody", "--trust", "--mode", "blend", "--window", "40"), "changes"),
    ],
)  # fmt: skip
def test_windows_that_cannot_be_are_refused_in_one_line(
    code: int, words: tuple[str, ...], what: str, folder: Path
) -> None:
    assert what in refused(code, "infer", "slide.tif", *words, cwd=folder)


def test_a_window_larger_than_the_image_is_filled_with_zeros(folder: Path) -> None:
    words = ("--mode", "blend", "--window", "512")
    done = gigafcn("infer", "slide.tif", *NORMED, *words, *LOGITS, cwd=folder)
    assert done.code == 0
    image = tifffile.imread(folder / "slide.tif")
    expected = monai_map(normed(), image, roi_size=(512, 512), sw_batch_size=1, overlap=0.25)
    # Rounding of the norm's sums and of two convolutions.
    np.testing.assert_allclose(scores_of(folder / "slide.zarr"), expected, atol=1e-4)
