"""``verify``: is tiling exact for this very model?  And the short form of it before each map.

The module is run as it is, poisoned with NaN, and compared with sweeps on windows of the user's
slide, or of noise.  A classifier of patches is tried as the fully convolutional network that it is
mapped with, whose map is then compared with its answers patch by patch.  The short form, without
the latter, is kept on disk per model, so that only the first map waits.
"""

from __future__ import annotations

import logging
import os
from dataclasses import replace
from typing import TYPE_CHECKING

from gigafcn.analysis import analyze
from gigafcn.certificate.cache import cache_key, read_cached, write_cached
from gigafcn.certificate.certificate import Certificate
from gigafcn.certificate.examination import examine, full_form, short_form, shows_all, versions
from gigafcn.certificate.fingerprint import graph_fingerprint, source_fingerprint
from gigafcn.certificate.patchwise import compare_patches
from gigafcn.engine.precision import threads
from gigafcn.errors import ModelError, UsageError
from gigafcn.model.loading import load_model
from gigafcn.run import choices
from gigafcn.run.classifiers import as_classifier
from gigafcn.run.far_edge import far_edge_of, far_edge_on
from gigafcn.run.options import Options
from gigafcn.run.slide_windows import slide_windows
from gigafcn.run.windowed import ways_out
from gigafcn.schedule.resources import threads_per_worker
from gigafcn.slide.opening import open_wanted

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from torch import nn

    from gigafcn.certificate.certificate import Certificate
    from gigafcn.model.loading import LoadedModel
    from gigafcn.run.request import Request
    from gigafcn.slide.opening import Source
    from gigafcn.slide.protocol import Slide

log = logging.getLogger(__name__)

Pair = tuple[int, int]

MOST_THREADS = 4
"""For the short form, whose images are small."""


def verify(  # noqa: PLR0913 - the public interface, keywords only after two
    model: str | Path | nn.Module,
    source: Source | None = None,
    *,
    channels: int | Sequence[int] | None = None,
    size: int | None = None,
    precision: str = "fp32",
    output_name: str | int | None = None,
    patch: int | Pair | None = None,
    output_stride: int | None = None,
    level: int | None = None,
    mpp: float | tuple[float, float] | None = None,
    slide_mpp: float | tuple[float, float] | None = None,
    image: int | None = None,
    levels_from: str | None = None,
    scale: float | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    windows: int = 2,
    device: str = "cpu",
    trust: bool = False,
    sha256: str | None = None,
    allow_unexpected: bool = False,
) -> Certificate:
    """Try whether tiling a model is exact, on the untouched module.

    Parameters
    ----------
    model
        Torch module, or what :func:`gigafcn.load_model` takes.
    source
        Slide to take windows from; None compares on noise.
    channels
        How many the model takes, or which of the slide's, in its order; None is what the model
        says, else 3.
    size
        Image size in px to trace first; None tries several. For classifiers of patches it follows
        from the patch.
    precision
        "fp32" compares in fp32 and fp64, "fp64" in fp64 alone.
    output_name
        Which output to try, by name or index, if the model has several.
    patch
        Side(s) (y, x) in px of the patches that a classifier was trained on, as in
        :func:`gigafcn.infer`; None is what the model states, else a guess.
    output_stride
        Px from one patch of a classifier to the next; None is its own stride.
    level, mpp, slide_mpp, image, levels_from
        What is seen of the slide and at which resolution, as in :func:`gigafcn.infer`.
    scale, mean, std
        The model sees (stored * scale - mean) / std, as in :func:`gigafcn.infer`.
    windows
        How many windows of the slide to compare on: those that show most.
    device
        Where sweeps are compared with the module.
    trust
        Load a model whose loading can run code.
    sha256
        Of the model's file: load that very file, even if it can run code, and no other.
    allow_unexpected
        Leave weights of a checkpoint out that the model has not.

    Returns
    -------
    Certificate
        Its ``holds`` is False if the model is not local or a check failed.

    Raises
    ------
    ModelError
        If the model cannot be loaded or exported, or returns another shape than its graph says,
        or classifies patches and cannot be converted.
    SlideError
        If the slide cannot be opened or does not fit the model, or its px size is unknown and the
        model states one.

    Examples
    --------
    >>> import torch
    >>> verify(torch.nn.Conv2d(3, 2, 3, padding=1)).exactness
    'structural+measured'
    """
    if windows < 1:
        raise UsageError(f"windows must be at least 1, got {windows}")
    options = Options(
        precision=precision, level=level, mpp=mpp, slide_mpp=slide_mpp, scale=scale, mean=mean,
        std=std, output_name=output_name, patch=patch, output_stride=output_stride,
        image=image, levels_from=levels_from,
    )  # fmt: skip
    loaded = load_model(model, trust=trust, sha256=sha256, allow_unexpected=allow_unexpected)
    if loaded.whole_image_refusal is not None:
        raise ModelError(loaded.whole_image_refusal)
    slide = None if source is None else open_wanted(source, choices.wanted(options))
    try:
        picked = _picked(loaded, slide, channels)
        classifier = as_classifier(loaded, len(picked), options)
        tried = loaded if classifier is None else classifier.converted
        size = size if classifier is None else classifier.probe_size
        footprint = analyze(tried.module, len(picked), size, choices.output(tried, options))
        form = full_form(precision)
        chosen = None if slide is None else slide_windows(slide, loaded, options, picked, windows)
        where = choices.device(device)
        with threads(_idle_threads()):
            found = examine(footprint, loaded.name, form, device=where, windows=chosen)
            if classifier is None:
                edge = far_edge_on(footprint, slide, loaded, options, picked)
                found = replace(found, far_edge=edge)
            else:
                found = found.with_patchwise(compare_patches(classifier.conversion, chosen))
        return found if footprint.local else replace(found, remedy=ways_out(loaded, trust=trust))
    finally:
        if slide is not None:
            slide.close()


def check_before_run(request: Request) -> Certificate:
    """The short form for a run in exact mode, from the cache if this model was tried before.

    What there was no time for is tried again before a run that is so much longer that it may be.

    Raises
    ------
    CertificateError
        If it does not hold; nothing has been written then.
    ModelError
        If the module returns another shape than its graph says.
    """
    plan, footprint = request.plan, request.exact
    where = choices.device_here(plan.device)
    fingerprint = graph_fingerprint(request.graph)
    key = cache_key(
        fingerprint, source_fingerprint(), versions(), plan.precision, where,
        footprint.channels, footprint.halo, footprint.halo_aligned, footprint.period,
    )  # fmt: skip
    pixels = 0.0 if where != "cpu" else float(request.graph.need_box(plan.box).area)
    form = short_form(plan.precision, pixels)
    known = read_cached(key)
    if known is not None and shows_all(known, form):
        return replace(known, model=request.model.name, far_edge=far_edge_of(request))
    with threads(min(MOST_THREADS, _idle_threads())):
        found = examine(footprint, request.model.name, form, device=where, fingerprint=fingerprint)
    found.require()
    log.debug("model %s checked in %.1f s: %s", found.model, found.seconds, found.summary)
    write_cached(key, found)
    return replace(found, far_edge=far_edge_of(request))


def _idle_threads() -> int:
    """Processors that nobody else keeps busy, at least one.

    Small images mean many short parallel stretches, each as long as its slowest thread: sharing
    processors makes them ten times slower.
    """
    return max(1, threads_per_worker(1) - round(os.getloadavg()[0]))


def _picked(
    model: LoadedModel, slide: Slide | None, asked: int | Sequence[int] | None
) -> tuple[int, ...]:
    """Channels that the model sees, by their place in the slide."""
    if slide is None:
        count = asked if isinstance(asked, int) else len(asked or ())
        return tuple(range(count or model.channels or 3))
    if isinstance(asked, int):
        asked = range(asked)
    return choices.channels(slide, model, asked)
