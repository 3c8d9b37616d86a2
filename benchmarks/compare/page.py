"""The page that the results make: docs/compare.md."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

from benchmarks.compare.rows import (
    BARE,
    BLEND,
    EXACT,
    MONAI,
    MONAI_LARGE,
    Row,
    classifier_rows,
    segmentation_rows,
)
from benchmarks.compare.sections import (
    dense_section,
    large_section,
    ranged,
    scaling_section,
    second_section,
    threads,
    where_section,
)
from benchmarks.compare.targets import targets_section
from benchmarks.compare.training import CLASSIFIER, TRAINED

PAGE = Path(__file__).resolve().parents[2] / "docs" / "compare.md"
AGAINST = ("windows", MONAI, MONAI_LARGE, "MONAI gaussian", "MONAI buffered", "torch-em",
           "torch-em pipelined", "TIAToolbox", "dask")  # fmt: skip
Results = dict[str, Any]


def page(
    results: Results,
    dense: Results | None = None,
    scaling: Results | None = None,
    large: Results | None = None,
    second: Results | None = None,
    where: Results | None = None,
    sweep: Results | None = None,
) -> str:
    """The whole page in Markdown.

    Parameters
    ----------
    results
        Of the table of peers.
    dense, scaling, large, second, where, sweep
        What the benchmarks ``dense_vgg``, ``scaling``, ``large``, ``second_slide``,
        ``where_time_goes`` and ``bench_sweep`` wrote, if anything.
    """
    sections = [_section(results, network) for network in results["networks"]]
    targets = targets_section(
        results, sweep=sweep, dense=dense, large=large, second=second, where=where
    )
    parts = [_introduction(results), *sections, targets]
    parts += [_columns(results), _settings(results), _not_run(results)]
    parts += [
        dense_section(dense) if dense else "",
        scaling_section(scaling) if scaling else "",
        large_section(large) if large else "",
        second_section(second) if second else "",
        where_section(where) if where else "",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _introduction(results: Results) -> str:
    machine = results["conditions"]["machine"]
    own = results["versions"].get("gigafcn", {})
    return "\n".join(
        [
            "# Side by side",
            "",
            "<!-- Written by `python -m benchmarks.compare --write`; do not edit. -->",
            "",
            "gigafcn beside the tools that tile with overlap and hope it is enough: one drawn "
            "image, one model, one machine, each tool in an environment of its own from "
            "PyPI. What every map is compared with is the *whole run*: the untouched module on the "
            "whole image at once.",
            "",
            f"Measured by `python -m benchmarks.compare` on {machine['cores']} cores of an "
            f"{machine['processor']}, {threads(machine)}: Python {machine['python']}, "
            f"torch {own.get('torch', machine['torch'])}; {_versions(results)}.",
            "",
            "![Difference from the whole run, tool by tool: seams](images/compare.jpg)",
        ]
    )


def _versions(results: Results) -> str:
    found: dict[str, str] = {}
    for versions in results["versions"].values():
        found |= {n: v for n, v in versions.items() if n in ("monai", "torch-em", "tiatoolbox")}
    dask = results["versions"].get("dask", {}).get("dask")
    found |= {"dask": dask} if dask else {}
    return ", ".join(f"{name} {version}" for name, version in found.items()) or "no peers"


def _section(results: Results, network: str) -> str:
    sizes = sorted({run["size"] for run in results["runs"] if run["network"] == network})
    if not sizes:
        return ""
    title = results["networks"][network]
    lines = [f"## {title}", ""]
    whole = results["references"].get(network)
    if whole is not None:
        lines += [_whole(results, network, whole), ""]
    lines += _table(results, network, sizes, compared=whole is not None)
    factors = [_factors(results, network, size) for size in sizes]
    return "\n".join([*lines, "", *(f for f in factors if f)]).rstrip()


def _whole(results: Results, network: str, whole: dict[str, Any]) -> str:
    found = [q["whole_mean_iu"] for q in results["quality"] if _is(q, network, EXACT)]
    iu = f", mean IU {found[0]:.4f}" if network == TRAINED and found else ""
    return (
        f"Whole run: {whole['size']} x {whole['size']} px, {whole['peak_bytes'] / 2**30:.1f} GiB"
        f"{iu}. It is the largest size, up to those timed, whose whole run fits "
        f"{whole['most_bytes'] / 2**30:.0f} GiB; differences are of that size."
    )


def _table(results: Results, network: str, sizes: list[int], *, compared: bool) -> list[str]:
    heads = ["", *(f"Mpx/s, {s}²" for s in sizes), *(f"÷ bare module, {s}²" for s in sizes)]
    heads.append(f"peak memory, {sizes[-1]}²")
    if compared:
        heads += ["largest difference", "mean difference", "labels that differ"]
        heads += ["mean IU"] if network == TRAINED else []
    lines = [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
    for row in _rows(network):
        cells = [row.title, *_speeds(results, network, row, sizes)]
        if compared:
            cells += _differences(results, network, row)
        if any(cell != "-" for cell in cells[1:]):
            lines.append(f"| {' | '.join(cells)} |")
    return lines


def _rows(network: str) -> tuple[Row, ...]:
    return classifier_rows(0) if network == CLASSIFIER else segmentation_rows(0)


def _speeds(results: Results, network: str, row: Row, sizes: list[int]) -> list[str]:
    speeds, ratios, peak = [], [], "-"
    for size in sizes:
        if row.name == BARE:
            bare = [v for run in _runs(results, network, size) for v in run["bare_mpx_s"]]
            speeds.append(f"{statistics.median(bare):.2f}" if bare else "-")
            ratios.append("1")
            continue
        runs = _runs(results, network, size, row.name)
        speeds.append(f"{_median(runs, 'mpx_s'):.2f}" if runs else "-")
        ratios.append(ranged([run["over_bare"] for run in runs]))
        if runs:
            peak = f"{max(run['peak_bytes'] for run in runs) / 2**30:.2f} GiB"
    return [*speeds, *ratios, peak]


def _differences(results: Results, network: str, row: Row) -> list[str]:
    found = [q for q in results["quality"] if _is(q, network, row.name)]
    if not found:
        return ["-"] * (4 if network == TRAINED else 3)
    line = found[-1]
    cells = [f"{line['largest']:.1g}", f"{line['mean']:.1g}", _share(line)]
    if network != TRAINED:
        return cells
    # Of a part the mean IU is another one, whoever maps it.
    return [*cells, "-" if row.same_memory else f"{line['mean_iu']:.4f}"]


def _share(line: dict[str, Any]) -> str:
    count = round(line["labels"] * line["pixels"])
    if count < 1e-4 * line["pixels"]:
        return f"{count} px" if count else "0"
    return f"{line['labels']:.2%}"


def _factors(results: Results, network: str, size: int) -> str:
    """How many times as fast as each peer gigafcn's exact run is; blend against MONAI."""
    mine = _runs(results, network, size, EXACT)
    if not mine:
        return ""
    own = _median(mine, "over_bare")
    told = []
    for name in AGAINST:
        theirs = _runs(results, network, size, name)
        if theirs:
            told.append(f"{_title(network, name)} {own / _median(theirs, 'over_bare'):.2f}")
    lines = (
        [f"How many times as fast the exact run is at {size}²: {'; '.join(told)}."] if told else []
    )
    blend, monai = (_runs(results, network, size, name) for name in (BLEND, MONAI))
    if blend and monai:
        times = _median(blend, "over_bare") / _median(monai, "over_bare")
        lines.append(f"gigafcn's blend against MONAI, constant: {times:.2f}.")
    alone = [run["over_bare"] * run["seconds"] / run["compute_seconds"] for run in mine]
    lines.append(
        f"Without analysing, planning and the picture the exact run is at "
        f"{ranged(alone)} of the bare module."
    )
    return " ".join(lines) + "\n"


def _title(network: str, name: str) -> str:
    return next(row.title for row in _rows(network) if row.name == name)


def _columns(results: Results) -> str:
    return "\n".join(
        [
            "## What the columns are",
            "",
            "- *Mpx/s*: from the path of a tiled TIFF to the finished Zarr map, probabilities as "
            "uint8 (TIAToolbox stores float32 and offers no choice). gigafcn's figure includes "
            "analysing and planning, labels, pyramid and overview picture. Libraries are loaded, "
            "the model is built and a 1024 px image is mapped before any time counts. Medians.",
            "- *÷ bare module*: divided by the speed of the bare module, the model alone on "
            "preloaded crops at its best crop, layout and folding, which ran for "
            "2 s before and after each run of a row. Rows took turns; the median of the ratios, "
            "and in brackets their range. A row that takes long ran fewer rounds.",
            "- *Peak memory*: largest resident size of the row's process, which maps nothing else. "
            f"gigafcn is given {results['conditions']['memory_bytes'] / 2**30:g} GiB.",
            "- *Differences*: of maps stored as float32, over all px and classes, the image's "
            "border included, which some peers mirror. *Mean IU* is against the mask that the "
            "image was drawn from. Exact is not by itself more accurate.",
            "- *Exact windows, recomputed*: tile and halo as one window of the module, in the "
            "memory that gigafcn's exact run took at that size (one window takes no more; many "
            "leave pieces beside it). Of larger images than 4096² a middle of whole tiles is "
            "mapped, differences are of a middle of 2048².",
            "- Peers run the module as it is given, not folded by hand; windows, layouts and "
            "batches are the fastest of those tried, overlaps, halos and MONAI's windows are "
            "given: which of them is faster depends on how many fit the image. Every process, "
            "the bare module's too, keeps the memory that it frees (glibc: "
            "`MALLOC_MMAP_THRESHOLD_` 32 MiB, `MALLOC_TRIM_THRESHOLD_` 1 GiB), as gigafcn's does "
            "by itself.",
            *(f"- {remark}" for remark in results.get("remarks", [])),
        ]
    )


def _settings(results: Results) -> str:
    lines = ["## Settings", "", "Found by search, the others given:", ""]
    for network, rows in results["settings"].items():
        for name, entry in rows.items():
            told = ", ".join(f"{key} {_value(value)}" for key, value in entry["settings"].items())
            lines.append(f"- {network}, {name}: {told} ({len(entry['tried']) or 1} tried)")
    return "\n".join(lines)


def _value(value: Any) -> str:
    if isinstance(value, int) and value >= 2**30:
        return f"{value / 2**30:g} GiB"
    return str(value)


def _not_run(results: Results) -> str:
    failed = results["failed"]
    if not failed:
        return ""
    lines = [f"- {f['network']}, {f['row']}: {f['why']}" for f in failed]
    return "\n".join(["## Not run", "", *lines])


def _runs(
    results: Results, network: str, size: int, row: str | None = None
) -> list[dict[str, Any]]:
    return [
        run
        for run in results["runs"]
        if run["network"] == network and run["size"] == size and row in (None, run["row"])
    ]


def _is(line: dict[str, Any], network: str, row: str) -> bool:
    return bool(line["network"] == network and line["row"] == row)


def _median(runs: list[dict[str, Any]], key: str) -> float:
    return float(statistics.median(run[key] for run in runs))
