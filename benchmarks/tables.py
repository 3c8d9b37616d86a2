"""Write the README's table of figures from what the benchmarks measured.

python -m benchmarks.tables            # print the table
python -m benchmarks.tables --write    # put it between the README's markers
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "sweep.json"
README = ROOT / "README.md"
BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"


def speed_table(rows: list[dict[str, Any]]) -> list[str]:
    """Speed against the bare module."""
    lines = [
        "| model, image | bare module | sweep | `infer`, TIFF to Zarr | sweep ÷ bare "
        "| infer ÷ bare |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        sweep, infer = row["sweep_over_bare_range"], row["infer_over_bare_range"]
        lines.append(
            f"| {row['model']}, {_size(row['size_px'])} | {row['bare_mpx_s']:.2f} Mpx/s "
            f"({row['bare_setting']}) | {row['sweep_mpx_s']:.2f} | {row['infer_mpx_s']:.2f} | "
            f"**{row['sweep_over_bare']:.2f}** ({sweep[0]:.2f} to {sweep[1]:.2f}) | "
            f"**{row['infer_over_bare']:.2f}** ({infer[0]:.2f} to {infer[1]:.2f}) |"
        )
    return lines


def _size(px: int | list[int]) -> str:
    return f"{px}²" if isinstance(px, int) else " x ".join(str(n) for n in px)


def memory_table(rows: list[dict[str, Any]]) -> list[str]:
    """Memory and time, planned and measured."""
    lines = [
        "| image | peak memory | planned | time | planned |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {row['size_px']}² | {row['peak_bytes'] / 2**20:.0f} MiB | "
        f"{row['projected_bytes'] / 2**20:.0f} MiB | {row['seconds']:.1f} s | "
        f"{row['estimated_seconds']:.1f} s |"
        for row in rows
    ]
    return lines


def figures(results: dict[str, Any]) -> str:
    """The whole section."""
    machine = results["machine"]
    packages = ", ".join(f"{k} {v}" for k, v in machine.items() if k in ("torch", "zarr", "monai"))
    pairs = results["speed"][0]["pairs"] if results["speed"] else 0
    return "\n".join(
        [
            f"Measured by `benchmarks/bench_sweep.py` on {machine['cores']} cores of an "
            f"{machine['processor']}, {machine['threads']} threads, fp32, Python "
            f"{machine['python']}, {packages}; medians of {pairs} interleaved pairs, the range of "
            "the pairs in brackets. The *bare module* is the limit: the model alone on preloaded "
            "crops at its fastest setting, no halo, no reading, no writing, wrong at every crop "
            "edge.",
            "",
            *speed_table(results["speed"]),
            "",
            "Peak memory of the process and time of `infer` with MONAI UNet(16, 32, 64, 128) at "
            "tiles 4096 px wide, against what `gigafcn plan` says beforehand:",
            "",
            *memory_table(results["memory"]),
        ]
    )


def main() -> None:
    """Print the section or write it into the README."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true")
    text = figures(json.loads(RESULTS.read_text(encoding="utf-8")))
    if not parser.parse_args().write:
        print(text)
        return
    readme = README.read_text(encoding="utf-8")
    before, rest = readme.split(BEGIN)
    _, after = rest.split(END)
    README.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
