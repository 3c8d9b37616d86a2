"""Which codec stores the chunks of a map, and what does it cost?

Maps of the demonstration model, in chunks of 256 px on one core: how fast each codec compresses,
what share of the bytes is left, how fast it reads back.

    python -m benchmarks.codecs                # a minute; benchmarks/results/codecs.json
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numcodecs import Blosc

import gigafcn
from benchmarks.compare.images import drawn
from benchmarks.machine import machine

if TYPE_CHECKING:
    from numpy.typing import NDArray

RESULTS = Path(__file__).resolve().parent / "results" / "codecs.json"
SIZE, CHUNK = 2048, 256
CODECS = (("lz4", 1), ("lz4", 5), ("zstd", 1), ("zstd", 3))


def maps(folder: Path) -> dict[str, NDArray[Any]]:
    """Scores (c, y, x) in every type that is stored, and labels (1, y, x)."""
    image, _ = drawn(folder, SIZE)
    gigafcn.infer(image, "demonstration", folder / "map.zarr", dtype="float32", verify=False)
    stored = gigafcn.open_map(folder / "map.zarr")
    scores = np.asarray(stored.scores[0][...])
    return {
        "float32": scores,
        "float16": scores.astype(np.float16),
        "uint8": np.rint(scores * 255).astype(np.uint8),
        "labels": np.asarray(stored.labels[0][...])[None],
    }


def measured(pixels: NDArray[Any], codec: Blosc) -> dict[str, float]:
    """MB/s of compressing and of reading back, and the share of bytes that is left."""
    chunks = [
        np.ascontiguousarray(plane[y : y + CHUNK, x : x + CHUNK])
        for plane in pixels
        for y in range(0, SIZE, CHUNK)
        for x in range(0, SIZE, CHUNK)
    ]
    times, encoded = [], [codec.encode(chunk) for chunk in chunks]
    for call, given in ((codec.encode, chunks), (codec.decode, encoded)):
        start = time.perf_counter()
        for item in given:
            call(item)
        times.append(time.perf_counter() - start)
    left = sum(map(len, encoded)) / pixels.nbytes
    speeds = [pixels.nbytes / seconds / 1e6 for seconds in times]
    return {"writes_mb_s": speeds[0], "reads_mb_s": speeds[1], "left": left}


def main() -> None:
    """Measure all and write a JSON file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, default=RESULTS)
    chosen = parser.parse_args()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        for name, pixels in maps(Path(folder)).items():
            shuffle = Blosc.SHUFFLE if pixels.itemsize > 1 else Blosc.NOSHUFFLE
            for codec, level in CODECS:
                found = measured(pixels, Blosc(codec, level, shuffle))
                rows.append({"pixels": name, "codec": codec, "level": level} | found)
                print(json.dumps(rows[-1]), flush=True)
    results = {"machine": machine(), "size_px": SIZE, "rows": rows}
    chosen.out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
