"""Search the peers' settings, let the rows take turns, compare their maps with the whole run."""

from __future__ import annotations

import math
import shutil
import statistics
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr

from benchmarks.compare.differences import Map, compared, difference_map
from benchmarks.compare.images import drawn
from benchmarks.compare.process import PeerFailure
from benchmarks.compare.rows import BARE, EXACT, Row

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from benchmarks.compare.results import Results
    from benchmarks.compare.session import Session

Settings = dict[str, Any]

SEARCH_PX = 4096
AGAIN = 3
"""The fastest settings of a search that are timed again."""

TURNS = 2
"""Times that they are, in turn; medians decide, since the luckiest of many is not the best."""

QUALITY_RECOMPUTED_PX = 2048
"""Side of the part that recomputed windows map to be compared."""


@dataclass(frozen=True, slots=True)
class Extent:
    """How much to measure."""

    sizes: Sequence[int]
    rounds: int
    row_seconds: float
    """No further round of a row begins that would take it beyond this, at one size."""

    variant_seconds: float
    """The same for rows of which another tells most."""

    search_px: int | None = SEARCH_PX
    """Side of the image that settings are tried on; None takes the first of each row."""


def search(session: Session, results: Results, extent: Extent) -> None:
    """Find the settings of every row that has none yet; rows that fail are noted."""
    kept = results.data["settings"].setdefault(session.network, {})
    for row in session.rows:
        results.forgive(session.network, row.name)
        if row.name in kept:
            continue
        try:
            kept[row.name] = _searched(session, row, kept, extent.search_px)
        except PeerFailure as problem:
            _failed(session, results, row, str(problem))
        results.data["versions"] = session.versions
        results.save()


def _searched(session: Session, row: Row, kept: dict[str, Any], size: int | None) -> dict[str, Any]:
    taken: Settings = {}
    if row.like is not None and row.like in kept:
        taken = {key: kept[row.like]["settings"][key] for key in row.taken}
    candidates = [candidate | taken for candidate in row.candidates()]
    if size is None or len(candidates) == 1:
        return {"settings": candidates[0], "tried": []}
    paces = _paces(session, row, candidates, size)
    run = [i for i, pace in enumerate(paces) if math.isfinite(pace)]
    first = sorted(run, key=paces.__getitem__)[:AGAIN]
    turns = [[_pace(session, row, candidates[i], size) for i in first] for _ in range(TURNS)]
    for i, again in zip(first, zip(*turns, strict=True), strict=True):
        paces[i] = statistics.median([paces[i], *again])
    if row.name != BARE:
        session.end(row)  # what other settings took counts in no peak of memory
    fastest, number = min((paces[i], i) for i in first)
    best = candidates[number]
    told = {key: best[key] for key in row.search}
    print(
        f"{session.network}, {row.name}: best of {len(paces)} settings {told}, "
        f"{1 / fastest:.2f} Mpx/s",
        flush=True,
    )
    tried = zip(candidates, paces, strict=True)
    lines = [
        {"settings": candidate, "seconds_per_mpx": pace if math.isfinite(pace) else None}
        for candidate, pace in tried
    ]
    return {"settings": best, "tried": lines}


def _paces(session: Session, row: Row, candidates: list[Settings], size: int) -> list[float]:
    """Seconds per Mpx of each setting; infinity for one that fails where another does not."""
    paces, failure = [], None
    for candidate in candidates:
        try:
            paces.append(_pace(session, row, candidate, size))
        except PeerFailure as problem:
            failure = problem
            paces.append(math.inf)
            print(f"{session.network}, {row.name}: {candidate} failed: {problem}", flush=True)
    if failure is not None and not any(map(math.isfinite, paces)):
        raise failure
    return paces


def _pace(session: Session, row: Row, settings: Settings, size: int) -> float:
    """Seconds per Mpx."""
    answer = session.run(row, settings, size)
    if row.name == BARE:  # runs later in a process that has run no other setting, and knows none
        session.end(row)
    return float(answer["seconds"] / (answer.get("pixels", size * size) / 1e6))


def speed(session: Session, results: Results, extent: Extent) -> None:
    """Every row at every size, round by round; the bare module runs between any two."""
    known = results.data["settings"][session.network]
    if BARE not in known:
        return
    rows = [row for row in session.rows if row.name in known and row.name != BARE]
    for size in extent.sizes:
        for number in range(extent.rounds):
            for row in rows if number % 2 == 0 else rows[::-1]:
                key = {"network": session.network, "size": size, "row": row.name}
                done = results.found("runs", **key)
                failed = results.found("failed", network=session.network, row=row.name)
                if len(done) > number or failed or _too_long(row, done, extent):
                    continue
                try:
                    line = _timed(session, results, row, size)
                except PeerFailure as problem:
                    _failed(session, results, row, f"at {size} px: {problem}")
                    continue
                results.add("runs", key | {"round": number} | line)
                _say(session, row, size, number, line)


def _too_long(row: Row, done: list[dict[str, Any]], extent: Extent) -> bool:
    """Whether one more round would take a row beyond its time."""
    if not done:
        return False
    took: list[float] = [run["seconds"] for run in done]
    allowed = extent.variant_seconds if row.variant else extent.row_seconds
    return sum(took) + took[-1] > allowed


def _timed(session: Session, results: Results, row: Row, size: int) -> dict[str, Any]:
    known = results.data["settings"][session.network]
    settings = _completed(session, results, row, size)
    bare = known[BARE]["settings"]
    before = session.bare_speed(bare)
    answer = session.run(row, settings, size)
    after = session.bare_speed(bare)
    pixels = answer.pop("pixels", size * size)
    mpx_s = pixels / answer["seconds"] / 1e6
    kept = {k: v for k, v in answer.items() if k not in ("array", "axes", "box")}
    speeds = {"bare_mpx_s": [before, after], "mpx_s": mpx_s, "pixels": pixels}
    return kept | speeds | {"over_bare": mpx_s / ((before + after) / 2)}


def _completed(session: Session, results: Results, row: Row, size: int) -> Settings:
    """The row's settings, with the memory of gigafcn's exact run where it is to have the same."""
    settings: Settings = dict(results.data["settings"][session.network][row.name]["settings"])
    if row.same_memory:
        exact = results.found("runs", network=session.network, size=size, row=EXACT)
        if not exact:
            raise PeerFailure("gigafcn's exact run, whose memory it gets, has no figures")
        settings["memory"] = exact[0]["peak_bytes"]
    return settings


def _failed(session: Session, results: Results, row: Row, why: str) -> None:
    print(f"{session.network}, {row.name}: not run: {why}", flush=True)
    results.fail(session.network, row.name, why)


def _say(session: Session, row: Row, size: int, number: int, line: dict[str, Any]) -> None:
    print(
        f"{time.strftime('%H:%M:%S')} {session.network} {size} px, round {number + 1}, "
        f"{row.name}: {line['seconds']:.1f} s, {line['mpx_s']:.2f} Mpx/s, "
        f"{line['over_bare']:.2f} of the bare module, {line['peak_bytes'] / 2**30:.2f} GiB",
        flush=True,
    )


def quality(session: Session, results: Results, reference: Path, size: int) -> None:
    """Compare every row's map, stored as float32, with the whole run and the truth."""
    known = results.data["settings"][session.network]
    whole = zarr.open_array(reference, mode="r")
    truth = np.load(drawn(session.places.images, size)[1], mmap_mode="r")
    for row in session.rows:
        key = {"network": session.network, "row": row.name, "size": size}
        if not row.differences or row.name not in known or results.found("quality", **key):
            continue
        start = time.perf_counter()
        settings = dict(known[row.name]["settings"])
        if row.same_memory:
            found = results.found("runs", network=session.network, row=EXACT)
            settings |= {"memory": found[-1]["peak_bytes"]} if found else {"memory": 0}
            settings["most_px"] = QUALITY_RECOMPUTED_PX
        try:
            answer = session.run(row, settings, size, "float32")
        except PeerFailure as problem:
            _failed(session, results, row, f"at {size} px in float32: {problem}")
            continue
        path = session.map_path(row)
        found_map = Map.opened(path / answer["array"], answer["axes"], answer.get("box"), size)
        line = compared(found_map, whole, truth)
        _keep_picture(session, row, found_map, whole)
        shutil.rmtree(path, ignore_errors=True)
        results.add("quality", key | line | {"row_seconds": time.perf_counter() - start})
        print(
            f"{time.strftime('%H:%M:%S')} {session.network} {size} px, {row.name}: differs by at "
            f"most {line['largest']:.2g}, {line['labels']:.2%} of labels, mean IU "
            f"{line['mean_iu']:.4f}",
            flush=True,
        )


def _keep_picture(session: Session, row: Row, found: Map, whole: Any) -> None:
    """The difference map of the middle, for the picture."""
    folder = session.places.work / "differences"
    folder.mkdir(exist_ok=True)
    name = f"{session.network}-{row.name.replace(' ', '-')}.npy"
    if found.covers_all:
        np.save(folder / name, difference_map(found, whole))
