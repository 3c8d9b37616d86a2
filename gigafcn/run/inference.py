"""``infer``: plan, hand out tiles, build the pyramid, write metadata last, draw the picture."""

from __future__ import annotations

import logging
import time
import uuid
from dataclasses import dataclass, field, fields
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
from gigafcn.run.options import Options
from gigafcn.run.places import picture_of, refuse_taken
from gigafcn.run.profile import write_profile
from gigafcn.run.provenance import provenance
from gigafcn.run.request import prepare
from gigafcn.run.telling import map_certificate, summary, versions
from gigafcn.run.workplace import Place, arrived, workplace
from gigafcn.schedule.driver import run_pyramid, run_tiles
from gigafcn.schedule.inbox import Inbox
from gigafcn.schedule.run_folder import tile_piece
from gigafcn.schedule.site import Site
from gigafcn.storage.url_path import place_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from distributed import Client
    from torch import nn

    from gigafcn.progress import ProgressCallback
    from gigafcn.run.checks import Checks
    from gigafcn.run.gathering import Gathered
    from gigafcn.run.known_model import KnownModel
    from gigafcn.schedule.stopping import StopRequest
    from gigafcn.slide.opening import Source

log = logging.getLogger(__name__)

CHECKING_THREADS = 4  # its images are small


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


def infer(  # noqa: PLR0913 - the public interface, keywords only after three
    source: Source,
    model: str | Path | nn.Module | KnownModel,
    output: str | Path,
    *,
    activation: str | None = None,
    scale: float | Sequence[float] | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    dtype: str = "auto",
    precision: str = "fp32",
    mode: str = "exact",
    window: int | tuple[int, int] | None = None,
    overlap: float = 0.25,
    step: int | tuple[int, int] | None = None,
    blend_weights: str = "constant",
    batch: int | None = None,
    output_name: str | int | None = None,
    patch: int | tuple[int, int] | None = None,
    output_stride: int | None = None,
    tile: int | tuple[int, int] | None = None,
    strip: int | None = None,
    memory: int | None = None,
    region: tuple[int, int, int, int] | None = None,
    device: str = "auto",
    workers: int | None = None,
    scheduler: str | None = None,
    scheduler_file: str | Path | None = None,
    client: Client | None = None,
    insecure: bool = False,
    tls_ca: str | Path | None = None,
    tls_cert: str | Path | None = None,
    tls_key: str | Path | None = None,
    dashboard: bool = False,
    level: int | None = None,
    channels: Sequence[int | str] | None = None,
    plane: Mapping[str, int] | None = None,
    crop: bool = True,
    border: str | None = None,
    tissue: str | Path | None = None,
    mpp: float | tuple[float, float] | None = None,
    slide_mpp: float | tuple[float, float] | None = None,
    mpp_tolerance: float = 0.02,
    save: str = "both",
    save_mpp: float | None = None,
    classes: Sequence[str] | None = None,
    strict: bool = False,
    full_hash: bool = False,
    resume: bool | None = None,
    overwrite: bool = False,
    deidentify: bool = False,
    deidentify_key: str | Path | None = None,
    trust: bool = False,
    sha256: str | None = None,
    allow_unexpected: bool = False,
    force_activation: bool = False,
    verify: bool = True,
    profile: bool = False,
    progress: ProgressCallback | None = None,
    stop: StopRequest | None = None,
) -> Result:
    """Map an image: class scores of a model at every position, equal to the whole run.

    Parameters
    ----------
    source
        Path or URL of an image, numpy array (y, x) or (y, x, c), or Zarr array.
    model
        Torch module mapping (b, c, y, x) to (b, classes, y', x'), what :func:`gigafcn.load_model`
        takes, or for many slides a :class:`gigafcn.run.known_model.KnownModel`.
    output
        Directory of the OME-Zarr map; a picture goes beside it.
    activation
        "none", "sigmoid" or "softmax"; None: none if the model ends in one, else sigmoid for one
        class and softmax for more.
    scale, mean, std
        The model sees (stored * scale - mean) / std, each one number or one per channel; scale
        None is 1/255 for uint8, 1/65535 for uint16, 1 otherwise.
    dtype
        Of stored scores: "uint8" is round-half-even(255 * p), "float16", "float32"; "auto" is
        uint8 after sigmoid or softmax, else float32.
    precision
        Of computing: "fp32", "fp64", "bf16" or "fp16".
    mode
        "exact"; "blend" averages overlapping windows, as MONAI's sliding_window_inference does;
        "patch" gives one px for each window. The latter two run the module as it is, on windows.
    window
        Side(s) (y, x) of the windows of blend and patch, in px of the level that is read; None
        is the patch size that the model states.
    overlap
        Part of a window, 0 to below 1, that it shares with the next; for blend.
    step
        Px (y, x) from one window to the next, for patch; None is the window.
    blend_weights
        "constant", or "gaussian": less towards the edges of a window; for blend.
    batch
        Windows per call of the module in blend and patch; None chooses.
    output_name
        Which output to map, by name or index, if the model has several.
    patch
        In exact mode: side(s) (y, x) in px of the patches that the model classifies; it runs as
        a fully convolutional network. None is what the model states, else a guess, printed.
    output_stride
        Px from one patch to the next for such a model; None is the model's own stride, which any
        other must divide.
    tile
        Side(s) of a tile in map px, rounded up to whole output periods and chunks.
    strip
        Rows of the map computed at one step within a tile, in px.
    memory
        Bytes that the run may take, each worker in a foreign cluster; None is half of what is free.
    region
        (y0, x0, y1, x1) in level-0 px: just that part, equal to the same part of the full map.
    device
        "auto", "cpu", "cuda", "cuda:1" or "mps".
    workers
        Local processes to start; None is one per GPU if there are several, else this process.
    scheduler, scheduler_file, client
        Compute with the workers of a Dask cluster that is there already: its address, the file
        that its scheduler wrote, or a ``distributed.Client``.
    insecure
        Speak to a scheduler on another host without TLS.
    tls_ca, tls_cert, tls_key
        PEM files for a scheduler at ``tls://``; None is Dask's configuration.
    dashboard
        Serve Dask's dashboard on this machine; its address is logged.
    level
        Pyramid level to read; None is the one that suits the model's mpp, or 0 if it states none.
        Without ``mpp`` its pixels are mapped as they are.
    channels
        Channels of the image to feed, by number or name, in this order.
    plane
        Of a stack the index along each further axis, such as ``{"t": 0, "z": 2}``.
    crop
        Map the scanned area alone, where the slide names it and no region is given.
    border
        For nets that lose a margin, for classifiers and for patch: "cover" mirrors the image
        outward so that the map covers it, "valid" writes the smaller map with its offset. None is
        "valid" for classifiers and patch, else "cover".
    tissue
        Which part is computed: None or "none" all, "auto" what looks stained, else the path of a
        mask of the whole slide (anything but 0 is tissue) or of GeoJSON polygons. Chunks without
        tissue are neither read nor stored.
    mpp
        Micrometres per px that the model wants, one or (y, x), replacing what its author states:
        the nearest finer level is resampled to it, on one grid for the whole slide.
    slide_mpp
        Micrometres per level-0 px, one or (y, x), replacing what the slide says.
    mpp_tolerance
        A level whose pixel size is off by no more than this part is mapped as it is.
    save
        "both" stores scores and, where classes exclude each other, labels, which are taken before
        scores are rounded; "probabilities" only the scores; "labels" only the labels.
    save_mpp
        Micrometres per stored px, nearly: means over blocks of map px. None stores map px.
    classes
        Names of those of the model's classes whose scores are stored; or, for a model without
        names or to name them anew, one name per class.
    strict
        Fail where the slide cannot be read, or looks like nothing that the model takes. Otherwise
        the run goes on: where it cannot be read the model sees the background colour, the map
        holds no values (status "failed"), and the regions are listed; doubts are warned of.
    full_hash
        Note the SHA-256 of the whole slide too, and compare it when the run is gone on with;
        otherwise a slide is known by OpenSlide's quick hash, or by samples of its bytes.
    resume
        True refuses to begin anew. In any case an unfinished map of the same run is gone on with,
        and a finished one is left as it is.
    overwrite
        Replace a map that gigafcn wrote; nothing else is ever replaced.
    deidentify
        Call the slide by a keyed hash of its file's name, wherever it would be named.
    deidentify_key
        File with the key; None is $GIGAFCN_DEIDENTIFY_KEY, else one kept in this user's cache.
    trust
        Load a model whose loading can run code.
    sha256
        Of the model's file: load that very file, even if it can run code, and no other.
    allow_unexpected
        Leave weights of a checkpoint out that the model has not.
    force_activation
        Apply the activation asked for to a model that ends in one already.
    verify
        In exact mode, first try the model itself: poison and a small window, some 2 s, once per
        model; see :func:`gigafcn.verify`.
    profile
        Write what each thread did when to ``OUT.zarr.run/profile.json``, a trace that
        https://ui.perfetto.dev draws.
    progress
        Called with :class:`gigafcn.progress.Progress` while the run goes on.
    stop
        A :class:`gigafcn.schedule.stopping.StopRequest`, with which a signal handler asks the run
        to end in good order.

    Returns
    -------
    Result

    Raises
    ------
    UsageError, SlideError, ModelError
        Before any output exists.
    RunError
        If tiles failed, the disk is full, or the output is NaN or infinite.
    """
    given = locals()
    options = Options(**{f.name: given[f.name] for f in fields(Options) if f.name in given})
    site = Site(**{f.name: given[f.name] for f in fields(Site)})
    at = At(path=place_of(output), overwrite=overwrite, resume=bool(resume))
    return map_slide(source, model, at, options, site=site, progress=progress, stop=stop)


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
    """Make a map, or do what is left to do of it; see :func:`infer`."""
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
