"""What did the user ask for, once flags, file, environment and defaults are put together?

A flag wins over the file of ``--config``; for the model, ``GIGAFCN_MODEL`` comes next and the
bundled demonstration model last.  The latter is only for a first look at one slide: several slides
without a model of one's own are refused.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from cyclopts import Group, Parameter

from gigafcn.cli.reporting import warn
from gigafcn.config import InferOptions, PlanOptions, read_config
from gigafcn.config.options import merged
from gigafcn.errors import UsageError

MODEL_VARIABLE = "GIGAFCN_MODEL"
BUNDLED_MODEL = "demonstration"

REPORT = Group("Report", sort_key=5)

Flags = Annotated[PlanOptions | None, Parameter(name="*")]
InferFlags = Annotated[InferOptions | None, Parameter(name="*")]
Config = Annotated[Path | None, Parameter(group=REPORT, metavar="FILE")]
Quiet = Annotated[bool, Parameter(group=REPORT, negative="", show_default=False)]
Json = Annotated[bool, Parameter(name="--json", group=REPORT, negative="", show_default=False)]
Debug = Annotated[bool, Parameter(group=REPORT, negative="", show_default=False)]


def gathered(flags: PlanOptions | None, config: Path | None) -> InferOptions:
    """Options of the file overridden by flags."""
    base = InferOptions() if config is None else read_config(config)
    return base if flags is None else merged(base, flags)


def chosen_model(options: PlanOptions, slides: Sequence[str]) -> str:
    """Model of the run; warns if it is the bundled one by default.

    Raises
    ------
    UsageError
        If several slides were given and no model.
    """
    model = options.model or os.environ.get(MODEL_VARIABLE)
    if model:
        return model
    if len(slides) > 1:
        raise UsageError(
            f"{len(slides)} slides but no model; give --model, or model in --config, "
            f"or set {MODEL_VARIABLE}"
        )
    warn(
        "no model given, so the bundled demonstration model maps background, tissue and nuclei; "
        "it is no diagnostic tool. Give your own with --model"
    )
    return BUNDLED_MODEL
