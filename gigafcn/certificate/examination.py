"""Try a model: poison along both axes, then sweep against module on windows.

The full form tries many tiles, minimality and both precisions, on a graph exported at every size.
The short form, before each map, tries one tile per axis and one small window of noise, within a
time; what there was no time for is said.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from importlib import metadata
from typing import TYPE_CHECKING

import torch

from gigafcn.certificate.certificate import Certificate
from gigafcn.certificate.compare import (
    SweepFailedError,
    compare,
    comparison_bytes,
    comparison_seconds,
    noise_window,
)
from gigafcn.certificate.fingerprint import graph_fingerprint
from gigafcn.certificate.probing import Subject, probe_axis
from gigafcn.certificate.sizes import SizedGraphs
from gigafcn.engine.forward import Forward
from gigafcn.errors import ModelError, RunError, UnsteadyError
from gigafcn.graph.copying import copy_to_run
from gigafcn.graph.export import precision_of
from gigafcn.schedule.resources import available_memory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from gigafcn.analysis import Footprint
    from gigafcn.certificate.compare import Difference, Window
    from gigafcn.certificate.probing import Findings
    from gigafcn.certificate.sizes import Pair
    from gigafcn.graph.model_graph import ModelGraph

SEED = 20261

SHORT_SIDES_PX = (512, 384, 256, 192, 128, 96, 64, 48, 32, 16)
FULL_SIDES_PX = (1024, 768, *SHORT_SIDES_PX)
"""Sides of windows that are considered, the largest first."""

INTERIOR_PX = 128
"""What a window of the full form has beyond the footprint, so that it has an interior."""

MEMORY_SHARE = 0.5
"""Part of the free memory that the module's run on a window may take."""

SURE_SHARE = 0.7
"""Part of the time left that estimates may take."""


@dataclass(frozen=True, slots=True)
class Form:
    """How much is tried."""

    name: str
    thorough: bool
    """Many tiles, minimality, an export at every size."""

    precisions: tuple[str, ...]
    sides: tuple[int, ...]
    """Sides of windows to consider, in px, the largest first."""

    budget_s: float
    """Seconds for everything, at least."""

    run_px: float = 0.0
    """Image px of the run that this precedes: a share of its time may be taken too."""

    def allowed(self, s_per_px: float) -> float:
        """Seconds for everything, for a model that takes so many per px."""
        return max(self.budget_s, RUN_SHARE * self.run_px * s_per_px)


RUN_SHARE = 0.05
"""Part of a run's time that checking it may take if that is more than the budget."""

AGAIN = 2.0
"""Times the earlier seconds that must be allowed for trying again what there was no time for."""


def short_form(precision: str, run_px: float) -> Form:
    """What is tried before a map: 2 s, or 5 % of the run if that is longer."""
    compared = precision if precision == "fp64" else "fp32"
    return Form("short", False, (compared,), SHORT_SIDES_PX, 2.0, run_px)


def full_form(precision: str) -> Form:
    """What ``verify`` tries: some minutes at most."""
    compared = ("fp64",) if precision == "fp64" else ("fp32", "fp64")
    return Form("full", True, compared, FULL_SIDES_PX, 120.0)


def examine(
    footprint: Footprint,
    name: str,
    form: Form,
    *,
    device: str = "cpu",
    windows: Callable[[Pair], Sequence[Window]] | None = None,
    fingerprint: str | None = None,
) -> Certificate:
    """Try a model.

    Parameters
    ----------
    footprint
        Of the model, at any size.
    name
        The model's.
    form
        What to try and for how long.
    device
        Where sweeps are compared with the module.
    windows
        Gives windows of the size it is asked for; None takes one of noise.
    fingerprint
        Of the graph, if it is known already.

    Raises
    ------
    ModelError
        If the module returns another shape than its graph says.
    UnsteadyError
        If it answers the same pixels differently when it is called again.
    """
    start = time.perf_counter()
    if footprint.graph is None:
        return Certificate(name, "", form.name, footprint.blockers, versions=versions())
    subject = _subject(footprint, form)

    def until(s_per_px: float) -> float:
        return start + form.allowed(s_per_px)

    found = _poisoned(subject, thorough=form.thorough, until=until)
    failures = [failure for axis in found for failure in axis.failures]
    not_done = [what for axis in found for what in axis.not_done]
    differences, failed, skipped = _differences(subject, form, windows, found, device, until)
    return Certificate(
        model=name,
        fingerprint=fingerprint or graph_fingerprint(footprint.graph),
        form=form.name,
        halo=footprint.halo,
        period=footprint.period,
        shift_invariant=footprint.shift_invariant,
        ops=len(footprint.graph.nodes) - 1,
        poisonings=tuple(one for axis in found for one in axis.tried),
        differences=tuple(differences),
        failures=(*failures, *failed),
        not_done=(*not_done, *skipped),
        seed=SEED,
        device=device,
        versions=versions(),
        seconds=round(time.perf_counter() - start, 3),
        s_per_px=max(axis.s_per_px for axis in found),
        allowed_s=form.allowed(max(axis.s_per_px for axis in found)),
    )


def shows_all(known: Certificate, form: Form) -> bool:
    """Whether trying again would show no more than is known: nothing was left out for time."""
    return not known.not_done or form.allowed(known.s_per_px) < AGAIN * known.allowed_s


def versions() -> tuple[tuple[str, str], ...]:
    """Of what the result depends on."""
    return tuple((name, metadata.version(name)) for name in ("gigafcn", "torch"))


def _subject(footprint: Footprint, form: Form) -> Subject:
    module = footprint.module
    parameter = next(module.parameters(), None)
    device = torch.device("cpu") if parameter is None else parameter.device
    # Of its own, so that nothing that a run wrote is seen here, and nothing written here by a run.
    run = Forward(copy_to_run(module), footprint.output or None)
    sizes = SizedGraphs(footprint, always_export=form.thorough)
    return Subject(run, sizes, precision_of(module), device, SEED)


def _poisoned(
    subject: Subject, *, thorough: bool, until: Callable[[float], float]
) -> tuple[Findings, Findings]:
    along_y = probe_axis(subject, 0, thorough=thorough, until=until)
    s_per_px = along_y.s_per_px
    return along_y, probe_axis(subject, 1, thorough=thorough, until=until, s_per_px=s_per_px)


Compared = tuple[list["Difference"], list[str], list[str]]
"""Differences, failures and what was not done."""


def _differences(
    subject: Subject,
    form: Form,
    windows: Callable[[Pair], Sequence[Window]] | None,
    found: Sequence[Findings],
    device: str,
    until: Callable[[float], float],
) -> Compared:
    s_per_px = max(axis.s_per_px for axis in found)
    left = SURE_SHARE * (until(s_per_px) - time.perf_counter())
    try:
        graph = _window_graph(subject.sizes, form, s_per_px, left)
    except ModelError as error:
        return [], [], [f"difference on a window: {error}"]
    if graph is None:
        return [], [], ["difference on a window: no time or memory for one"]
    channels = graph.image.channels
    chosen = [noise_window(channels, graph.size, SEED)] if windows is None else windows(graph.size)
    where = torch.device("cpu" if device == "mps" else device)
    compared: Compared = ([], [], [])
    for precision in form.precisions:
        for window in chosen:
            stop = until(s_per_px)
            _compare_into(compared, subject, graph, window, precision, (where, stop))
    return compared


def _compare_into(
    compared: Compared,
    subject: Subject,
    graph: ModelGraph,
    window: Window,
    precision: str,
    place: tuple[torch.device, float],
) -> None:
    """Add one comparison; ``place`` is where it runs and the time at which to stop."""
    differences, failures, not_done = compared
    device, until = place

    def tried(graph: ModelGraph) -> tuple[Difference | None, str | None]:
        try:
            one = compare(subject.run, graph, window, precision, device, until=until)
        except SweepFailedError as error:
            return None, str(error)
        return one, None if one.within else str(one)

    try:
        one, failure = tried(graph)
        if failure is not None and subject.sizes.is_derived(graph.size):
            one, failure = tried(subject.sizes.exported(graph.size))
    except UnsteadyError:
        raise
    except (RunError, ModelError) as error:
        not_done.append(f"difference in {precision}: {error}")
        return
    if one is not None:
        differences.append(one)
        if one.tiles < one.of_tiles:
            told = f"{one.tiles} of {one.of_tiles} tiles, then there was no time left"
            not_done.append(f"difference in {precision}: {told}")
    if failure is not None:
        failures.append(failure)


def _window_graph(
    sizes: SizedGraphs, form: Form, s_per_px: float, budget_s: float
) -> ModelGraph | None:
    """The graph for the largest window that time and memory allow; None if none does."""
    memory = MEMORY_SHARE * available_memory()
    for sides in _sides(sizes, form):
        size = sizes.admissible(sides)
        graph = sizes.at(size)
        seconds = sum(comparison_seconds(graph, each, s_per_px) for each in form.precisions)
        if seconds <= budget_s and comparison_bytes(graph) <= memory:
            return graph
    return None


def _sides(sizes: SizedGraphs, form: Form) -> Iterable[Pair]:
    """Windows to consider, px (y, x), the one with an interior first; no two sides alike."""
    top, bottom, left, right = sizes.footprint.halo
    yield (
        min(form.sides[0], top + bottom + INTERIOR_PX),
        min(form.sides[0], left + right + INTERIOR_PX) + 1,
    )
    for side in form.sides:
        yield side, side + 1
