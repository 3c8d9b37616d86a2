"""``infer``: the options of a run, and what becomes of it."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING

from gigafcn.run.beginning import At
from gigafcn.run.mapping import Result, map_slide
from gigafcn.run.options import Options
from gigafcn.schedule.site import Site
from gigafcn.storage.url_path import place_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from distributed import Client
    from torch import nn

    from gigafcn.progress import ProgressCallback
    from gigafcn.run.known_model import KnownModel
    from gigafcn.schedule.stopping import StopRequest
    from gigafcn.slide.opening import Source


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
    image: int | None = None,
    levels_from: str | None = None,
    crop: bool = True,
    orient: bool = False,
    border: str | None = None,
    pad: str | None = None,
    tissue: str | Path | None = None,
    tissue_class: Sequence[str] | None = None,
    min_tissue: float = 0.1,
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
    image
        Number of the image to map, of a file that holds several; labels, macros, overviews and
        thumbnails never are. None takes the only one that is left.
    levels_from
        "sizes" or "metadata": what decides how large the px of coarser levels are where the two
        contradict each other. None asks, if it matters.
    crop
        Map the scanned area alone, where the slide names it and no region is given.
    orient
        Turn the picture as TIFF's or EXIF's orientation says; region and mask are of the turned
        one. False maps it as it is stored, and says so.
    border
        For nets that lose a margin, for classifiers and for patch: "cover" mirrors the image
        outward so that the map covers it, "valid" writes the smaller map with its offset. None is
        "valid" for classifiers and patch, else "cover".
    pad
        "period" repeats the image's edge at right and below up to a multiple of the period, "none"
        feeds the image as it is. None is "period" for models that have one and do not pad.
    tissue
        Which part is computed: None or "none" all, "auto" what looks stained, else the path of a
        mask of the whole slide or of GeoJSON polygons. The rest is neither read nor stored.
    tissue_class
        Classes of polygons that are tissue; None takes all but Ignore*, Artefact*, Background*.
    min_tissue
        In patch, with tissue: part of a window, 0 to 1, that must be tissue for it to be computed;
        0 takes each that holds any.
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
