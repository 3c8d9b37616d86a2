"""What was to be reached, what was, and where a miss comes from.

The targets are those that the project set itself for its speed and memory; none of them moves with
what is measured.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from benchmarks.compare.rows import BLEND, EXACT, MONAI, MONAI_LARGE
from benchmarks.compare.sections import DOINGS
from benchmarks.compare.training import CLASSIFIER, RANDOM

if TYPE_CHECKING:
    from collections.abc import Iterator

Results = dict[str, Any]

WITHIN, FLAT, MOST_SECONDS, MEMORY = 0.30, 0.10, 5.0, 4 << 30
_PEERS = {
    "MONAI": ((MONAI, MONAI_LARGE, "MONAI gaussian", "MONAI buffered"), 2.0),
    "TIAToolbox": (("TIAToolbox",), 2.0),
    "torch-em": (("torch-em", "torch-em pipelined"), 1.4),
    "exact windows in the same memory": (("windows",), 4.0),
}
_SWEPT = ("MONAI UNet(16, 32, 64, 128)", "ResNet-18 U-Net")


@dataclass(frozen=True, slots=True)
class Target:
    """One line of the table."""

    what: str
    asked: str
    measured: str
    reached: bool
    why: str = ""
    """Where a miss comes from."""

    def line(self) -> str:
        """In Markdown."""
        told = "reached" if self.reached else f"**missed**{f': {self.why}' if self.why else ''}"
        return f"| {self.what} | {self.asked} | {self.measured} | {told} |"


def targets_section(results: Results, **others: Results | None) -> str:
    """The table of targets; what was not measured has no line.

    Parameters
    ----------
    results
        Of the table of peers.
    others
        What the benchmarks ``sweep``, ``dense``, ``large``, ``second`` and ``where`` wrote.
    """
    known = {name: found for name, found in others.items() if found}
    where = _computing(known["where"]) if "where" in known else {}
    outside = _outside(known["where"], _SWEPT[1]) if "where" in known else ""
    found = [*_against_peers(results, where, outside)]
    for name, lines in (("sweep", _swept), ("dense", _dense), ("second", _second)):
        found += lines(known[name], where) if name in known else ()
    found += _memory(known["large"]) if "large" in known else ()
    found += _planned(known)
    if not found:
        return ""
    return "\n".join(
        [
            "## Targets",
            "",
            "What the project asked of itself. Speeds are from file to Zarr at the largest size "
            "above, of the ResNet-18 U-Net with random weights unless another is named; a peer's "
            "is that of its fastest row. No GPU was at hand, so what is asked of one is not "
            "measured (`python -m benchmarks.gpu`).",
            "",
            "| what | asked | measured | |",
            "|---|---|---|---|",
            *(target.line() for target in found),
        ]
    )


def _against_peers(results: Results, where: dict[str, str], outside: str) -> Iterator[Target]:
    size = max((run["size"] for run in results["runs"]), default=0)
    exact = _pace(results, RANDOM, EXACT, size)
    if exact is not None:
        why = where.get(_SWEPT[1], "") + outside
        yield _least("exact ÷ bare module, all included", 0.95, exact, why)
    for name, (rows, asked) in _PEERS.items():
        theirs = [(pace, row) for row in rows if (pace := _pace(results, RANDOM, row, size))]
        if exact is None or not theirs:
            continue
        pace, row = max(theirs)
        why = _repeated(results, row)
        yield _least(f"exact ÷ {name}", asked, exact / pace, why)
    blend, monai = (_pace(results, RANDOM, row, size) for row in (BLEND, MONAI))
    if blend and monai:
        yield _least("blend ÷ MONAI", 1.1, blend / monai, where.get("ResNet-18 U-Net, blend", ""))
    patch = _pace(results, CLASSIFIER, "patch", size)
    if patch is not None:
        why = where.get("ResNet-18 classifier, patch", "")
        yield _least("patch ÷ bare module on preloaded batches", 0.9, patch, why)


def _pace(results: Results, network: str, row: str, size: int) -> float | None:
    """Median speed over the bare module's, at a size."""
    key = (network, row, size)
    runs = [r for r in results["runs"] if (r["network"], r["row"], r["size"]) == key]
    return float(statistics.median(r["over_bare"] for r in runs)) if runs else None


def _least(what: str, asked: float, measured: float, why: str) -> Target:
    return Target(what, f"at least {asked:g}", f"{measured:.2f}", measured >= asked, why)


def _repeated(results: Results, row: str) -> str:
    """How much more than the image a peer computes: the most that sparing it can gain."""
    runs = [r for r in results["runs"] if (r["network"], r["row"]) == (RANDOM, row)]
    told = next((r["window"] for r in runs[::-1] if "window" in r), None)
    if told is not None:
        times = told["times"]
    else:
        settings = results["settings"].get(RANDOM, {}).get(row, {}).get("settings", {})
        if "overlap" not in settings:
            return ""
        window, size = settings["window"], max(r["size"] for r in runs)
        step = round(window * (1 - settings["overlap"]))
        times = ((-(-(size - window) // step) + 1) * window / size) ** 2
    return f"its windows hold {times:.2f} times the image, which is all that sweeping can spare"


def _computing(where: Results) -> dict[str, str]:
    """By model: how much of what its threads do in the tiles is not computing."""
    told = {}
    for row in where["rows"]:
        busy = sum(row["threads"].get(doing, 0.0) for doing in DOINGS)
        told[row["model"]] = (
            f"of what its threads do, computing is {row['threads']['compute'] / busy:.0%}"
        )
    return told


def _outside(where: Results, model: str) -> str:
    """How much of the time of a run passes before and after the tiles."""
    for row in where["rows"]:
        if row["model"] == model:
            share = (row["before"] + row["after"]) / row["seconds"]
            return f"; {share:.0%} of its time passes before and after the tiles"
    return ""


def _swept(sweep: Results, where: dict[str, str]) -> Iterator[Target]:
    rows = {row["model"]: row for row in sweep["speed"]}
    for model in _SWEPT:
        if model in rows:
            what = f"exact ÷ bare module, tiles alone, {model}"
            yield _least(what, 0.95, rows[model]["infer_over_bare"], where.get(model, ""))
    if _SWEPT[1] in rows:
        what = f"the same, aimed at for {_SWEPT[1]}"
        yield _least(what, 1.2, rows[_SWEPT[1]]["infer_over_bare"], where.get(_SWEPT[1], ""))


def _dense(dense: Results, _where: dict[str, str]) -> Iterator[Target]:
    yield _least("dense ÷ patch by patch at stride 32, VGG-16", 20, dense["times"], "")


def _second(second: Results, _where: dict[str, str]) -> Iterator[Target]:
    for row in second["rows"]:
        took = row["second_slide"]["computing"]
        yield Target(
            f"second slide, {row['model']}",
            f"computes within {MOST_SECONDS:g} s",
            f"{took:.1f} s",
            took <= MOST_SECONDS,
        )


def _memory(large: Results) -> Iterator[Target]:
    strips = [row["peak_bytes"] for row in large["rows"] if row["tissue"] is None]
    if strips:
        spread = max(strips) / min(strips) - 1
        sides = [row["image"] for row in large["rows"]]
        what = f"peak memory from {min(sides)}² to {max(sides)}², {large['model']}"
        yield Target(what, f"flat within {FLAT:.0%}", f"{spread:.1%}", spread <= FLAT)
    peak = max(row["peak_bytes"] for row in large["rows"])
    what = f"the same, at most, {max(row['image'] for row in large['rows'])}² included"
    yield Target(what, "at most 4 GiB", f"{peak / 2**30:.2f} GiB", peak <= MEMORY)


def _planned(known: dict[str, Results]) -> Iterator[Target]:
    swept, large, where = (known.get(name, {}) for name in ("sweep", "large", "where"))
    times = [row["plan_over_measured"] for row in swept.get("speed", ())]
    times += [row["estimated_seconds"] / row["seconds"] for row in swept.get("memory", ())]
    times += [row["planned_seconds"] / row["seconds"] for row in large.get("rows", ())]
    times += [row["planned"] / row["tiles"] for row in where.get("rows", ()) if "planned" in row]
    if times:
        told = f"{min(times):.2f} to {max(times):.2f} of it"
        reached = max(times) <= 1 + WITHIN and min(times) >= 1 - WITHIN
        yield Target("planned time against measured", f"within {WITHIN:.0%}", told, reached)
