"""What every refusal of the command line has in common."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.commands import gigafcn

if TYPE_CHECKING:
    from pathlib import Path

MODEL = ("-m", "nets.py:tiny", "--trust")


def contents(folder: Path) -> dict[str, bytes | None]:
    """Everything in a folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
        if "__pycache__" not in path.parts
    }


def refused(code: int, *words: str, cwd: Path, file_bytes: int | None = None) -> str:
    """Run a command that must fail with one line, nothing on stdout and nothing left behind."""
    before = contents(cwd)
    ended = gigafcn(*words, cwd=cwd, file_bytes=file_bytes)
    assert ended.code == code, ended
    assert ended.out == ""
    assert contents(cwd) == before
    return ended.error
