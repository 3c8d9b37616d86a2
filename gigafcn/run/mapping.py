"""From a request to a finished map: tiles, pyramid, metadata last, picture."""

from __future__ import annotations

import logging
import time
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gigafcn.errors import RunError
from gigafcn.geometry import Box
from gigafcn.output.disk import storing
from gigafcn.output.metadata import finish_map
from gigafcn.output.spec import MapSpec
from gigafcn.run.beginning import At, Begun, begun
from gigafcn.run.checks import checks_before
from gigafcn.run.deidentifying import disguise_of, wearing
from gigafcn.run.drawing import draw_picture
from gigafcn.run.failures import clear, given_up, refuse_given_up
from gigafcn.run.gathering import gathered, regions
from gigafcn.run.places import picture_of, refuse_taken
from gigafcn.run.profile import write_profile
from gigafcn.run.provenance import provenance
from gigafcn.run.request import prepare
from gigafcn.run.telling import map_certificate, summary, versions
from gigafcn.run.workplace import Place, arrived, workplace
from gigafcn.schedule.driver import run_pyramid, run_tiles
from gigafcn.schedule.inbox import Inbox
from gigafcn.schedule.run_folder import tile_piece

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from torch import nn

    from gigafcn.progress import ProgressCallback
    from gigafcn.run.checks import Checks
    from gigafcn.run.gathering import Gathered
    from gigafcn.run.known_model import KnownModel
    from gigafcn.run.options import Options
    from gigafcn.schedule.site import Site
    from gigafcn.schedule.stopping import StopRequest
    from gigafcn.slide.opening import Source

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Result:
    """A finished map."""

    path: Path
    shape: tuple[int, int, int]
    """(classes, y, x) of what is stored; labels alone count as one class."""

    seconds: float
    certificate: dict[str, Any]
    """How exact the map is and what shows it."""

    summary: dict[str, Any] = field(default_factory=dict)
    """Figures for a closing line."""


def map_slide(
    source: Source,
    model: str | Path | nn.Module | KnownModel,
    at: At,
    options: Options,
    *,
    site: Site,
    progress: ProgressCallback | None = None,
    stop: StopRequest | None = None,
) -> Result:
    """Make a map, or do what is left to do of it; see :func:`gigafcn.infer`."""
    start = time.perf_counter()
    disguise = disguise_of(source, options)
    with wearing(disguise), arrived(site, options) as (place, resolved):
        request = prepare(source, model, resolved, disguise.name if disguise else None)
        try:
            refuse_taken(request.slide, at.path)
            checks = checks_before(request)
            with begun(request, at) as run:
                if run.finished is None:
                    return _run(place, run, checks, progress=progress, start=start, stop=stop)
                return _found(run, run.finished, checks, start)
        finally:
            request.slide.close()


def _run(
    place: Place,
    begun: Begun,
    checks: Checks,
    *,
    progress: ProgressCallback | None,
    start: float,
    stop: StopRequest | None = None,
) -> Result:
    request, folder = begun.request, begun.folder
    spec, plan, path = request.plan.spec, request.plan, folder.map_path
    boxes = plan.tiles()
    left = [box for box in boxes if tile_piece(box) not in begun.done]
    run = uuid.uuid4().hex[:12]
    began = time.perf_counter()
    inbox = Inbox() if request.options.workers is None else None
    with workplace(place, request, path, run, inbox) as client:
        outcome = run_tiles(client, run, left, progress, inbox, stop)
        lacking = given_up(outcome, len(boxes))
        clear(folder, plan, lacking)
        standing = {tile_piece(tile) for tile in boxes} | set(begun.done)
        receipts = {name: r for name, r in folder.receipts().items() if name in standing}
        run_pyramid(client, run, spec, plan.stored_tile, progress, receipts)
    certificate = map_certificate(request, len(boxes), checks)
    seconds = time.perf_counter() - began
    found = gathered(plan, receipts, lacking)
    _tell_failed(found.failed, strict=request.options.strict)
    described = _described(begun, found) | {
        "certificate": certificate,
        "doubts": [doubt.message for doubt in checks.doubts],
        "seconds": round(seconds, 3),
    }
    with storing(path, spec, "the receipts"):
        folder.fold()
    finish_map(path, spec, described, status=found.status)
    drawn = {"looks_like_tissue": draw_picture(request, path), "picture": picture_of(path)}
    refuse_given_up(outcome, len(boxes))
    total = time.perf_counter() - start
    shape = (len(spec.stored) or 1, *spec.shape)
    figures = summary(request, outcome, seconds) | drawn
    figures |= {"failed_regions": found.failed, "doubts": checks.doubts}
    figures["no_data_px"] = found.marks["no_data"]
    if request.options.profile:
        figures["profile"] = write_profile(folder.path / "profile.json", outcome.receipts)
    if len(left) < len(boxes):
        figures["tiles_found"] = len(boxes) - len(left)
    return Result(path, shape, total, certificate, figures)


def _described(begun: Begun, found: Gathered) -> dict[str, Any]:
    """What is kept with a map of what made it and of what became of its tiles."""
    return provenance(begun.request, begun.fingerprint) | {
        "reading": found.to_json(),
        "tiles": found.of_tiles(),
        "fingerprint": begun.fingerprint,
        "versions": versions(),
    }


def _found(begun: Begun, described: dict[str, Any], checks: Checks, start: float) -> Result:
    """What is known of a map that this very run finished before."""
    path = begun.folder.map_path
    if not picture_of(path).exists():
        draw_picture(begun.request, path)
    spec = MapSpec.from_json(described["plan"]["spec"])
    failed = tuple(Box(*box) for box in described["reading"]["failed_regions"])
    _tell_failed(failed, strict=begun.request.options.strict)
    figures = {
        "failed_regions": failed,
        "doubts": checks.doubts,
        "finished_before": True,
        "picture": picture_of(path),
        "model": described["model"]["name"],
        "slide": described["slide"]["name"],
        "mode": described["mode"],
    }
    shape = (len(spec.stored) or 1, *spec.shape)
    seconds = time.perf_counter() - start
    return Result(path, shape, seconds, described["certificate"], figures)


def _tell_failed(failed: Sequence[Box], *, strict: bool) -> None:
    """Name what could not be read."""
    if not failed:
        return
    message = (
        f"part of the image could not be read and has status failed in the map, {regions(failed)} "
        f"in px of the level that was read"
    )
    if strict:
        raise RunError(f"{message}; copy or export the file again, or leave --strict out")
    log.warning("%s; once the file is repaired, map it anew with --overwrite", message)
