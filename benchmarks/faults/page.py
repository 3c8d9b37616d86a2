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
    work, driver, term = rows["workers"], rows["drivers"], rows["terminated"]
    disk, harm, store = rows["disk"], rows["damage"], rows["store"]
    failed = ", ".join(f"{n} x {kind}" for kind, n in sorted(store["failed_requests"].items()))
    return [
        (
            f"{work['kills']} times, every {work['seconds_between_kills']} s (median), one of "
            f"{work['workers']} worker processes killed (SIGKILL); {work['tiles']} tiles",
            f"{work['lost']} lost, {work['failed']} failed, {_same(work['byte_identical'])}",
        ),
        (
            f"{driver['kills']} times the command itself killed (SIGKILL) and repeated; "
            f"{driver['tiles']} tiles",
            f"{driver['lost']} lost, {_same(driver['byte_identical'])}; "
            f"{driver['begun_and_computed_again']} tiles were under way and computed again (at "
            f"most {driver['allowed']} could be), {driver['stored_and_computed_again']} that were "
            f"stored",
        ),
        (
            f"{term['signals']} times SIGTERM, and the command repeated; {term['tiles']} tiles",
            f"exit code 75 {term['ended_with_75']} times, after {term['seconds_to_end']} s "
            f"(median); {term['lost']} lost, {term['begun_and_computed_again']} computed again, "
            f"{_same(term['byte_identical'])}",
        ),
        (
            f"disk full at {disk['points']} points, then enlarged and the command repeated; "
            f"{disk['tiles']} tiles",
            f"{disk['told_what_is_needed']} times told what the map needs, {disk['torn_objects']} "
            f"torn objects, {disk['finished_byte_identical']} times finished and identical",
        ),
        (
            f"{harm['damaged']} of {harm['objects']} objects of a finished map cut short or one "
            f"bit flipped; `gigafcn check --repair`",
            f"{harm['found']} found, {harm['found_wrongly']} besides; "
            f"{harm['tiles_of_the_damage']} tiles or coarser shards computed again, "
            f"{harm['written_outside_of_them']} objects of others touched; "
            f"{_same(harm['byte_identical_after_repair'])}",
        ),
        (
            f"a map into a bucket whose store fails {sum(store['failed_requests'].values())} of "
            f"{store['requests']} requests ({failed})",
            f"{store['lost']} lost, {_same(store['byte_identical'])}",
        ),
    ]


def _same(identical: bool) -> str:
    return "identical" if identical else "**not identical**"
