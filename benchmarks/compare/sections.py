"""Sections of the page that other scripts measured."""

from __future__ import annotations

import math
import statistics
from typing import Any

Results = dict[str, Any]


def dense_section(dense: Results) -> str:
    """A classifier's map against its patches."""
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
            f"without reading or writing ({on(dense)}; "
            f"{dense['patches_timed']} of them were timed per round): {ranged(times)} times as "
            "fast. VGG pads its convolutions, so the two maps are not equal. By "
            "`python -m benchmarks.dense_vgg`.",
        ]
    )


def scaling_section(scaling: Results) -> str:
    """Seconds per Mpx."""
    rows = scaling["rows"]
    lines = [
        "## Seconds per Mpx over the size of the image",
        "",
        f"MONAI UNet(16, 32, 64, 128), an image of one colour ({on(scaling)}), gigafcn given "
        f"{scaling['memory_bytes'] / 2**30:g} GiB. *Computing* leaves out what does not grow: "
        "analysis, planning, picture. Tiles are the best within what is given, not of one size, "
        "and memory is theirs; at one width of tiles it is flat, see below. By "
        "`python -m benchmarks.scaling`.",
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


def large_section(large: Results) -> str:
    """Peak memory and time, planned and measured."""
    lines = [
        "## Memory over the size of the image",
        "",
        f"{large['model']} over all of the width of an image of one colour, 2048 rows of it in "
        f"tiles 4096 px wide, and over all of the largest with a mask of tissue ({on(large)}), "
        f"gigafcn given {large['memory']}. *Planned* is what `gigafcn plan` says beforehand. By "
        "`python -m benchmarks.large`.",
        "",
        "| image | computed | peak memory | planned | seconds | planned |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row['image']}² | {_computed(row)} | {row['peak_bytes'] / 2**20:.0f} MiB | "
        f"{row['planned_bytes'] / 2**20:.0f} MiB | {row['seconds']:.1f} | "
        f"{row['planned_seconds']:.1f} |"
        for row in large["rows"]
    ]
    return "\n".join(lines)


def second_section(second: Results) -> str:
    """How soon a second slide computes."""
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
            f"second slide with {'; with '.join(told)} ({on(second)}; medians of "
            f"{second['rounds']} processes). By `python -m benchmarks.second_slide`.",
        ]
    )


DOINGS = ("compute", "pixels to the device", "scores to the host", "read and decode",
           "compress and store")  # fmt: skip
"""What threads do in a tile, each once: "read" and "decode" are parts of "read and decode"."""


def where_section(where: Results) -> str:
    """Profiles, summed."""
    lines = [
        f"| {row['model']}, {row['size_px']}² | {row['seconds']:.1f} | {row['before']:.1f} | "
        f"{row['tiles']:.1f} | {row.get('planned', math.nan):.1f} | {row['after']:.1f} | "
        + " | ".join(f"{row['threads'].get(doing, 0.0):.1f}" for doing in DOINGS)
        + " |"
        for row in where["rows"]
    ]
    return "\n".join(
        [
            "## Where the time goes",
            "",
            f"Seconds of `infer` from file to Zarr ({on(where)}): before the first tile "
            "(analysing and planning), tiles (*planned* is what `gigafcn plan` says of them "
            "beforehand), and after (the picture); then seconds of threads, of which two compute "
            "where there are two columns, while others read and store on the same processors. "
            "Blend has windows of 512 px that overlap by a quarter, patch windows of 256 px side "
            "by side. By `python -m benchmarks.where_time_goes`.",
            "",
            "| model, image | all | before | tiles | planned | after | computing | "
            "pixels normalised | scores: softmax, labels, rounding | reading, decoding | "
            "compressing, storing |",
            "|" + "---|" * (6 + len(DOINGS)),
            *lines,
        ]
    )


def _computed(row: dict[str, Any]) -> str:
    if row["tissue"] is not None:
        return f"tissue, {row['tissue']:.0%} of it"
    return "{} x {} px".format(*row["computed"])


def on(results: Results) -> str:
    """What it was measured on."""
    machine = results["machine"]
    return f"{threads(machine)} of an {machine['processor']}"


def threads(machine: dict[str, str]) -> str:
    """How many threads, with the noun."""
    return f"{machine['threads']} thread{'s' if machine['threads'] != '1' else ''}"


def ranged(ratios: list[float]) -> str:
    """Median and range."""
    if not ratios:
        return "-"
    middle = f"{statistics.median(ratios):.2f}"
    return middle if len(ratios) == 1 else f"{middle} ({min(ratios):.2f} to {max(ratios):.2f})"
