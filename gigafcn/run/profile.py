"""Where did a run's time go?  Its stretches as a trace that browsers draw.

The format is Chrome's trace events (complete events, "ph": "X", in microseconds), which
https://ui.perfetto.dev and chrome://tracing open: one row per thread, one group per process.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from gigafcn.errors import RunError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from gigafcn.engine.tile import TileReceipt

COMPUTING_THREAD = "computing"
"""What the thread is called that is none of a reader's or writer's."""


def write_profile(path: Path, receipts: Sequence[TileReceipt]) -> Path:
    """Write the stretches of all tiles, and return where.

    Raises
    ------
    RunError
        If the file cannot be written.
    """
    try:
        path.write_text(json.dumps({"traceEvents": trace_events(receipts)}), encoding="utf-8")
    except OSError as error:
        raise RunError(
            f"profile {path} cannot be written: {error.strerror}; the map is finished"
        ) from error
    return path


def trace_events(receipts: Sequence[TileReceipt]) -> list[dict[str, Any]]:
    """Events of all tiles, and the names of their processes and threads."""
    stretches = [(r.tile, stretch) for r in receipts for stretch in r.stretches]
    if not stretches:
        return []
    first = min(stretch.begin for _, stretch in stretches)
    processes = {name: i for i, name in enumerate(sorted({s.process for _, s in stretches}))}
    rows = sorted({(s.process, _row(s.thread)) for _, s in stretches})
    threads = {row: number for number, row in enumerate(rows)}
    events: list[dict[str, Any]] = [
        {
            "name": stretch.doing,
            "ph": "X",
            "ts": round(1e6 * (stretch.begin - first), 1),
            "dur": round(1e6 * stretch.seconds, 1),
            "pid": processes[stretch.process],
            "tid": threads[stretch.process, _row(stretch.thread)],
            "args": {"tile": list(tile)},
        }
        for tile, stretch in stretches
    ]
    for (process, row), number in threads.items():
        pid = processes[process]
        for kind, tid, name in (("process_name", 0, process), ("thread_name", number, row)):
            events.append({"name": kind, "ph": "M", "pid": pid, "tid": tid, "args": {"name": name}})
    return events


def _row(thread: str) -> str:
    """Readers and writers are threads of one tile each; all tiles of a process share their rows."""
    return thread if thread.startswith("gigafcn-") else COMPUTING_THREAD
