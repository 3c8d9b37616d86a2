"""Run the table's rows, or write its page.

    python -m benchmarks.architectures                   # measure every row (half an hour)
    python -m benchmarks.architectures --only MONAI      # only rows whose name begins so
    python -m benchmarks.architectures --write           # docs/architectures.md from the results

Each model is built and measured in a process of its own, forked from one that has imported the
libraries and exported one small model, so that one that fails or hangs costs its row alone and
imports count in no model's time.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import time
import traceback
import warnings
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from benchmarks.architectures.measure import measure
from benchmarks.architectures.page import page, summary
from benchmarks.architectures.zoo import entries
from benchmarks.machine import machine
from gigafcn.analysis import analyze

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from benchmarks.architectures.entry import Entry

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "architectures.json"
PAGE = ROOT / "docs" / "architectures.md"
LIBRARIES = ("timm", "segmentation_models_pytorch", "torchvision")
ROW_SECONDS = 600
"""A row that takes longer is given up."""


def _measured(entry: Entry, answers: Connection) -> None:
    """Measure in a process of its own; what fails is a row as well."""
    warnings.simplefilter("ignore")
    try:
        answers.send(measure(entry))
    except Exception as error:  # whatever a library's model raises
        traceback.print_exc()
        answers.send(_failed(entry, f"{type(error).__name__}: {error}"))


def _failed(entry: Entry, reason: str) -> dict[str, Any]:
    return {
        "library": entry.library,
        "architecture": entry.architecture,
        "variant": entry.variant,
        "failed": " ".join(reason.split())[:300],
    }


def run_row(entry: Entry) -> dict[str, Any]:
    """One row, within its time."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_measured, args=(entry, theirs))
    start = time.perf_counter()
    process.start()
    theirs.close()
    try:
        row = ours.recv() if ours.poll(ROW_SECONDS) else _failed(entry, f"over {ROW_SECONDS} s")
    except EOFError:
        row = _failed(entry, "the process died (out of memory?)")
    process.kill()
    process.join()
    row["row_seconds"] = time.perf_counter() - start
    print(summary(row), flush=True)
    return dict(row)


def run(only: str, workers: int, out: Path) -> None:
    """Measure rows, writing after each; rows of an earlier run not asked for are kept."""
    torch.set_num_threads(1)
    rows, how = entries()
    analyze(nn.Conv2d(3, 2, 3, padding=1), size=64)
    wanted = [entry for entry in rows if f"{entry.library} {entry.name}".startswith(only)]
    before = json.loads(out.read_text(encoding="utf-8"))["rows"] if only and out.exists() else []
    known = {_key(row): row for row in before}
    order = [_key(_failed(entry, "")) for entry in rows]
    versions = {name: metadata.version(name) for name in LIBRARIES}
    found = machine() | versions | {"torchvision imported": how}
    out.parent.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(workers) as pool:
        for row in pool.map(run_row, wanted):
            known[_key(row)] = row
            ordered = [known[key] for key in order if key in known]
            text = json.dumps({"machine": found, "rows": ordered}, indent=1)
            out.write_text(text + "\n", encoding="utf-8")


def _key(row: dict[str, Any]) -> tuple[str, str, str]:
    return row["library"], row["architecture"], row["variant"]


def main() -> None:
    """Measure, or write the page."""
    parser = argparse.ArgumentParser(description="Which public architectures are local?")
    parser.add_argument("--only", default="", help="rows whose 'library name' begins so")
    parser.add_argument("--workers", type=int, default=1, help="rows measured at a time")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--write", action="store_true", help="write docs/architectures.md")
    chosen = parser.parse_args()
    if not chosen.write:
        run(chosen.only, chosen.workers, chosen.out)
        return
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(page(json.loads(chosen.out.read_text(encoding="utf-8"))), encoding="utf-8")


if __name__ == "__main__":
    main()
