"""The house rules that a machine can keep: sizes, names, silence at import."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[1]
MOST_LINES = 400
MOST_LINES_OF_A_FUNCTION = 40
SHAPELESS_NAMES = {"utils", "util", "helpers", "helper", "common", "misc"}

SOURCES = sorted(
    path for room in ("gigafcn", "tests", "benchmarks") for path in (ROOT / room).rglob("*.py")
)


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def functions_of(path: Path) -> Iterator[tuple[str, int]]:
    """Name and length of each function, without its signature and docstring."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) is not None else node.body
            assert node.end_lineno is not None
            yield node.name, node.end_lineno - body[0].lineno + 1 if body else 0


@pytest.mark.parametrize("path", SOURCES, ids=named)
def test_a_file_is_short_enough_to_be_read_at_once(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= MOST_LINES


@pytest.mark.parametrize("path", SOURCES, ids=named)
def test_a_function_fits_on_a_screen(path: Path) -> None:
    too_long = {n: lines for n, lines in functions_of(path) if lines > MOST_LINES_OF_A_FUNCTION}
    assert too_long == {}


def test_every_module_is_named_for_what_it_holds() -> None:
    assert [named(path) for path in SOURCES if path.stem in SHAPELESS_NAMES] == []


def test_every_module_says_which_question_it_answers() -> None:
    silent = [
        p for p in SOURCES if p.read_text() and not ast.get_docstring(ast.parse(p.read_text()))
    ]
    assert [named(path) for path in silent] == []


def test_importing_gigafcn_prints_nothing_and_configures_no_logging() -> None:
    program = (
        "import logging, warnings; warnings.simplefilter('error');"
        "import gigafcn, gigafcn.cli, gigafcn.config;"
        "assert not logging.getLogger().handlers;"
        "assert not logging.getLogger('gigafcn').handlers"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
