"""The main job, end to end: a real slide mapped by the command line equals the whole run.

The design bounds a float32 map by max|map - module64| <= 2 E + 1e-6, where
E = max|module32 - module64| is the module's own rounding.  In double precision the whole slide
takes 14 GB and a minute, so that is tried on parts of it, and E is the largest there.  On all of it
the map is held against the whole run in float32: |map - module32| <= E + 1e-6 implies the bound.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from gigafcn.engine.pixels import to_input
from gigafcn.engine.reading import PaddedImage
from gigafcn.engine.whole import whole_run
from gigafcn.geometry import Box
from gigafcn.model.loading import load_model
from gigafcn.output import open_map
from gigafcn.plan.run_plan import RunPlan
from gigafcn.slide import open_slide
from tests.commands import gigafcn
from tests.run.whole import labels_of, scores_of

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

    from tests.run.whole import Array

pytestmark = pytest.mark.slide
HALF_A_STEP = 1 / 510
PARTS = [Box(y, x, y + 640, x + 640) for y in (0, 1152, 2320) for x in (0, 800, 1576)]
MARGIN_PX = 32
"""Of a part, in which the module sees an edge that the slide has not; the halo is 25 px."""


@dataclass(frozen=True)
class Mapped:
    """The finished map of the whole slide, the whole run, and the module's own rounding."""

    path: Path
    whole: Array
    rounding: float
    """E, on parts of the slide."""

    difference: float
    """From the module in double, on the same parts."""


@pytest.fixture(scope="module")
def mapped(real_slide: Path, tmp_path_factory: pytest.TempPathFactory) -> Mapped:
    folder = tmp_path_factory.mktemp("real") / "work"
    folder.mkdir()
    words = ("infer", str(real_slide.resolve()), "-o", "out.zarr", "--dtype", "float32")
    work = ("--tile", "1024,1280", "--strip", "99", "--device", "cpu")
    done = gigafcn(*words, *work, cwd=folder)
    assert done.code == 0, done
    plan = RunPlan.from_json(open_map(folder / "out.zarr").provenance["plan"])
    slide = open_slide(real_slide)
    image = PaddedImage(slide, plan.level, plan.channels, plan.geometry)
    module = load_model("demonstration").module
    whole = whole_run(module, image, plan)[0].numpy()
    scores = scores_of(folder / "out.zarr")
    found = [in_double(module, image, plan, scores, part) for part in PARTS]
    rounding, difference = (max(column) for column in zip(*found, strict=True))
    return Mapped(folder / "out.zarr", whole, rounding, difference)


def in_double(
    module: nn.Module, image: PaddedImage, plan: RunPlan, scores: Array, part: Box
) -> tuple[float, float]:
    """E, and how far the map is from the module in double, within the margin of a part."""
    pixels = to_input(image.read(part), plan.scaling, torch.device("cpu"), torch.float32)
    with torch.inference_mode():
        single = module(pixels).softmax(dim=1)
        double = copy.deepcopy(module).double()(pixels.double()).softmax(dim=1)
    rows, columns = part.relative_to(Box(0, 0, 0, 0))
    inner = (..., slice(MARGIN_PX, -MARGIN_PX), slice(MARGIN_PX, -MARGIN_PX))
    apart = np.abs(scores[:, rows, columns] - double[0].numpy())[inner]
    return float((single - double).abs()[inner].max()), float(apart.max())


def test_the_map_equals_the_whole_run_within_the_bound_of_the_design(mapped: Mapped) -> None:
    assert open_map(mapped.path).provenance["certificate"]["tiles"] == 6
    assert mapped.difference <= 2 * mapped.rounding + 1e-6
    difference = np.abs(scores_of(mapped.path) - mapped.whole).max()
    assert difference <= mapped.rounding + 1e-6


def test_labels_differ_from_the_whole_run_only_at_ties(mapped: Mapped) -> None:
    labels = labels_of(mapped.path)
    chosen = np.take_along_axis(mapped.whole, labels[None].astype(np.int64), 0)[0]
    assert (mapped.whole.max(0) - chosen).max() <= 2 * (mapped.rounding + 1e-6)
    assert (labels != mapped.whole.argmax(0)).mean() < 1e-6


def test_uint8_is_within_half_a_step_more(mapped: Mapped, real_slide: Path, tmp_path: Path) -> None:
    # The middle of the slide in tiles of its own, in the type that is the default.
    folder = tmp_path / "work"
    folder.mkdir()
    words = ("--region", "700,900,800,900", "--tile", "512")
    assert gigafcn("infer", str(real_slide.resolve()), *words, cwd=folder).code == 0
    stored = scores_of(folder / f"{real_slide.stem}.zarr")
    assert stored.dtype == np.uint8
    difference = np.abs(stored / 255 - mapped.whole[:, 900:1800, 700:1500]).max()
    assert difference <= HALF_A_STEP + mapped.rounding + 1e-6
