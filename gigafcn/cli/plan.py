"""``gigafcn plan``: what a run would take, before it runs."""

from __future__ import annotations

from gigafcn.cli.reporting import say_json, show_table
from gigafcn.cli.requests import Config, Debug, Flags, Json, chosen_model, gathered
from gigafcn.cli.slides import Listed, each_image
from gigafcn.config import PlanOptions


def plan(
    slide: str,
    /,
    *,
    options: Flags = None,
    config: Config = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Say what mapping a slide would take; nothing is written.

    Prints tiles, windows, waste, memory, bytes and objects on disk, and the time estimated from a
    short measurement on this machine.

    Parameters
    ----------
    slide
        Slide to plan for.
    options
        Options of the run, as for infer.
    config
        TOML file with any of the options of infer; flags override it.
    json
        Write the plan as one JSON object.
    debug
        Log more, and show the traceback of an error.
    """
    from gigafcn.run import plan_run  # loads torch

    chosen = gathered(options, config)
    arguments = {n: v for n, v in chosen.arguments().items() if n in PlanOptions.model_fields}
    model = chosen_model(chosen, [slide])
    for one in each_image([Listed(slide)], chosen):
        report = plan_run(slide, model, **(arguments | one.options))
        if json:
            say_json("plan", slide=one.shown, **report.to_json())
        else:
            show_table([*([("slide", one.shown)] if one.image is not None else []), *report.rows()])
