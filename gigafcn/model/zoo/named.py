"""``zoo:fcn8s`` as a loaded model: the net, and what the zoo knows of it."""

from __future__ import annotations

import logging

from gigafcn.model.loaded import LoadedModel
from gigafcn.model.zoo import PREFIX, build, find

log = logging.getLogger(__name__)


def is_of_zoo(text: str) -> bool:
    """Whether this names a system of the zoo."""
    return text.startswith(PREFIX)


def load_of_zoo(text: str) -> LoadedModel:
    """Build an untrained system, and warn that it is untrained.

    Raises
    ------
    ModelError
        If there is no such system.
    """
    system, _ = find(text)
    module = build(text)
    log.warning("%s is untrained: its weights are random numbers (seed 0)", text)
    return LoadedModel(
        module,
        text.removeprefix(PREFIX),
        text,
        activation=system.activation,
        window=system.size,
        input_channels=system.channels,
        format="zoo",
    )
