"""Run the fault table and write it into docs/faults.md.

python -m benchmarks.faults               # all campaigns, some minutes on a quiet machine
python -m benchmarks.faults disk damage   # some of them; the other rows stay as they are
python -m benchmarks.faults --write       # the page only, from benchmarks/results/faults.json

To fill disks it mounts small ones in memory, which needs root.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.faults import campaigns
from benchmarks.faults.page import PAGE, RESULTS, page
from benchmarks.faults.setting import setting
from benchmarks.machine import machine
from tests import commands

if TYPE_CHECKING:
    from collections.abc import Callable


PATIENCE_S = 1200
"""Other work may be running."""


def campaigns_of(folder: Path) -> dict[str, Callable[[], dict[str, Any]]]:
    """What measures each row, by name."""
    large, small = setting(folder / "large", 10, 20), setting(folder / "small", 4, 5)
    whole, part = campaigns.undisturbed(large), campaigns.undisturbed(small)
    return {
        "workers": lambda: campaigns.workers_killed(large, whole, workers=2, tiles_between=4),
        "drivers": lambda: campaigns.drivers_killed(large, whole, kills=20, with_workers=3),
        "terminated": lambda: campaigns.terminated(large, whole, times=20),
        "disk": lambda: campaigns.disk_full(small, part, points=10),
        "damage": lambda: campaigns.shards_damaged(large, whole, count=100),
        "store": lambda: campaigns.store_fails(large, whole, share=0.05),
    }


def measure(names: list[str]) -> None:
    """Run campaigns, all if none is named, and note each as soon as it is done."""
    commands.PATIENCE_S = PATIENCE_S
    known = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {"rows": {}}
    with tempfile.TemporaryDirectory() as folder:
        found = campaigns_of(Path(folder))
        for name in names or found:
            load, start = os.getloadavg()[0], time.monotonic()
            figures = found[name]()
            seconds = round(time.monotonic() - start)
            known["rows"][name] = {**figures, "seconds": seconds, "load": round(load, 1)}
            print(name, json.dumps(known["rows"][name]), flush=True)
            record = {"machine": machine(), "rows": known["rows"]}
            RESULTS.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def main() -> None:
    """Measure, or write the page from what was measured."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="campaigns; all if none is named")
    parser.add_argument("--write", action="store_true", help="only the page")
    given = parser.parse_args()
    if not given.write:
        measure(given.names)
    PAGE.write_text(page(json.loads(RESULTS.read_text(encoding="utf-8"))), encoding="utf-8")


if __name__ == "__main__":
    main()
