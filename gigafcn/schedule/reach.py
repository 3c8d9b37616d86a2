"""Can workers that somebody else started reach the slide, and write where the map goes?

Asked of all of them before the first tile: a map on the local disk of another machine, or a slide
that is not mounted there, would fail every tile that they get.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from gigafcn.errors import RunError
from gigafcn.storage.url_path import is_url, place_of

if TYPE_CHECKING:
    from distributed import Client

    from gigafcn.schedule.handover import Handover

PATIENCE_S = 5.0
"""A network file system may show a new folder late."""

LISTED = 3


async def missing_here(handover: Handover) -> str | None:
    """What this worker cannot reach, in words; None if it can work."""
    folder = place_of(handover.folder)
    for _ in range(round(PATIENCE_S / 0.25)):
        if folder.is_dir():
            break
        await asyncio.sleep(0.25)
    else:
        return f"has no {folder.parent}" if not folder.parent.is_dir() else "sees another disk"
    probe = folder / f"probe-{uuid4().hex}"
    try:
        probe.write_bytes(b"")
        probe.unlink()
        slide = handover.read()[0].slide
    except OSError as error:
        return f"cannot write there ({error.strerror})"
    if not is_url(slide) and not Path(slide).exists():
        return "does not see the slide"
    return None


def check_reach(client: Client, handover: Handover) -> None:
    """Ask all workers.

    Raises
    ------
    RunError
        Naming who cannot reach what, and the remedy.
    """
    answers = client.run(missing_here, handover)
    lacking = {address: answer for address, answer in answers.items() if answer is not None}
    if not lacking:
        return
    listed = ", ".join(f"{address} {answer}" for address, answer in [*lacking.items()][:LISTED])
    more = f" and {len(lacking) - LISTED} more" if len(lacking) > LISTED else ""
    where = place_of(handover.folder).parent
    raise RunError(
        f"{len(lacking)} of {len(answers)} workers cannot work in {where}: "
        f"worker {listed}{more}; slide and output must be on a disk that all workers share"
    )
