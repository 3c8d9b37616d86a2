"""Help is complete, and comes at once."""

from __future__ import annotations

import subprocess
import sys

import pytest

from gigafcn.cli import main
from gigafcn.config import InferOptions, PlanOptions


@pytest.fixture(autouse=True)
def wide_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "300")


def shown(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main([*words]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("words", [(), ("--help",)])
def test_the_overview_names_every_command(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    text = shown(capsys, *words)
    for line in (
        "infer        Map slides to class scores.",
        "plan         Say what mapping a slide would take; nothing is written.",
        "inspect      Show how far a model sees, layer by layer.",
        "view         Show a map in neuroglancer",
        "demo         Draw a slide, map it with the bundled model, and score the map.",
    ):
        assert line in text


@pytest.mark.parametrize(("command", "options"), [("infer", InferOptions), ("plan", PlanOptions)])
def test_every_option_is_explained(
    command: str, options: type[PlanOptions], capsys: pytest.CaptureFixture[str]
) -> None:
    text = shown(capsys, command, "--help")
    for name, field in options.model_fields.items():
        assert f"--{name.replace('_', '-')} " in text
        assert field.description is not None
        assert " ".join(field.description.split()) in text


def test_the_exit_codes_are_in_the_help_of_infer(capsys: pytest.CaptureFixture[str]) -> None:
    assert "Exit codes: 0 done, 2 usage" in shown(capsys, "infer", "--help")


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(capsys, "--version").startswith("gigafcn 0.")


def test_help_does_not_wait_for_heavy_libraries() -> None:
    program = (
        "import sys; from gigafcn.cli import main; main(['infer', '--help']);"
        "print(sorted({'torch', 'zarr', 'dask', 'distributed', 'numpy', 'matplotlib', 'tifffile'}"
        " & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_package_runs_as_a_module() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "gigafcn", "--tiel"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr.startswith("gigafcn: error: ")
