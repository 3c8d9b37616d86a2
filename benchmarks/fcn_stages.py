"""Put the table of the FCN stages into docs/ideas/skips.md, from what training them left.

python -m gigafcn.train fcn fcn-stages          # trains; hours on two cores
python -m benchmarks.fcn_stages fcn-stages      # copies the figures here and writes the table
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from gigafcn.train.stages import RESULT_NAME

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / RESULT_NAME
PAGE = ROOT / "docs" / "ideas" / "skips.md"
BEGIN, END = "<!-- stages: begin -->", "<!-- stages: end -->"


def section(record: dict[str, Any]) -> str:
    """The table and how it came about."""
    classes = list(record["stages"][0]["iu"])
    heads = ["net", "mean IU", *(f"IU {c}" for c in classes), "pixel accuracy", "steps", "time"]
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for stage in record["stages"]:
        cells = [f"FCN-{stage['stride']}s", f"**{stage['mean_iu']:.3f}**"]
        cells += [f"{stage['iu'][c]:.3f}" for c in classes]
        cells += [f"{stage['pixel_accuracy']:.3f}", str(stage["steps"])]
        lines.append("| " + " | ".join([*cells, f"{stage['seconds'] / 60:.0f} min"]) + " |")
    return "\n".join(
        [
            *lines,
            "",
            f"VGG-16's widths divided by {record['divisor']}, batch norm, no pretraining; seed "
            f"{record['seed']}, batches of {record['batch']} patches of {record['patch_px']} px "
            f"from {record['drawn_pictures']} drawn pictures, {record['threads']} thread(s), torch "
            f"{record['torch']}; measured on {record['test_pictures']} other drawn pictures. Each "
            "net starts from the one above it, so it has also learnt for longer.",
        ]
    )


def main() -> None:
    """Copy the figures and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="?", help="where training left its results")
    folder = parser.parse_args().folder
    if folder is not None:
        RESULTS.write_text((folder / RESULT_NAME).read_text(encoding="utf-8"), encoding="utf-8")
    record = json.loads(RESULTS.read_text(encoding="utf-8"))
    before, rest = PAGE.read_text(encoding="utf-8").split(BEGIN)
    _, after = rest.split(END)
    PAGE.write_text(f"{before}{BEGIN}\n{section(record)}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
