"""``gigafcn check``: is a map as it was written? What is damaged, and computed again if asked."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from gigafcn.cli.reporting import bar_progress, fail, json_progress, say, say_json
from gigafcn.cli.requests import Debug, Json, Quiet
from gigafcn.errors import RunError
from gigafcn.storage.url_path import place_of

if TYPE_CHECKING:
    from gigafcn.run.check import Checked

Text = Annotated[str | None, Parameter(show_default=False)]
Switch = Annotated[bool, Parameter(negative="", show_default=False)]


def check(  # noqa: PLR0913 - one parameter per flag
    output: Path,
    /,
    *,
    repair: Switch = False,
    mend_labels: Switch = False,
    slide: Text = None,
    model: Annotated[str | None, Parameter(alias="-m", show_default=False)] = None,
    trust: Switch = False,
    sha256: Annotated[str | None, Parameter(metavar="HEX", show_default=False)] = None,
    device: str = "auto",
    workers: Annotated[int | None, Parameter(show_default=False)] = None,
    quiet: Quiet = False,
    json: Json = False,
    debug: Debug = False,
) -> int:
    """Compare every object of a finished map with its receipt.

    Receipts are beside the map, in OUT.zarr.run. What differs or is missing is listed, and with
    --repair computed again, alone, with the plan of the run.

    Parameters
    ----------
    output
        The map.
    repair
        Compute again what differs or is missing.
    mend_labels
        First give px without a class a number of their own, in a map of gigafcn 0.1, where they
        have that of the first class.
    slide
        Slide for a repair; if unset, where the run found it.
    model
        Model for a repair; if unset, the run's.
    trust
        Load a model whose loading can run code, which can do anything.
    sha256
        Load the model's file only if this is its sha256; then it needs no --trust.
    device
        Where a repair computes: auto, cpu, cuda, cuda:1.
    workers
        Processes to start for a repair.
    quiet
        Write nothing but warnings and errors.
    json
        Write what was found as one JSON object.
    debug
        Log more, and show the traceback of an error.
    """
    from gigafcn.run.check import check as run  # loads torch
    from gigafcn.run.mending import mend_labels as mend
    from gigafcn.schedule.site import Site

    if mend_labels:
        count = mend(place_of(output))
        if not (json or quiet):
            said = f"{count} objects written" if count else "nothing to mend"
            say(f"labels of {output}: {said}")
    shown = json_progress(str(output)) if json else bar_progress(output.name)
    given: dict[str, Any] = {"trust": trust, "sha256": sha256, "device": device}
    site = Site(workers=workers)
    with nullcontext() if quiet else shown as progress:
        found = run(
            output, repair=repair, source=slide, model=model, site=site, progress=progress, **given
        )
    if json:
        fields = {name: getattr(found, name) for name in found.__slots__}
        say_json("check", **fields, sound=found.is_sound)
    else:
        _tell(found, quiet=quiet)
    return 0 if found.is_sound else RunError.exit_code


def _tell(found: Checked, *, quiet: bool) -> None:
    """A line for each object, then what they amount to."""
    if not quiet:
        for key in found.differing:
            say(f"differs: {key}")
        for key in found.missing:
            say(f"missing: {key}")
        for piece in found.unknown:
            say(f"without a receipt: {piece}")
    counts = f"{len(found.differing)} differ, {len(found.missing)} are missing" + (
        f", {len(found.unknown)} pieces have no receipt" if found.unknown else ""
    )
    if found.is_sound and not found.repaired:
        if not quiet:
            say(f"{found.objects} objects of {found.path} are as they were written")
    elif found.repaired:
        say(f"of {found.objects} objects of {found.path} {counts}: computed again")
    else:
        fail(
            f"of {found.objects} objects of {found.path} {counts}; gigafcn check {found.path} "
            f"--repair computes them again"
        )
