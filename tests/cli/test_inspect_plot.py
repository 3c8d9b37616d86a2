"""``gigafcn inspect --plot``: the picture of a footprint."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from gigafcn.analysis import analyze
from gigafcn.cli.footprint_plot import plot_footprint
from gigafcn.graph.growth import reaches
from gigafcn.graph.reach import far_from_borders
from gigafcn.output.footprint_picture import layer_groups, spread_labels
from tests.cli.refusals import refused
from tests.commands import gigafcn
from tests.nets import NETS, randomised
from tests.run.small_nets import ValidUNet

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")


def test_the_picture_is_drawn_and_may_be_drawn_again(folder: Path) -> None:
    for _ in range(2):
        ended = gigafcn("inspect", "demonstration", "--plot", "seen.png", cwd=folder)
        assert ended.code == 0, ended
    with Image.open(folder / "seen.png") as picture:
        assert picture.width > 1000
        assert len(np.unique(np.asarray(picture.convert("L")))) > 50


@pytest.mark.parametrize("name", ["unet_r18", "even", "monai_unet"])
def test_it_ends_with_the_halo_of_the_model(name: str) -> None:
    footprint = analyze(randomised(NETS[name]()))
    assert footprint.graph is not None
    graph = far_from_borders(footprint.graph)
    for axis in (0, 1):
        last = reaches(graph, axis)[graph.output]
        assert (last.before, last.after) == footprint.halo[2 * axis : 2 * axis + 2]


def test_a_foreign_file_is_left_alone(folder: Path) -> None:
    (folder / "notes.png").write_text("mine")
    error = refused(2, "inspect", "demonstration", "--plot", "notes.png", cwd=folder)
    assert "was not drawn by gigafcn" in error


def test_only_a_png_is_drawn(folder: Path) -> None:
    error = refused(2, "inspect", "demonstration", "--plot", "seen.pdf", cwd=folder)
    assert "ends in .png" in error


def test_a_folder_that_is_not_there_is_told(folder: Path) -> None:
    error = refused(5, "inspect", "demonstration", "--plot", "no/seen.png", cwd=folder)
    assert "cannot write the picture no/seen.png" in error


def test_a_model_that_is_not_local_has_no_picture(folder: Path) -> None:
    words = ("inspect", "nets.py:normed", "--trust", "--plot", "seen.png")
    assert "no footprint to draw" in refused(4, *words, cwd=folder)


def test_nets_that_lose_a_margin_are_drawn_too(tmp_path: Path) -> None:
    plot_footprint(tmp_path / "seen.png", "valid", analyze(ValidUNet(depth=2).eval()))
    assert (tmp_path / "seen.png").stat().st_size > 10_000


def test_deep_nets_get_labels_that_fit() -> None:
    names = [f"encoder.{stage}.{block}.conv" for stage in range(6) for block in range(20)]
    groups = layer_groups(names, 44)
    assert len(groups) == 6
    assert groups[0] == ("encoder.0", 0, 20)
    assert [group[1] for group in groups[1:]] == [group[2] for group in groups[:-1]]
    flat = [f"layer{i}" for i in range(300)]
    assert len(layer_groups(flat, 44)) <= 44
    shown = spread_labels(layer_groups(flat, 44), 7)
    middles = [(start + stop) / 2 for _, start, stop in shown]
    assert min(np.diff(middles)) >= 7
