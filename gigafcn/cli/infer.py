"""``gigafcn infer``: map slides, one after the other."""

from __future__ import annotations

import traceback
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from gigafcn.cli.answers import show_answers
from gigafcn.cli.exporting import exported
from gigafcn.cli.naming import map_paths, stem_of
from gigafcn.cli.reporting import (
    bar_progress,
    closing_line,
    fail,
    json_progress,
    one_line,
    say,
    say_json,
    viewing_lines,
)
from gigafcn.cli.requests import Config, Debug, InferFlags, Json, Quiet, chosen_model, gathered
from gigafcn.cli.signals import stoppable
from gigafcn.cli.slides import (
    Listed,
    disguised,
    each_image,
    listed_slides,
    options_for,
    worn_by_all,
)
from gigafcn.cli.summing_up import Row, check_place, show_rows, write_rows
from gigafcn.config import InferOptions
from gigafcn.errors import GigafcnError, Preempted, RunError, UsageError

if TYPE_CHECKING:
    from gigafcn.progress import ProgressCallback
    from gigafcn.run import Result
    from gigafcn.run.known_model import KnownModel


def infer(
    *slide: str,
    options: InferFlags = None,
    config: Config = None,
    quiet: Quiet = False,
    json: Json = False,
    debug: Debug = False,
) -> int:
    """Map slides to class scores.

    Each slide becomes an OME-Zarr map in the working directory or in -o and, beside it, a picture
    of the map laid over the slide. Given again, the command leaves finished maps as they are and
    goes on with unfinished ones. A slide that fails does not keep the next ones from being mapped;
    several slides are summed up in a table and in summary.csv beside the maps, and the exit code
    is 5 if any failed.

    Parameters
    ----------
    slide
        One or more of: slides (SVS, NDPI, MRXS, SCN, BIF, DICOM, TIFF, OME-TIFF, Zarr, OME-Zarr);
        folders, which are searched for them; patterns such as 'scans/**/*.svs'; lists of slides,
        a .txt file with one path per line or a .csv file with the column slide and, as needed,
        mpp, mask and name.
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
    listing = listed_slides(slide)
    slides = disguised(listing.slides, chosen)
    with worn_by_all(slides):
        slides = each_image(slides, chosen)
        names = [one.name for one in slides]
        targets = map_paths([one.slide for one in slides], chosen.output, names)
    many = listing.searched or len(slides) > 1
    summary = targets[0].parent / "summary.csv" if many else None
    if summary is not None:
        check_place(summary)
    spec = chosen_model(chosen, [one.slide for one in slides])
    for one in slides:
        options_for(one, chosen)  # what a list asks for in vain is said before anything is mapped
    batch = _Batch(chosen, _known(spec, chosen), _Voice(json=json, quiet=quiet, debug=debug))
    # Files that are not there fail at once, so that nobody waits for hours to hear of a typo.
    order = sorted(range(len(slides)), key=lambda number: not slides[number].missing)
    for number in order:
        batch.take(number, slides[number], targets[number], alone=not many)
        if summary is not None:
            write_rows(summary, batch.rows)
    return batch.closed(summary)


def _known(spec: str, options: InferOptions) -> KnownModel:
    """The model, loaded: a model that cannot be loaded fails before any slide is opened."""
    from gigafcn.run.known_model import KnownModel  # loads torch
    from gigafcn.run.options import Options

    model = KnownModel(spec)
    names = set(Options.__dataclass_fields__) - {"image"}
    model.loaded(Options(**{k: v for k, v in options.arguments().items() if k in names}))
    return model


@dataclass(frozen=True, slots=True)
class _Voice:
    """How much is said, and how."""

    json: bool
    quiet: bool
    debug: bool

    def progress(self, slide: str) -> AbstractContextManager[ProgressCallback | None]:
        if self.json:
            return json_progress(slide)
        return nullcontext() if self.quiet else bar_progress(stem_of(slide))

    def result(self, slide: str, result: Result, files: list[Path]) -> None:
        """Say what was made of a slide."""
        if self.json:
            say_json(
                "result",
                slide=slide,
                map=result.path,
                shape=result.shape,
                seconds=result.seconds,
                summary=result.summary,
                exports=files,
            )
        elif not self.quiet:
            say(closing_line(result))
            for file in files:
                say(f"  export: {file}")

    def failure(self, one: Listed, error: Exception) -> str:
        """Say what went wrong with a slide; return it."""
        if self.debug:
            traceback.print_exception(error)
        code = error.exit_code if isinstance(error, GigafcnError) else RunError.exit_code
        message = one_line(error)
        if not isinstance(error, GigafcnError):
            message = f"{one.shown}: unexpected {type(error).__name__}: {message}"
        message = f"{one.where}: {message}" if one.where else message
        if self.json:
            say_json("error", slide=one.shown, message=message, exit_code=code)
        fail(message)
        if one.disguise is None:  # the command that was typed names the slide
            show_answers(error)
        return message


@dataclass(slots=True)
class _Batch:
    """Slides of one command, and what became of them."""

    options: InferOptions
    model: KnownModel
    voice: _Voice
    found: dict[int, Row] = field(default_factory=dict)
    code: int = 0
    """Of the first slide that failed."""

    last: Result | None = None

    @property
    def rows(self) -> list[Row]:
        """What is known so far, in the order in which slides were given."""
        return [self.found[number] for number in sorted(self.found)]

    def take(self, number: int, one: Listed, target: Path, *, alone: bool) -> None:
        """Map one slide and export its map; of several, one that fails is noted."""
        result, files = None, []
        try:
            with worn_by_all([one]):
                with self.voice.progress(one.shown) as progress:
                    result = self._mapped(one, target, progress)
                files = exported(result, one.slide, self.options)
        except Preempted:
            raise
        except Exception as error:
            if alone and not isinstance(error, GigafcnError):
                raise
            message = self.voice.failure(one, error)
            self.code = self.code or getattr(error, "exit_code", RunError.exit_code)
            self.found[number] = Row.of_failure(one.shown, target, message)
            return
        self.voice.result(one.shown, result, files)
        self.last = result
        row = self.found[number] = Row.of_result(one.shown, result, files)
        if row.failed:
            self.code = self.code or RunError.exit_code

    def _mapped(self, one: Listed, target: Path, progress: ProgressCallback | None) -> Result:
        from gigafcn.run import infer as run

        arguments = options_for(one, self.options)
        with stoppable(self.options.grace) as stop:
            return run(one.slide, self.model, target, **arguments, progress=progress, stop=stop)

    def closed(self, summary: Path | None) -> int:
        """Say what became of all, and with which code the command ends."""
        rows, voice = self.rows, self.voice
        failed = sum(row.failed for row in rows)
        if summary is not None and voice.json:
            say_json("summary", file=summary, slides=len(rows), failed=failed)
        elif summary is not None and not voice.quiet:
            show_rows(rows)
            say(f"summary: {summary}")
        local = self.last is not None and "://" not in str(self.last.path)
        if self.last is not None and local and not voice.json and not voice.quiet:
            for line in viewing_lines(self.last.path):
                say(line)
        if summary is None:
            return self.code
        if failed:
            fail(f"{failed} of {len(rows)} slides failed")
        return RunError.exit_code if failed else 0
