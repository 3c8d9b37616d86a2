"""napari shows a map where it lies on the slide: its OME-Zarr reader is asked, without a window."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from torch import nn

from gigafcn import infer, open_map

if TYPE_CHECKING:
    from pathlib import Path

REGION = (60, 30, 300, 330)
"""y0, x0, y1, x1 in px."""

MPP, STRIDE, MEANS = 0.5, 2, 3


def layers(root: Path) -> list[dict[str, Any]]:
    """What napari makes of an image."""
    command = [sys.executable, "-W", "ignore", "-m", "tests.output.napari_layers", str(root)]
    environment = os.environ | {"QT_QPA_PLATFORM": "offscreen"}
    told = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert told.returncode == 0, told.stderr
    found: list[dict[str, Any]] = json.loads(told.stdout.splitlines()[-1])
    return found


def test_scale_margin_region_and_half_pixels_place_every_layer(tmp_path: Path) -> None:
    # A net of stride 2, kept in means of 3 x 3 px: a stored px covers 6 x 6 px of the slide.
    path = tmp_path / "map.zarr"
    pixels = np.random.default_rng(0).integers(0, 256, (360, 420, 3), np.uint8)
    net = nn.Conv2d(3, 3, 3, stride=STRIDE, padding=1)
    infer(
        pixels, net, path, region=REGION, slide_mpp=MPP, save_mpp=MPP * STRIDE * MEANS,
        verify=False,
    )  # fmt: skip
    cell = STRIDE * MEANS
    first = [MPP * (start + (cell - 1) / 2) for start in REGION[:2]]
    shape = open_map(path).spec.shape
    last = [a + MPP * cell * (n - 1) for a, n in zip(first, shape, strict=True)]
    found = layers(path)
    assert [layer["kind"] for layer in found] == ["image", "image", "image", "labels"]
    for layer in found:
        assert layer["first"] == pytest.approx(first, abs=1e-9)
        assert layer["last"] == pytest.approx(last, abs=1e-9)
