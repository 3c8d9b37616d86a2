"""What inspect says follows from the analysis alone."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from torch import Tensor, nn

from gigafcn.analysis import Footprint, analyze
from gigafcn.cli.inspect import as_json, show_footprint, waste_by_tile
from gigafcn.cli.reporting import plain
from tests.cli.refusals import refused
from tests.commands import gigafcn

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def strided() -> Footprint:
    net = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2))
    return analyze(net.eval())


def test_waste_is_the_window_over_the_tile() -> None:
    assert waste_by_tile((100, 412, 0, 0))[512] == 1.0
    assert waste_by_tile((0, 0, 0, 0)) == {512: 0, 1024: 0, 2048: 0, 4096: 0}


def test_a_table_row_per_layer_then_the_figures_of_the_model(
    strided: Footprint, capsys: pytest.CaptureFixture[str]
) -> None:
    show_footprint("strided", strided)
    text = capsys.readouterr().out
    assert [line.split()[1] for line in text.splitlines()[3:6]] == ["conv2d", "relu", "max_pool2d"]
    for figure in ("exact tiling", "halo: top, bottom, left, right", "1, 1, 1, 1 px", "2, 2 px"):
        assert figure in text


def test_a_model_that_is_not_local_is_shown_with_what_blocks_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.InstanceNorm2d(4)).eval()
    show_footprint("normed", analyze(net))
    text = capsys.readouterr().out
    assert "exact tiling  no" in text
    assert "not local: 1: " in text
    assert "waste" not in text


def test_a_model_that_takes_one_size_is_shown_with_it(capsys: pytest.CaptureFixture[str]) -> None:
    class Fixed(nn.Conv2d):
        def forward(self, x: Tensor) -> Tensor:
            assert x.shape[2:] == (224, 224)
            return super().forward(x)

    found = analyze(Fixed(3, 2, 3).eval())
    show_footprint("fixed", found)
    assert "224 x 224 px only" in capsys.readouterr().out
    assert as_json(found)["only"] == (224, 224)


def test_the_same_figures_come_as_json(strided: Footprint) -> None:
    known = json.loads(json.dumps(as_json(strided), default=plain))
    assert known["local"] is True
    assert known["halo"] == [1, 1, 1, 1]
    assert known["stride"] == [2.0, 2.0]
    assert [row["op"] for row in known["layers"]] == ["conv2d", "relu", "max_pool2d"]


def test_of_several_outputs_each_is_shown_and_the_layers_of_the_last(folder: Path) -> None:
    done = gigafcn("inspect", "nets.py:two_maps", "--trust", "--size", "64", cwd=folder)
    assert (done.code, done.err) == (0, "")
    layers, coarse, fine = done.out.partition("model  ")[0], *done.out.split("output  ")[-2:]
    assert "fine" in layers
    assert "max_pool2d" not in layers
    assert "those of output fine" in done.out
    for text, figures in (
        (coarse, ("coarse", "1, 4, 32, 32", "5, 5, 5, 5 px", "2, 2 px")),
        (fine, ("fine", "1, 2, 64, 64", "1, 1, 1, 1 px", "1, 1 px")),
    ):
        for figure in figures:
            assert figure in text


@pytest.mark.parametrize("asked", ["coarse", "0", "-2"])
def test_an_output_can_be_chosen_by_name_or_index(asked: str, folder: Path) -> None:
    words = ("--trust", "--size", "64", "--output-name", asked, "--json")
    (event,) = gigafcn("inspect", "nets.py:two_maps", *words, cwd=folder).events
    assert [row["op"] for row in event["layers"]] == ["conv2d", "max_pool2d", "conv2d"]
    assert event["stride"] == [2, 2]
    assert [(o["name"], o["shape"], o["stride"]) for o in event["outputs"]] == [
        ("coarse", [1, 4, 32, 32], [2, 2]),
        ("fine", [1, 2, 64, 64], [1, 1]),
    ]


def test_an_output_that_is_not_there_is_refused_and_those_there_are_named(folder: Path) -> None:
    words = ("inspect", "nets.py:two_maps", "--trust", "--size", "64", "--output-name", "edges")
    message = refused(4, *words, cwd=folder)
    assert "has no output 'edges'; it returns coarse (1, 4, 32, 32), fine (1, 2, 64, 64)" in message


def test_a_model_file_and_a_picture_are_of_the_chosen_output(folder: Path) -> None:
    words = ("--output-name", "0", "--write-config", "model.toml", "--plot", "seen.png")
    done = gigafcn("inspect", "nets.py:two_maps", "--trust", *words, cwd=folder)
    assert (done.code, done.err) == (0, "")
    text = (folder / "model.toml").read_text()
    assert 'name = "coarse"' in text
    assert "# 4 of them" in text
    assert (folder / "seen.png").stat().st_size > 10_000
