"""Begin a map, go on with one, or find it finished: the same command does what is left to do.

What is at the output decides.  Nothing: begin.  An unfinished map of the same run: go on with its
plan, computing only what has no valid receipt.  A finished map of the same run: nothing to do.
Anything else is refused by naming what differs, unless it is to be replaced.
"""

from __future__ import annotations

import logging
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from gigafcn.errors import UsageError
from gigafcn.output.disk import storing
from gigafcn.output.ownership import KEY, attributes_of, is_ours, make_room
from gigafcn.output.store import create_map
from gigafcn.plan.run_plan import RunPlan
from gigafcn.run.fingerprint import fingerprint
from gigafcn.run.places import picture_of, places
from gigafcn.run.tuning import tuned
from gigafcn.schedule.lock import locked
from gigafcn.schedule.run_folder import Receipt, RunFolder, refuse_another
from gigafcn.storage.zarr_stores import remove_tree

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from gigafcn.run.request import Request

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Begun:
    """A run that holds its output."""

    request: Request
    """With the stored plan, if an earlier run left one."""

    folder: RunFolder
    fingerprint: dict[str, Any]
    done: dict[str, Receipt]
    """Receipts of pieces that are stored as they were written."""

    finished: dict[str, Any] | None = None
    """What the finished map says about its making; None if there is work to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class At:
    """Where a map goes, and what may be done to what is there."""

    path: Path
    overwrite: bool = False
    """Replace a map that gigafcn wrote."""

    resume: bool = False
    """Refuse to begin anew."""

    reopen: bool = False
    """Compute again what is damaged of a finished map."""


@contextmanager
def begun(request: Request, at: At) -> Iterator[Begun]:
    """Hold an output for a run; on failure keep what is done, and nothing if nothing is.

    Raises
    ------
    UsageError
        If the output belongs to something else, or another run holds it.
    RunError
        If the disk refuses.
    """
    path = at.path
    folder = RunFolder(path)
    made = [parent for parent in path.parents if not parent.exists()]
    _make(folder)
    try:
        with ExitStack() as held:
            with storing(path, request.plan.spec, "the lock"):
                held.enter_context(locked(folder.lock))
            run = _taken_up(request, folder, at)
            try:
                yield run
            except BaseException:
                if not folder.receipts() and run.finished is None:
                    _remove(folder)
                raise
    finally:
        for empty in (folder.path, *made):
            with suppress(OSError):
                empty.rmdir()


def _remove(folder: RunFolder) -> None:
    remove_tree(folder.map_path)
    folder.forget()


def _make(folder: RunFolder) -> None:
    try:
        folder.path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"output {folder.map_path} cannot be created: {error.strerror}; choose another place"
        ) from error


def _taken_up(request: Request, folder: RunFolder, at: At) -> Begun:
    path, asked = folder.map_path, fingerprint(request)
    if not at.overwrite:
        earlier = folder.begun()
        if (path / "zarr.json").exists() and is_ours(path):
            if earlier is None or not (at.reopen or _lacks_tiles(path)):
                return _finished(request, folder, asked)
            refuse_another(earlier, asked, path)
            (path / "zarr.json").unlink()  # it is not finished any more
        if earlier is not None and is_ours(path):
            return _gone_on_with(request, folder, earlier, asked)
    if at.resume:
        raise UsageError(f"there is no run to resume at {path}; leave --resume out to begin one")
    request = tuned(request)
    _create(request, folder, asked, overwrite=at.overwrite)
    return Begun(request, folder, asked, {})


def _lacks_tiles(path: Path) -> bool:
    """Whether a finished map lacks tiles that were given up."""
    described = attributes_of(path).get(KEY, {})
    return bool(described.get("tiles", {}).get("failed"))


def _create(request: Request, folder: RunFolder, asked: dict[str, Any], *, overwrite: bool) -> None:
    """Create map and run folder; if the disk refuses, leave neither."""
    path, spec = folder.map_path, request.plan.spec
    # A map without its root document and without a plan was killed before it computed anything.
    empty = is_ours(path) and not (path / "zarr.json").exists()
    try:
        create_map(path, spec, overwrite=overwrite or empty)
        picture_of(path).unlink(missing_ok=True)  # of the map that was replaced
        with storing(path, spec, "the plan"):
            folder.begin(asked, request.plan.to_json(), places(request))
    except UsageError:
        raise  # what is there belongs to somebody else
    except BaseException:
        # An earlier map that was not replaced yet still has its root document.
        if not (path / "zarr.json").exists():
            _remove(folder)
        raise


def _finished(request: Request, folder: RunFolder, asked: dict[str, Any]) -> Begun:
    described = attributes_of(folder.map_path).get(KEY, {})
    if "fingerprint" not in described:
        make_room(folder.map_path, overwrite=False)  # refuses
    refuse_another(described, asked, folder.map_path)
    return Begun(request, folder, asked, {}, described)


def _gone_on_with(
    request: Request, folder: RunFolder, earlier: dict[str, Any], asked: dict[str, Any]
) -> Begun:
    refuse_another(earlier, asked, folder.map_path)
    plan = replace(
        RunPlan.from_json(earlier["plan"]),
        device=request.plan.device,
        threads=request.plan.threads,
    )
    for partial in folder.map_path.rglob("*.partial"):
        partial.unlink(missing_ok=True)
    done = {name: r for name, r in folder.receipts().items() if folder.is_intact(r)}
    log.info("going on with an unfinished run: %d pieces are stored", len(done))
    return Begun(replace(request, plan=plan), folder, asked, done)
