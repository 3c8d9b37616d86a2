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
    Row,
    classifier_rows,
    segmentation_rows,
)
from benchmarks.compare.training import CLASSIFIER, TRAINED

PAGE = Path(__file__).resolve().parents[2] / "docs" / "compare.md"
AGAINST = ("windows", MONAI, "MONAI gaussian", "MONAI buffered", "torch-em", "torch-em pipelined",
           "TIAToolbox", "dask")  # fmt: skip
Results = dict[str, Any]


def page(
    results: Results,
    dense: Results | None = None,
    scaling: Results | None = None,
    large: Results | None = None,
    second: Results | None = None,
    where: Results | None = None,
) -> str:
    """The whole page in Markdown.

    Parameters
    ----------
    results
        Of the table of peers.
    dense, scaling, large, second, where
        What the benchmarks ``dense_vgg``, ``scaling``, ``large``, ``second_slide`` and
        ``where_time_goes`` wrote, if anything.
    """
    sections = [_section(results, network) for network in results["networks"]]
    parts = [_introduction(results), *sections]
    parts += [_columns(results), _settings(results), _not_run(results)]
    parts += [
        _dense(dense) if dense else "",
        _scaling(scaling) if scaling else "",
        _large(large) if large else "",
        _second(second) if second else "",
        _where(where) if where else "",
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
            f"{machine['processor']}, {_threads(machine)}: Python {machine['python']}, "
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
        ratios.append(_range([run["over_bare"] for run in runs]))
        if runs:
            peak = f"{max(run['peak_bytes'] for run in runs) / 2**30:.2f} GiB"
    return [*speeds, *ratios, peak]


def _range(ratios: list[float]) -> str:
    if not ratios:
        return "-"
    middle = f"{statistics.median(ratios):.2f}"
    return middle if len(ratios) == 1 else f"{middle} ({min(ratios):.2f} to {max(ratios):.2f})"


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
        f"{_range(alone)} of the bare module."
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
            "memory that gigafcn's exact run took at that size; larger images than 4096² are "
            "mapped in their middle only, since each px costs the same.",
            "- Peers run the module as it is given, not folded by hand; windows and layouts are "
            "the fastest of those tried. Every process, the bare module's too, keeps the memory "
            "that it frees (glibc: `MALLOC_MMAP_THRESHOLD_` 32 MiB, `MALLOC_TRIM_THRESHOLD_` "
            "1 GiB), as gigafcn's does by itself.",
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


def _dense(dense: Results) -> str:
    rows, cells = dense["rounds"], dense["cells"]
    times = [row["times"] for row in rows]
    seconds = {
        key: statistics.median(row[f"{key}_seconds"] for row in rows)
        for key in ("dense", "dense_compute", "patches")
    }
    return "\n".join(
        [
            "## A classifier's map at once, against its patches",
            "",
            f"VGG-16 on {dense['size_px']} x {dense['size_px']} px, patches of 224 px every 32 px: "
            f"{cells[0]} x {cells[1]} answers. gigafcn's dense map took "
            f"{seconds['dense']:.0f} s from file to Zarr, {seconds['dense_compute']:.0f} s of them "
            f"for computing and storing, the rest once per model or run; the patches took "
            f"{seconds['patches']:.0f} s in preloaded batches of {dense['batch']} "
            f"without reading or writing ({_on(dense)}; "
            f"{dense['patches_timed']} of them were timed per round): {_range(times)} times as "
            "fast. VGG pads its convolutions, so the two maps are not equal. By "
            "`python -m benchmarks.dense_vgg`.",
        ]
    )


def _scaling(scaling: Results) -> str:
    rows = scaling["rows"]
    lines = [
        "## Seconds per Mpx over the size of the image",
        "",
        f"MONAI UNet(16, 32, 64, 128), an image of one colour ({_on(scaling)}), gigafcn given "
        f"{scaling['memory_bytes'] / 2**30:g} GiB. *Computing* leaves out what does not grow: "
        "analysis, planning, picture. By `python -m benchmarks.scaling`.",
        "",
        "| side, px | seconds per Mpx | computing | peak memory |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| {row['size_px']} | {row['seconds_per_mpx']:.3f} | "
        f"{row['compute_seconds_per_mpx']:.3f} | {row['peak_bytes'] / 2**30:.2f} GiB |"
        for row in rows
    ]
    return "\n".join(lines)


def _large(large: Results) -> str:
    lines = [
        "## Memory over the size of the image",
        "",
        f"{large['model']} over all of the width of an image of one colour, 2048 rows of it in "
        f"tiles 4096 px wide, and over all of the largest with a mask of tissue ({_on(large)}), "
        f"gigafcn given {large['memory']}. *Planned* is what `gigafcn plan` says beforehand. By "
        "`python -m benchmarks.large`.",
        "",
        "| image | computed | peak memory | planned | seconds | planned |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row['image']}² | {_computed(row)} | {row['peak_bytes'] / 2**20:.0f} MiB | "
        f"{row['planned_bytes'] / 2**20:.0f} MiB | {row['seconds']:.0f} | "
        f"{row['planned_seconds']:.0f} |"
        for row in large["rows"]
    ]
    return "\n".join(lines)


def _second(second: Results) -> str:
    told = [
        f"{row['model']} after {row['second_slide']['computing']:.1f} s "
        f"({row['computing_range'][0]:.1f} to {row['computing_range'][1]:.1f}), its map of "
        f"{row['size_px']}² done after {row['second_slide']['ended']:.1f} s"
        for row in second["rows"]
    ]
    return "\n".join(
        [
            "## The second slide with one model",
            "",
            "From the start of the process, imports included, `gigafcn infer` begins to compute a "
            f"second slide with {'; with '.join(told)} ({_on(second)}; medians of "
            f"{second['rounds']} processes). By `python -m benchmarks.second_slide`.",
        ]
    )


_DOINGS = ("compute", "pixels to the device", "scores to the host", "read and decode",
           "compress and store")  # fmt: skip


def _where(where: Results) -> str:
    lines = [
        f"| {row['model']}, {row['size_px']}² | {row['seconds']:.1f} | {row['before']:.1f} | "
        f"{row['tiles']:.1f} | {row['after']:.1f} | "
        + " | ".join(f"{row['threads'].get(doing, 0.0):.1f}" for doing in _DOINGS)
        + " |"
        for row in where["rows"]
    ]
    return "\n".join(
        [
            "## Where the time goes",
            "",
            f"Seconds of `infer` from file to Zarr ({_on(where)}): before the first tile "
            "(analysing and planning), tiles, and after (the picture); then seconds of threads, of "
            "which two compute where there are two columns, while others read and store on the "
            "same processors. By `python -m benchmarks.where_time_goes`.",
            "",
            "| model, image | all | before | tiles | after | computing | pixels normalised | "
            "scores: softmax, labels, rounding | reading, decoding | compressing, storing |",
            "|" + "---|" * (5 + len(_DOINGS)),
            *lines,
        ]
    )


def _computed(row: dict[str, Any]) -> str:
    if row["tissue"] is not None:
        return f"tissue, {row['tissue']:.0%} of it"
    return "{} x {} px".format(*row["computed"])


def _on(results: Results) -> str:
    machine = results["machine"]
    return f"{_threads(machine)} of an {machine['processor']}"


def _threads(machine: dict[str, str]) -> str:
    return f"{machine['threads']} thread{'s' if machine['threads'] != '1' else ''}"


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
