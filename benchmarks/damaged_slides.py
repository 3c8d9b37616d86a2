"""What becomes of 500 damaged slides: refused, read around, or read as if nothing were wrong?

Small files of ten kinds are cut short or have bytes overwritten, anywhere in them, and are then
opened and swept in strips.  Each kind runs in a process of its own, so that a crash inside a
library would be seen, and not end the others.  A damaged JPEG often decodes to something, which
nothing can tell from a picture: such slides count as "read".

    python -m benchmarks.damaged_slides        # writes benchmarks/results/damaged_slides.json
"""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import tifffile

from benchmarks.machine import machine, peak_bytes
from gigafcn.errors import GigafcnError
from gigafcn.geometry import Box
from gigafcn.slide import open_slide
from tests import scanner_files as scanners

RESULT = Path(__file__).with_name("results") / "damaged_slides.json"
EACH = 50
STRIP = 64
MOST_PX = (600, 700)
PATIENCE_S = 300
PIXELS = np.random.default_rng(0).integers(0, 256, (384, 512, 3), np.uint8)

Writer = Callable[[Path], None]


def _tiff(path: Path, **options: Any) -> None:
    tifffile.imwrite(path, PIXELS, photometric="rgb", **options)


KINDS: dict[str, tuple[str, str, Writer]] = {
    "SVS": ("a.svs", "a.svs", lambda p: scanners.write_svs(p, PIXELS)),
    "SCN": ("a.scn", "a.scn", lambda p: scanners.write_scn(p, PIXELS, (64, 48))),
    "NDPI": ("a.ndpi", "a.ndpi", lambda p: scanners.write_ndpi(p, PIXELS, restart=8)),
    "MRXS, data": ("a.mrxs", "a/Data0000.dat", lambda p: scanners.write_mrxs(p, PIXELS)),
    "MRXS, index": ("a.mrxs", "a/Index.dat", lambda p: scanners.write_mrxs(p, PIXELS)),
    "DICOM": ("a.dcm", "a.dcm", lambda p: scanners.write_dicom(p, PIXELS)),
    "Philips": ("a.tiff", "a.tiff", lambda p: scanners.write_philips(p, PIXELS)),
    "TIFF, JPEG": ("a.tif", "a.tif", lambda p: _tiff(p, tile=(64, 64), compression="jpeg")),
    "TIFF, JPEG 2000": ("a.tif", "a.tif", lambda p: _tiff(p, tile=(64, 64), compression=34712)),
    "TIFF, LZW strips": ("a.tif", "a.tif", lambda p: _tiff(p, rowsperstrip=32, compression="lzw")),
}
"""Slide, file of it that is damaged, and how it is written."""


def damaged(data: bytes, number: int, random: np.random.Generator) -> bytes:
    """Every fourth cut short, every fourth with 200 bytes overwritten, the others with 8."""
    if number % 4 == 0:
        return data[: int(random.integers(100, len(data)))]
    changed = bytearray(data)
    for at in random.integers(0, len(data), 200 if number % 4 == 3 else 8):
        changed[at] = int(random.integers(0, 256))
    return bytes(changed)


def outcome(path: Path) -> str:
    """Open a slide and sweep it: "refused", "read around" or "read"."""
    try:
        slide = open_slide(path)
        height, width = (
            min(n, most) for n, most in zip(slide.levels[0].shape, MOST_PX, strict=True)
        )
        failed = set[Box]()
        for y in range(0, height, STRIP):
            failed.update(slide.look(Box(y, 0, min(y + STRIP, height), width)).failed)
        slide.close()
    except GigafcnError:
        return "refused"
    return "read around" if failed else "read"


def campaign(kind: str, results: Any) -> None:
    """Try all damaged slides of a kind, in this process."""
    logging.disable(logging.CRITICAL)
    name, target, write = KINDS[kind]
    random, found, slowest = np.random.default_rng(5), Counter[str](), 0.0
    with TemporaryDirectory() as folder:
        write(Path(folder) / name)
        file = Path(folder) / target
        whole = file.read_bytes()
        for number in range(EACH):
            file.write_bytes(damaged(whole, number, random))
            start = time.perf_counter()
            try:
                found[outcome(Path(folder) / name)] += 1
            except Exception as error:
                found[f"unexpected {type(error).__name__}"] += 1
            slowest = max(slowest, time.perf_counter() - start)
    results.put((dict(found), round(slowest, 2), peak_bytes() >> 20))


def main() -> None:
    """Run all campaigns, one after the other."""
    rows, spawn = {}, multiprocessing.get_context("spawn")
    for kind in KINDS:
        results = spawn.Queue()
        process = spawn.Process(target=campaign, args=(kind, results))
        process.start()
        try:
            found, slowest, memory = results.get(timeout=PATIENCE_S)
            rows[kind] = {"slides": EACH, **found, "slowest_s": slowest, "peak_MiB": memory}
        except Exception:
            process.kill()
            rows[kind] = {"slides": EACH, "crashed or hung": EACH}
        process.join()
        print(kind, rows[kind], flush=True)
    document = {"machine": machine(), "load": round(os.getloadavg()[0], 1), "kinds": rows}
    RESULT.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
