"""``gigafcn infer``: map slides, one after the other."""

from __future__ import annotations

import traceback
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from gigafcn.cli.naming import map_paths, stem_of
from gigafcn.cli.reporting import (
    bar_progress,
    closing_line,
    fail,
    json_progress,
    one_line,
    say,
    say_json,
)
from gigafcn.cli.requests import Config, Debug, InferFlags, Json, Quiet, chosen_model, gathered
from gigafcn.cli.signals import stoppable
from gigafcn.config import InferOptions
from gigafcn.errors import GigafcnError, Preempted, RunError, UsageError

if TYPE_CHECKING:
    from gigafcn.progress import ProgressCallback
    from gigafcn.run import Result


def infer(
    *slide: str,
    options: InferFlags = None,
    config: Config = None,
    quiet: Quiet = False,
    json: Json = False,
    debug: Debug = False,
) -> int:
    """Map slides to class scores.

    Each slide becomes an OME-Zarr map in the working directory and, beside it, a picture of the
    map laid over the slide. A slide that fails does not keep the next ones from being mapped; the
    exit code is then that of the first that failed.

    Parameters
    ----------
    slide
        One or more slides: SVS, NDPI, MRXS, SCN, BIF, DICOM, TIFF, OME-TIFF, Zarr, OME-Zarr.
    options
        Options of the run.
    config
        TOML file with any of the options above; flags override it.
    quiet
        Write nothing but warnings and errors.
    json
        Write progress and results to stdout, one JSON object per line.
    debug
        Log more, and show the traceback of an error.
    """
    if not slide:
        raise UsageError("no slide given; usage: gigafcn infer SLIDE... [-o OUT]")
    chosen = gathered(options, config)
    targets = map_paths(slide, chosen.output)
    model = chosen_model(chosen, slide)
    codes = []
    for source, target in zip(slide, targets, strict=True):
        try:
            with _progress(source, json=json, quiet=quiet) as progress:
                result = _mapped(source, target, model, chosen, progress)
        except Preempted:
            raise
        except GigafcnError as error:
            codes.append(error.exit_code)
            _tell_failure(source, error, json=json, debug=debug)
        else:
            _tell_result(source, result, json=json, quiet=quiet)
            if result.summary.get("failed_regions"):
                codes.append(RunError.exit_code)
    if codes and len(slide) > 1:
        fail(f"{len(codes)} of {len(slide)} slides failed")
    return codes[0] if codes else 0


def _mapped(
    source: str,
    target: Path,
    model: str,
    options: InferOptions,
    progress: ProgressCallback | None,
) -> Result:
    from gigafcn.run import infer as run  # loads torch

    with stoppable(options.grace) as stop:
        return run(source, model, target, **options.arguments(), progress=progress, stop=stop)


def _progress(
    source: str, *, json: bool, quiet: bool
) -> AbstractContextManager[ProgressCallback | None]:
    if json:
        return json_progress(source)
    return nullcontext() if quiet else bar_progress(stem_of(source))


def _tell_result(source: str, result: Result, *, json: bool, quiet: bool) -> None:
    if json:
        say_json(
            "result",
            slide=source,
            map=result.path,
            shape=result.shape,
            seconds=result.seconds,
            summary=result.summary,
        )
    elif not quiet:
        say(closing_line(result))


def _tell_failure(source: str, error: GigafcnError, *, json: bool, debug: bool) -> None:
    if debug:
        traceback.print_exception(error)
    if json:
        say_json("error", slide=source, message=one_line(error), exit_code=error.exit_code)
    fail(one_line(error))
