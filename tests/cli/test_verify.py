"""``gigafcn verify`` as a user runs it: tables, JSON, exit codes; a wrong rule in infer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gigafcn.certificate.certificate import Certificate
from tests.cli.refusals import refused
from tests.commands import gigafcn

if TYPE_CHECKING:
    from pathlib import Path

WRONG_RULE = """
from gigafcn.geometry import Span
from gigafcn.graph.rules.window import Convolution

right = Convolution.need


def need(self, out, axis):
    span = right(self, out, axis)
    return Span(span.start + 1, span.stop)


def wrong():
    Convolution.need = need
    return tiny()
"""


@pytest.fixture
def wrong_rule(folder: Path) -> str:
    """A model whose loading makes a rule of gigafcn wrong."""
    (folder / "wrong.py").write_text((folder / "nets.py").read_text() + WRONG_RULE)
    return "wrong.py:wrong"


def test_what_holds_is_shown_by_side_and_by_window(folder: Path) -> None:
    ended = gigafcn("verify", "nets.py:tiny", "--trust", cwd=folder)
    assert ended.code == 0, ended
    lines = ended.out.splitlines()
    for side in ("top", "bottom", "left", "right"):
        row = next(line.split() for line in lines if line.strip().startswith(side))
        assert row[1:3] == ["1", "px"]
        assert row[-2:] == ["yes", "yes"]
    assert sum("noise" in line and line.rstrip().endswith("ok") for line in lines) == 2
    assert "exact tiling holds (structural+measured" in lines[-1]


def test_windows_are_those_of_the_slide(folder: Path) -> None:
    ended = gigafcn("verify", "nets.py:tiny", "slide.tif", "--trust", "--json", cwd=folder)
    (event,) = ended.events
    found = Certificate.from_json(event)
    assert ended.code == 0
    assert {one.source for one in found.differences} == {"slide"}
    assert len({one.position for one in found.differences}) == 2


def test_the_json_is_the_certificate(folder: Path) -> None:
    ended = gigafcn("verify", "demonstration", "--json", cwd=folder)
    (event,) = ended.events
    assert event["event"] == "certificate"
    assert event["holds"] is True
    assert event["class"] == "structural+measured"


def test_a_classifier_that_does_not_pad_is_equal_at_every_position(folder: Path) -> None:
    words = ("nets.py:classifier", "slide.tif", "--trust", "--patch", "32", "--output-stride", "1")
    ended = gigafcn("verify", *words, cwd=folder)
    assert ended.code == 0, ended
    assert "81 of 32 x 32 px, every 1 x 1 px, of slide at y=" in ended.out
    row = next(line for line in ended.out.splitlines() if "dense against patch by patch" in line)
    assert "equal at every position, up to rounding: largest" in row


def test_for_a_classifier_that_pads_the_difference_is_shown(folder: Path) -> None:
    (folder / "padding.py").write_text(
        "from torch import nn\n"
        "def net():\n"
        "    conv = nn.Conv2d(3, 4, 3, 2, padding=1)\n"
        "    pool = nn.AdaptiveAvgPool2d(1)\n"
        "    return nn.Sequential(conv, pool, nn.Flatten(), nn.Linear(4, 3))\n"
    )
    ended = gigafcn("verify", "padding.py:net", "--trust", "--patch", "16,24", cwd=folder)
    assert ended.code == 0, ended
    assert "81 of 16 x 24 px, every 2 x 2 px, of noise" in ended.out
    row = next(line for line in ended.out.splitlines() if "dense against patch by patch" in line)
    assert "labels that differ" in row
    assert "the network pads, so each patch alone has a border of its own" in row


def test_a_model_that_is_not_local_ends_with_4_and_with_what_would_run_it(folder: Path) -> None:
    ended = gigafcn("verify", "nets.py:normed", "--trust", cwd=folder)
    assert ended.code == 4
    assert "not local: 1: aten.instance_norm" in ended.out
    assert "--mode blend --window PX" in ended.out
    assert "--mode patch" in ended.out


def test_a_wrong_rule_is_shown_and_ends_with_4(folder: Path, wrong_rule: str) -> None:
    ended = gigafcn("verify", wrong_rule, "--trust", cwd=folder)
    assert ended.code == 4, ended
    assert "failed: map px" in ended.out
    assert ended.out.rstrip().endswith("refuted, maps would not be exact")


def test_infer_with_a_wrong_rule_fails_before_it_writes(folder: Path, wrong_rule: str) -> None:
    words = ("infer", "slide.tif", "-m", wrong_rule, "--trust", "-o", "out.zarr")
    error = refused(4, *words, cwd=folder)
    assert "maps would not be exact: refuted: map px" in error
    assert "--no-verify" in error


def test_no_verify_maps_without_a_check(folder: Path) -> None:
    words = ("slide.tif", "-m", "nets.py:tiny", "--trust", "-o", "out.zarr")
    ended = gigafcn("infer", *words, "--no-verify", cwd=folder)
    assert ended.code == 0, ended
    assert "checked" not in ended.err
    text = (folder / "out.zarr" / "zarr.json").read_text()
    assert '"class": "structural"' in text


def test_bad_requests_are_refused(folder: Path) -> None:
    assert "no model 'nope'" in refused(4, "verify", "nope", cwd=folder)
    assert "channels 'x'" in refused(2, "verify", "demonstration", "--channels", "x", cwd=folder)
    assert "patch 'x'" in refused(2, "verify", "demonstration", "--patch", "x", cwd=folder)
    assert "windows must be at least 1" in refused(
        2, "verify", "demonstration", "--windows", "0", cwd=folder
    )
    assert refused(3, "verify", "demonstration", "missing.tif", cwd=folder)
