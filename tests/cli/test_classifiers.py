"""Classifiers of patches, from the command line."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
import tifffile
import torch

from tests.cli.nets import classifier
from tests.cli.refusals import refused
from tests.commands import gigafcn
from tests.convert.patchwise import patch_by_patch
from tests.run.whole import scores_of

if TYPE_CHECKING:
    from pathlib import Path

MODEL = ("-m", "nets.py:classifier", "--trust", "--activation", "none", "--dtype", "float32")


def test_a_classifier_gives_its_dense_map_and_its_patch_is_printed(folder: Path) -> None:
    done = gigafcn("infer", "slide.tif", *MODEL, "--scale", "1", cwd=folder)
    assert done.code == 0, done.err
    assert "model classifier classifies patches of 32 x 32 px (guessed" in done.err
    pixels = tifffile.imread(folder / "slide.tif").astype(np.float32)
    image = torch.from_numpy(pixels).permute(2, 0, 1).unsqueeze(0)
    expected = patch_by_patch(classifier(), image, 32, 2).numpy()
    # Sums of a thousand terms in float32, in another order.
    given = scores_of(folder / "slide.zarr")
    np.testing.assert_allclose(given, expected, atol=1e-5 * np.abs(expected).max())


def test_patch_and_output_stride_are_flags_and_keys(folder: Path) -> None:
    (folder / "run.toml").write_text("[infer]\npatch = 32\noutput_stride = 2\n")
    words = ("--config", "run.toml", "--output-stride", "1", "--region", "100,40,120,90")
    assert gigafcn("infer", "slide.tif", *MODEL, *words, cwd=folder).code == 0
    # Cells of 1 px lie half a px beside the image's.
    assert scores_of(folder / "slide.zarr").shape == (3, 91, 121)
    root = json.loads((folder / "slide.zarr" / "zarr.json").read_text())
    converted = root["attributes"]["gigafcn"]["converted"]
    assert (converted["patch"], converted["output_stride"]) == ([32, 32], [1, 1])


@pytest.mark.parametrize(
    ("code", "words", "said"),
    [
        (2, ("--output-stride", "3"), "3 does not divide the network's own stride of 2 px along y"),
        (4, ("--patch", "40"), "cannot be exported for an input of shape (1, 3, 40, 40)"),
        (2, ("--mode", "blend", "--window", "32", "--patch", "32"), "is for mode exact"),
    ],
)
def test_what_a_classifier_cannot_do_is_refused(
    code: int, words: tuple[str, ...], said: str, folder: Path
) -> None:
    assert said in refused(code, "infer", "slide.tif", *MODEL, *words, cwd=folder)


def test_a_classifier_that_cannot_be_converted_is_refused_naming_its_layer(folder: Path) -> None:
    (folder / "vit.py").write_text("from tests.convert.nets import TinyVit as attending\n")
    words = ("infer", "slide.tif", "-m", "vit.py:attending", "--trust")
    said = gigafcn(*words, cwd=folder)
    assert said.code == 4
    assert "aten.cat.default: concatenates a constant, such as a class token" in said.error
    assert "--mode patch --window 32" in said.error
    assert gigafcn(*words, "--mode", "patch", "--window", "32", cwd=folder).code == 0
