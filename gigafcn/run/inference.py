"""``infer``: plan, hand out tiles, build the pyramid, write metadata last, draw the picture."""

from __future__ import annotations

import logging
import platform
import threading
import time
import uuid
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import cloudpickle
import numpy as np
import torch
from torch import nn

from gigafcn.errors import GigafcnError, RunError
from gigafcn.geometry import Box
from gigafcn.output.metadata import finish_map
from gigafcn.output.picture import Thumbnail, write_picture
from gigafcn.output.store import ChunkStatus, empty_status
from gigafcn.plan.tiles import tiles
from gigafcn.run.options import Options
from gigafcn.run.places import created_map, picture_of, refuse_taken
from gigafcn.run.request import Request, prepare, provenance
from gigafcn.schedule.cluster import local_client
from gigafcn.schedule.driver import Outcome, run_pyramid, run_tiles
from gigafcn.schedule.inbox import Inbox
from gigafcn.schedule.job import Job, JobFiles, placed_graph
from gigafcn.schedule.worker import JobPlugin, drop_job, hold_job
from gigafcn.slide.thumbnail import read_thumbnail

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from distributed import Client

    from gigafcn.engine.tile import TileReceipt
    from gigafcn.progress import ProgressCallback
    from gigafcn.slide.opening import Source
    from gigafcn.slide.protocol import Slide

log = logging.getLogger(__name__)

THUMBNAIL_PX = 1600
LISTED_TILES = 5
WRITTEN_ROWS = 1024


@dataclass(frozen=True, slots=True)
class Result:
    """A finished map."""

    path: Path
    shape: tuple[int, int, int]
    """(classes, y, x)."""

    seconds: float
    certificate: dict[str, Any]
    """How exact the map is and what shows it."""

    summary: dict[str, Any] = field(default_factory=dict)
    """Figures for a closing line."""


def infer(  # noqa: PLR0913 - the public interface, keywords only after three
    source: Source,
    model: str | Path | nn.Module,
    output: str | Path,
    *,
    activation: str | None = None,
    scale: float | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    dtype: str = "auto",
    precision: str = "fp32",
    tile: int | tuple[int, int] | None = None,
    strip: int | None = None,
    memory: int | None = None,
    region: tuple[int, int, int, int] | None = None,
    device: str = "auto",
    workers: int | None = None,
    level: int | None = None,
    channels: Sequence[int] | None = None,
    border: str = "cover",
    slide_mpp: float | tuple[float, float] | None = None,
    save: str = "both",
    classes: Sequence[str] | None = None,
    overwrite: bool = False,
    trust: bool = False,
    progress: ProgressCallback | None = None,
) -> Result:
    """Map an image: class scores of a model at every position, equal to the whole run.

    Parameters
    ----------
    source
        Path or URL of an image, numpy array (y, x) or (y, x, c), or Zarr array.
    model
        Torch module mapping (b, c, y, x) to (b, classes, y', x'), or what
        :func:`gigafcn.load_model` takes.
    output
        Directory of the OME-Zarr map; a picture goes beside it.
    activation
        "none", "sigmoid" or "softmax"; None: none if the model ends in one, else sigmoid for one
        class and softmax for more.
    scale, mean, std
        The model sees (stored * scale - mean) / std; scale None is 1/255 for uint8, 1/65535 for
        uint16, 1 otherwise.
    dtype
        Of stored scores: "uint8" is round-half-even(255 * p), "float16", "float32"; "auto" is
        uint8 after sigmoid or softmax, else float32.
    precision
        Of computing: "fp32", "fp64", "bf16" or "fp16".
    tile
        Side(s) of a tile in map px, rounded up to whole output periods and chunks.
    strip
        Rows of the map computed at one step within a tile, in px.
    memory
        Bytes that the run may take; None is half of what is free.
    region
        (y0, x0, y1, x1) in level-0 px: just that part, equal to the same part of the full map.
    device
        "auto", "cpu", "cuda", "cuda:1" or "mps".
    workers
        Local processes to start; None computes in this process.
    level
        Pyramid level to read; None is 0.
    channels
        Channels of the image to feed, in this order.
    border
        For nets that lose a margin: "cover" mirrors the image outward, "valid" writes the smaller
        map with its offset.
    slide_mpp
        Micrometres per level-0 px, replacing what the slide says.
    save
        "both" stores scores and, where classes exclude each other, labels; "probabilities" only
        the scores.
    classes
        Names of the model's classes.
    overwrite
        Replace a map that gigafcn wrote; nothing else is ever replaced.
    trust
        Run Python code of a model file.
    progress
        Called with :class:`gigafcn.progress.Progress` while the run goes on.

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
    start = time.perf_counter()
    options = Options(**{option.name: given[option.name] for option in fields(Options)})
    request = prepare(source, model, options)
    try:
        refuse_taken(request.slide, Path(output))
        return _run(request, Path(output), overwrite=overwrite, progress=progress, start=start)
    finally:
        request.slide.close()


def _run(
    request: Request,
    path: Path,
    *,
    overwrite: bool,
    progress: ProgressCallback | None,
    start: float,
) -> Result:
    spec, plan = request.plan.spec, request.plan
    with created_map(path, spec, overwrite=overwrite):
        boxes = list(tiles(plan.box, plan.tile))
        run = uuid.uuid4().hex[:12]
        began = time.perf_counter()
        inbox = Inbox() if request.options.workers is None else None
        with _client(request, path, run, inbox) as client:
            outcome = run_tiles(client, run, boxes, progress, inbox)
            _refuse_failures(outcome, len(boxes))
            run_pyramid(client, run, spec, plan.tile, progress)
        certificate = _certificate(request, len(boxes))
        seconds = time.perf_counter() - began
        status = empty_status(spec)
        status[...] = ChunkStatus.COMPUTED
        described = provenance(request) | {
            "certificate": certificate,
            "seconds": round(seconds, 3),
            "versions": _versions(),
        }
        finish_map(path, spec, described, status=status)
    _draw(request, path)
    total = time.perf_counter() - start
    shape = (len(spec.classes), *spec.shape)
    summary = _summary(request, outcome, seconds) | {"picture": picture_of(path)}
    return Result(path, shape, total, certificate, summary)


@contextmanager
def _client(request: Request, path: Path, run: str, inbox: Inbox | None) -> Iterator[Client]:
    """A cluster whose workers hold the run's job; with an inbox, in this process."""
    workers, threads = request.options.workers, request.plan.threads
    if inbox is not None:
        with _threads(threads), local_client(None, threads) as client:
            graph = placed_graph(request.graph, request.plan)
            stop = threading.Event()
            hold_job(run, Job(request.plan, graph, request.image, path, stop, inbox))
            try:
                yield client
            finally:
                stop.set()
                drop_job(run)
        return
    with _files(request, path) as files, local_client(workers, threads) as client:
        plugin = JobPlugin(run, files, request.plan.to_json())
        client.register_plugin(plugin)
        yield client


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Let torch use ``count`` threads, and give the caller's setting back."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _files(request: Request, path: Path) -> Iterator[JobFiles]:
    """Where other processes find slide and model; what is in memory is written beside the map."""
    slide, model = request.slide.source, request.model.source
    with TemporaryDirectory(prefix=f"{path.name}.run-", dir=path.parent) as folder:
        try:
            if slide is None:
                slide = f"{folder}/slide.npy"
                _write_array(request.slide, slide)
            if model is None:
                model = f"{folder}/model.pt"
                torch.save(request.model.module, model, pickle_module=cloudpickle)
        except (OSError, RuntimeError) as error:  # the latter is torch's for a full disk
            raise RunError(
                f"cannot write slide and model for the worker processes to {folder}: {error}"
            ) from error
        yield JobFiles(str(path), slide, model, request.options.trust)


def _write_array(slide: Slide, path: str) -> None:
    """Write a slide in memory as an array file, some rows at a time."""
    height, width = slide.levels[0].shape
    shape = (height, width, slide.channels)
    descr = np.lib.format.dtype_to_descr(slide.dtype)
    header = {"descr": descr, "fortran_order": False, "shape": shape}
    with Path(path).open("wb") as file:
        np.lib.format.write_array_header_2_0(file, header)
        for row in range(0, height, WRITTEN_ROWS):
            rows = slide.read(Box(row, 0, min(row + WRITTEN_ROWS, height), width))
            file.write(np.ascontiguousarray(rows).data)


def _refuse_failures(outcome: Outcome, count: int) -> None:
    """Raise what failed: the error itself when its tile was the whole run."""
    failures = outcome.failures
    if not failures:
        return
    error = failures[0][1]
    if count == 1 and isinstance(error, GigafcnError):
        raise error
    listed = ", ".join(str(tuple(tile)) for tile, _ in failures[:LISTED_TILES])
    more = f" and {len(failures) - LISTED_TILES} more" if len(failures) > LISTED_TILES else ""
    raise RunError(
        f"{len(failures)} of {count} tiles failed: {listed}{more} (y0, x0, y1, x1 in map px); "
        f"the first: {error}"
    ) from error


def _certificate(request: Request, count: int) -> dict[str, Any]:
    """Exactness class and what it rests on: every tile's window holds the need of its pixels."""
    return {
        "mode": "exact",
        "class": "structural",
        "meaning": "every op has a local rule; each tile computes all that its pixels depend on",
        "tiles": count,
        "ops": len(request.graph.nodes) - 1,
        "halo": list(request.footprint.halo),
        "shift_invariant": request.footprint.shift_invariant,
        "precision": request.plan.precision,
    }


def _versions() -> dict[str, str]:
    names = ("gigafcn", "torch", "numpy", "zarr", "tifffile", "openslide-python", "distributed")
    return {"python": platform.python_version()} | {name: metadata.version(name) for name in names}


def _draw(request: Request, path: Path) -> None:
    """The picture beside the map."""
    slide, spec = request.slide, request.plan.spec
    whole = Box.whole(slide.levels[0].shape)
    thumbnail = Thumbnail(read_thumbnail(slide, THUMBNAIL_PX), whole, request.mpp)
    down = slide.levels[request.plan.level].downsample
    start = [spec.offset[a] * down[a] for a in (0, 1)]
    stop = [start[a] + float(spec.shape[a] * spec.stride[a]) * down[a] for a in (0, 1)]
    covered = Box(round(start[0]), round(start[1]), round(stop[0]), round(stop[1]))
    top, bottom, left, right = request.footprint.halo
    write_picture(
        picture_of(path),
        path,
        thumbnail,
        map_box=covered.intersect(whole),
        title=slide.name,
        caption=f"model {request.model.name} · exact · halo {top}/{bottom}/{left}/{right} px",
    )


def _summary(request: Request, outcome: Outcome, seconds: float) -> dict[str, Any]:
    spec = request.plan.spec
    pixels = round(spec.shape[0] * spec.shape[1] * float(spec.stride[0] * spec.stride[1]))
    name, share = _bottleneck(outcome.receipts)
    return {
        "pixels": pixels,
        "mpx_per_s": pixels / 1e6 / seconds,
        "compute_seconds": seconds,
        "halo": request.footprint.halo,
        "mode": "exact",
        "bottleneck": name,
        "bottleneck_share": share,
        "model": request.model.name,
        "slide": request.slide.name,
    }


def _bottleneck(receipts: Sequence[TileReceipt]) -> tuple[str, float]:
    """What the run waited for most, and its share of the tiles' time."""
    total = sum(r.seconds for r in receipts) or 1.0
    waits = {
        "reading": sum(r.waited_for_reading_s for r in receipts),
        "storing": sum(r.waited_for_storing_s for r in receipts),
    }
    waits["computing"] = total - sum(waits.values())
    name = max(waits, key=lambda key: waits[key])
    return name, waits[name] / total
