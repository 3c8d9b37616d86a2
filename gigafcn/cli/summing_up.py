"""What became of many slides, as a table on the screen and as ``summary.csv``.

The file is written anew after each slide, so a run that is cut short leaves what is known, and a
later run of the same command brings it up to date.
"""

from __future__ import annotations

import csv
import io
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

from gigafcn.cli.reporting import show_table
from gigafcn.errors import StorageError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gigafcn.run import Result

MAPPED, BEFORE, PARTLY, FAILED = "mapped", "finished before", "partly read", "failed"


@dataclass(frozen=True, slots=True)
class Row:
    """One slide."""

    slide: str
    map: str
    status: str
    width_px: int | None = None
    """Of the stored map."""

    height_px: int | None = None
    seconds: float | None = None
    mpx_per_s: float | None = None
    """Input px mapped per second of this run."""

    exports: str = ""
    """Files, separated by "; "."""

    message: str = ""
    warnings: str = ""
    """What of the input is doubtful, separated by "; "."""

    @property
    def failed(self) -> bool:
        """Whether something of the slide has no map."""
        return self.status in (PARTLY, FAILED)

    @classmethod
    def of_result(cls, slide: str, result: Result, exports: Sequence[Path]) -> Row:
        """A slide with a map."""
        figures = result.summary
        lost = len(figures.get("failed_regions") or ())
        status = BEFORE if figures.get("finished_before") else MAPPED
        speed = figures.get("mpx_per_s")
        return cls(
            slide=slide,
            map=str(result.path),
            status=PARTLY if lost else status,
            width_px=result.shape[2],
            height_px=result.shape[1],
            seconds=round(result.seconds, 2),
            mpx_per_s=None if speed is None else round(speed, 3),
            exports="; ".join(str(path) for path in exports),
            message=f"{lost} regions could not be read" if lost else "",
            warnings="; ".join(doubt.message for doubt in figures.get("doubts", ())),
        )

    @classmethod
    def of_failure(cls, slide: str, target: Path, message: str) -> Row:
        """A slide without a map."""
        return cls(slide=slide, map=str(target), status=FAILED, message=message)


HEADER = [column.name for column in fields(Row)]
OLDER = {"warnings"}
"""Columns that summaries of earlier versions lack."""


def check_place(path: Path) -> None:
    """Refuse a file that is there and is no summary.

    Raises
    ------
    UsageError
        Naming it.
    """
    if not path.exists():
        return
    try:
        header = next(csv.reader(path.read_text(encoding="utf-8").splitlines()), None)
        own = header in (HEADER, [column for column in HEADER if column not in OLDER])
    except (OSError, UnicodeDecodeError, csv.Error):
        own = False
    if not own:
        raise UsageError(
            f"{path} exists and was not written by gigafcn, so the summary does not replace it; "
            f"move that away or choose another -o"
        )


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    """Write the summary, whole or not at all.

    Raises
    ------
    StorageError
        When the disk refuses.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(HEADER)
    writer.writerows(["" if value is None else value for value in astuple(row)] for row in rows)
    from gigafcn.output.disk import replace_file  # loads numpy

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, text.getvalue().encode())
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror or error}") from error


def show_rows(rows: Sequence[Row]) -> None:
    """Print one line per slide."""
    show_table(
        [
            (
                row.slide,
                row.status,
                f"{row.width_px} x {row.height_px}" if row.width_px else "",
                "" if row.seconds is None else f"{row.seconds:.1f}",
                row.message or row.map,
            )
            for row in rows
        ],
        ("slide", "status", "map px", "s", "map, or what went wrong"),
    )
