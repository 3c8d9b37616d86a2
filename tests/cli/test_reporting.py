"""What a run says: JSON lines for programs, one closing line for people."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from gigafcn.cli.reporting import (
    bar_progress,
    closing_line,
    json_progress,
    say_json,
    show_table,
)
from gigafcn.progress import Progress

Capture = pytest.CaptureFixture[str]
START = Progress(stage="compute", tiles_done=0, tiles=3, pixels_done=0, pixels=300, seconds=0.5)


def test_a_json_line_is_one_object_with_its_event(capsys: Capture) -> None:
    say_json("result", map=Path("a.zarr"), stride=Fraction(1, 2), halo=(np.int64(3), 4))
    line = capsys.readouterr().out
    assert line.endswith("\n")
    assert json.loads(line) == {"event": "result", "map": "a.zarr", "stride": 0.5, "halo": [3, 4]}


def test_json_progress_is_thinned_but_tells_the_end(capsys: Capture) -> None:
    with json_progress("case") as report:
        for done in range(4):
            report(replace(START, tiles_done=done, pixels_done=100 * done))
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [event["tiles_done"] for event in events] == [0, 3]
    assert events[-1]["slide"] == "case"
    assert events[-1]["pixels"] == 300


def test_without_a_terminal_a_line_now_and_then_says_how_far_a_run_is(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gigafcn.cli.reporting.LINE_INTERVAL_S", 0.0)
    late = replace(
        START, tiles_done=1, pixels_done=150, seconds=1e-4, workers=4, failed=1, retried=2
    )
    with bar_progress("case") as report:
        report(late)
    assert capsys.readouterr().err == (
        "gigafcn: case compute 50%, 1 of 3 tiles, 1.5 Mpx/s, 4 workers, 1 failed, 2 retried\n"
    )


def test_a_bar_is_for_terminals_only(capsys: Capture) -> None:
    with bar_progress("case") as report:
        report(START)
    assert capsys.readouterr() == ("", "")


def test_the_closing_line_says_size_time_speed_halo_mode_bottleneck_and_place() -> None:
    result = SimpleNamespace(
        path=Path("case.zarr"),
        shape=(3, 2967, 2220),
        seconds=12.34,
        summary={
            "mpx_per_s": 0.5337,
            "halo": (47, 46, 47, 46),
            "mode": "exact",
            "padding": "padded to 2968 x 2224 px",
            "scores": "softmax (3 output channels)",
            "model": "demonstration",
            "bottleneck": "computing",
            "bottleneck_share": 0.914,
            "picture": Path("case.png"),
        },
    )
    assert closing_line(cast("Any", result)) == (
        "2220 x 2967 px in 12.3 s, 0.534 Mpx/s while mapping, halo 47/46/47/46 px, exact, "
        "model demonstration, bottleneck computing (91%), padded to 2968 x 2224 px, activation "
        "softmax (3 output channels): case.zarr, picture case.png"
    )


def test_a_piped_table_is_not_wrapped(capsys: Capture) -> None:
    show_table([("a" * 200, "1"), ("b", "22")], ("layer", "stride"))
    lines = capsys.readouterr().out.splitlines()
    assert any("a" * 200 in line for line in lines)
    assert lines[-1].split() == ["b", "22"] or lines[-2].split() == ["b", "22"]


def test_text_that_looks_like_markup_is_left_alone(capsys: Capture) -> None:
    show_table([("net[0]", "[bold]")])
    assert capsys.readouterr().out.split() == ["net[0]", "[bold]"]
