"""Measure the table, or write its page.

    python -m benchmarks.compare                       # everything; 75 minutes on 2 quiet cores
    python -m benchmarks.compare --trial --out /tmp/compare.json     # does everything run?
    python -m benchmarks.compare --write               # docs/compare.md and its picture

Environments, networks, drawn images and difference maps are kept in a folder of the user's cache.
A comparison that is ended goes on where it was when it is begun again; rows that failed are tried
again then.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.compare.images import TILE_PX
from benchmarks.compare.measuring import Extent, quality, search, speed
from benchmarks.compare.page import PAGE, page
from benchmarks.compare.picture import PICTURE, write_picture
from benchmarks.compare.process import PeerFailure
from benchmarks.compare.reference import reference
from benchmarks.compare.results import Results
from benchmarks.compare.rows import classifier_rows, segmentation_rows
from benchmarks.compare.session import WARM_UP_PX, Places, Session
from benchmarks.compare.training import CLASSIFIER, RANDOM, TITLES, TRAINED, network_file
from benchmarks.machine import machine

TRIAL_PX = 1024
RESULTS = Path(__file__).resolve().parents[1] / "results" / "compare.json"
OTHERS = ("dense_vgg", "scaling", "large", "second_slide", "where_time_goes", "sweep")
"""Benchmarks whose figures are on the same page."""


def compare(network: str, places: Places, results: Results, extent: Extent, options: Any) -> None:
    """All rows of one network."""
    path = network_file(network, places.cache / "networks", places.threads)
    memory = round(options.memory_gib * 2**30)
    rows = classifier_rows(memory) if network == CLASSIFIER else segmentation_rows(memory)
    chosen = [row for row in rows if not options.rows or row.name in ("bare", *options.rows)]
    results.put("networks", network, TITLES[network])
    whole = None
    if network != CLASSIFIER and not options.speed_only:
        whole = _reference(network, path, places, results, options)
    versions = results.data["versions"]
    session = Session(
        places, network, path, chosen, versions, TRIAL_PX // 2 if options.trial else WARM_UP_PX
    )
    try:
        search(session, results, extent)
        speed(session, results, extent)
        if whole is not None:
            quality(session, results, whole, results.data["references"][network]["size"])
    finally:
        session.stop()


def _reference(
    network: str, path: Path, places: Places, results: Results, options: Any
) -> Path | None:
    known = results.data["references"].get(network)
    largest = options.reference_px or max(options.sizes)
    if known is not None:
        found = places.work / f"{network}-whole-{known['size']}.zarr"
        if found.exists():
            return found
    try:
        found, told = reference(places, network, path, largest)
    except PeerFailure as problem:
        print(f"{network}: no whole run to compare with: {problem}", flush=True)
        results.fail(network, "whole run", str(problem))
        return None
    results.forgive(network, "whole run")
    results.put("references", network, told)
    print(
        f"{network}: whole run of {told['size']} px in {told['seconds']:.0f} s, "
        f"{told['peak_bytes'] / 2**30:.1f} GiB",
        flush=True,
    )
    return found


def _options() -> argparse.Namespace:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.compare", description="gigafcn beside its peers."
    )
    parser.add_argument("--cache", type=Path, default=Path(base) / "gigafcn" / "compare")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--fresh", action="store_true", help="forget earlier figures")
    parser.add_argument("--write", action="store_true", help="write docs/compare.md")
    parser.add_argument("--networks", nargs="*", default=[RANDOM, TRAINED, CLASSIFIER])
    parser.add_argument("--rows", nargs="*", help="only these, by name")
    parser.add_argument("--sizes", nargs="*", type=int, default=[4096, 8192])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--trial", action="store_true", help=f"one round of {TRIAL_PX} px, no search of settings"
    )
    parser.add_argument("--search-px", type=int, default=4096)
    parser.add_argument("--reference-px", type=int, help="the largest that fits, unless given")
    parser.add_argument("--speed-only", action="store_true", help="no whole run, no differences")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--memory-gib", type=float, default=4.0, help="that gigafcn is given")
    parser.add_argument("--limit", type=float, default=600, help="seconds of one run of a row")
    parser.add_argument(
        "--row-seconds",
        type=float,
        default=220,
        help="no further round of a row at one size that would take it beyond this",
    )
    parser.add_argument(
        "--variant-seconds",
        type=float,
        default=40,
        help="the same for rows of which another tells most, such as MONAI's gaussian weights",
    )
    return _checked(parser)


def _checked(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """What was asked for, refused if it cannot be."""
    options = parser.parse_args()
    if options.trial:
        options.sizes, options.rounds, options.reference_px = [TRIAL_PX], 1, TRIAL_PX
    for name, sides in (("sizes", options.sizes), ("search-px", [options.search_px])):
        if any(side % TILE_PX or side < TILE_PX for side in sides):
            parser.error(f"--{name}: sides must be multiples of {TILE_PX} px")
    if unknown := set(options.networks) - set(TITLES):
        parser.error(f"--networks: no {', '.join(unknown)}; there are {', '.join(TITLES)}")
    if unknown := set(options.rows or ()) - {row.name for row in _all_rows()}:
        names = ", ".join(row.name for row in _all_rows())
        parser.error(f"--rows: no {', '.join(unknown)}; there are {names}")
    return options


def _kept(name: str) -> dict[str, Any] | None:
    """What another script measured, if it did."""
    path = RESULTS.with_name(f"{name}.json")
    return Results.read(path) if path.exists() else None


def _all_rows() -> list[Any]:
    return [*segmentation_rows(0), *classifier_rows(0)]


def main() -> None:
    """Measure, or write the page."""
    options = _options()
    if options.write:
        found = Results.read(options.out)
        drawn = write_picture(options.cache / "work", found)
        others = [_kept(name) for name in OTHERS]
        text = page(found, *others)
        PAGE.write_text(text, encoding="utf-8")
        print(f"wrote {PAGE}{f' and {PICTURE}' if drawn else ''}")
        return
    torch.set_num_threads(options.threads)
    conditions = {"machine": machine(), "memory_bytes": round(options.memory_gib * 2**30)}
    results = Results(options.out, conditions, fresh=options.fresh)
    places = Places(options.cache, options.threads, options.limit)
    places.work.mkdir(parents=True, exist_ok=True)
    search_px = None if options.trial else options.search_px
    extent = Extent(
        options.sizes, options.rounds, options.row_seconds, options.variant_seconds, search_px
    )
    began = time.perf_counter()
    for network in options.networks:
        compare(network, places, results, extent, options)
    results.data["minutes"] = round((time.perf_counter() - began) / 60, 1)
    results.save()
    print(f"{results.data['minutes']} minutes; wrote {options.out}")


if __name__ == "__main__":
    main()
