"""What inspect says follows from the analysis alone."""

from __future__ import annotations

import json

import pytest
from torch import nn

from gigafcn.analysis import Footprint, analyze
from gigafcn.cli.inspect import as_json, show_footprint, waste_by_tile
from gigafcn.cli.reporting import plain


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


def test_the_same_figures_come_as_json(strided: Footprint) -> None:
    known = json.loads(json.dumps(as_json(strided), default=plain))
    assert known["local"] is True
    assert known["halo"] == [1, 1, 1, 1]
    assert known["stride"] == [2.0, 2.0]
    assert [row["op"] for row in known["layers"]] == ["conv2d", "relu", "max_pool2d"]
