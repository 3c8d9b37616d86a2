"""What the end-to-end tests of the command line share: a folder with a slide and models."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import tifffile

NETS = Path(__file__).with_name("nets.py")
SHAPE = (300, 420)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A working directory with ``slide.tif`` of 300 x 420 px of 0.5 µm, and nets.

    The slide's first tile is black.
    """
    folder = tmp_path / "work"
    folder.mkdir()
    shutil.copy(NETS, folder)
    pixels = np.random.default_rng(0).integers(1, 256, (*SHAPE, 3), np.uint8)
    pixels[:30, :40] = 0
    tifffile.imwrite(
        folder / "slide.tif",
        pixels,
        tile=(64, 64),
        photometric="rgb",
        resolution=(20_000, 20_000),
        resolutionunit="CENTIMETER",
    )
    return folder
