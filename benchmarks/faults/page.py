"""The fault table as a page, from what was measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "faults.json"
PAGE = ROOT / "docs" / "faults.md"

INTRODUCTION = """# What survives what

<!-- Written by `python -m benchmarks.faults`; do not edit. -->

Each row was measured with real processes, signals, disks and connections. *Lost* are tiles that the
finished map lacks; *identical* means that every object of the map has the very bytes of a map made
in one go. Whatever ended a run, the same command went on.
"""


def page(record: dict[str, Any]) -> str:
    """The whole page."""
    rows, machine = record["rows"], record["machine"]
    loads = [row["load"] for row in rows.values()]
    lines = [
        INTRODUCTION,
        "| what was done | what became of the map |",
        "|---|---|",
        *(f"| {done} | {became} |" for done, became in _rows(rows)),
        "",
        f"{machine['cores']} cores of an {machine['processor']}, Python {machine['python']}, torch "
        f"{machine['torch']}, zarr {machine['zarr']}, distributed {machine['distributed']}; other "
        f"work was running (load {min(loads):.0f} to {max(loads):.0f}), which makes it slower. "
        f"Tiles of 256 px, a net of three "
        f"layers. A short form runs with the tests (`tests/run/test_fault_table.py`).",
    ]
    return "\n".join(lines) + "\n"


def _rows(rows: dict[str, Any]) -> list[tuple[str, str]]:
    told = {
        "workers": _workers,
        "drivers": _drivers,
        "terminated": _terminated,
        "disk": _disk,
        "damage": _damage,
        "store": _store,
    }
    return [tell(rows[name]) for name, tell in told.items() if name in rows]


def _workers(row: dict[str, Any]) -> tuple[str, str]:
    return (
        f"{row['kills']} times within {row['seconds']} s one of {row['workers']} worker processes "
        f"killed (SIGKILL), after every four tiles or so; {row['tiles']} tiles",
        f"{row['lost']} lost, {row['failed']} failed, {_same(row['byte_identical'])}",
    )


def _drivers(row: dict[str, Any]) -> tuple[str, str]:
    return (
        f"{row['kills']} times the command itself killed (SIGKILL) and repeated; "
        f"{row['tiles']} tiles",
        f"{row['lost']} lost, {_same(row['byte_identical'])}; "
        f"{row['stored_and_computed_again']} tiles computed again that had a receipt, "
        f"{row['begun_and_computed_again']} that were stored without one (at most "
        f"{row['allowed']} were in flight)",
    )


def _terminated(row: dict[str, Any]) -> tuple[str, str]:
    return (
        f"{row['signals']} times SIGTERM, and the command repeated; {row['tiles']} tiles",
        f"exit code 75 {row['ended_with_75']} times, after {row['seconds_to_end']} s "
        f"(median); {row['lost']} lost, {row['begun_and_computed_again']} stored without a "
        f"receipt, "
        f"{_same(row['byte_identical'])}",
    )


def _disk(row: dict[str, Any]) -> tuple[str, str]:
    return (
        f"disk full at {row['points']} points, then enlarged and the command repeated; "
        f"{row['tiles']} tiles",
        f"{row['told_what_is_needed']} times told what the map needs, {row['torn_objects']} "
        f"torn objects, {row['finished_byte_identical']} times finished and identical",
    )


def _damage(row: dict[str, Any]) -> tuple[str, str]:
    return (
        f"{row['damaged']} of {row['objects']} objects of a finished map cut short or one bit "
        f"flipped; `gigafcn check --repair`",
        f"{row['found']} found, {row['found_wrongly']} besides; "
        f"{row['tiles_of_the_damage']} tiles or coarser shards computed again, "
        f"{row['written_outside_of_them']} objects of others touched; "
        f"{_same(row['byte_identical_after_repair'])}",
    )


def _store(row: dict[str, Any]) -> tuple[str, str]:
    failed = ", ".join(f"{n} x {kind}" for kind, n in sorted(row["failed_requests"].items()))
    return (
        f"a map into a bucket whose store fails {sum(row['failed_requests'].values())} of "
        f"{row['requests']} requests ({failed}); {row['tiles']} tiles",
        f"{row['lost']} lost, {_same(row['byte_identical'])}",
    )


def _same(identical: bool) -> str:
    return "identical" if identical else "**not identical**"
